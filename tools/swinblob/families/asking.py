"""Asking for what weights do not tell: one sentence names all options that are missing."""

from ..records import Refused


class Asked(Refused):
    """Refused until options tell what nothing else does.

    questions: pairs of what is not known, a clause, and the options that tell it, as they are
    given: ["--image-size HxW"]."""

    def __init__(self, questions):
        self.questions = list(questions)
        clauses = dict.fromkeys(clause for clause, _ in self.questions)
        options = dict.fromkeys(option for _, asked in self.questions for option in asked)
        super().__init__(f"{'; '.join(clauses)}: give {' '.join(options)}")


def ask(clause, *options):
    """What to raise for one question."""
    return Asked([(clause, options)])


def together(*steps):
    """Takes steps, functions without arguments, and returns what each returns; all that they ask
    for is asked for at once."""
    questions, results = [], []
    for step in steps:
        try:
            results.append(step())
        except Asked as asked:
            questions += asked.questions
    if questions:
        raise Asked(questions)
    return results


def listed(words):
    """A, B and C."""
    return ", ".join(words[:-1]) + " and " * (len(words) > 1) + words[-1]
