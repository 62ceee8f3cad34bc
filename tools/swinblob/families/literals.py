"""The literals of mmseg's config texts, and careful reading of what they hold.

A config text is a Python program; only its literals are read, by a parser of our own, and nothing
is ever evaluated.
"""

import ast
import re
import warnings

from ..records import MAX_SIDE

MAX_TEXT = 1 << 20
MAX_DEPTH = 40
MAX_MERGED = 256                # entries of a dict that `**` copies


class NoLiteral(Exception):
    pass


class Unknown:
    """A value that is no literal."""


UNKNOWN = Unknown()
TOKEN = re.compile(r"""(?:\s|\\\n|\#[^\n]*(?:\n|\Z))*(?:
    (?P<text>[rRbBuU]{0,2}(?:'{3}[^\\]*?(?:\\.[^\\]*?)*'{3}|"{3}[^\\]*?(?:\\.[^\\]*?)*"{3}
             |'[^'\\\n]*(?:\\.[^'\\\n]*)*'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"))
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][\w.]*)
    |(?P<sign>\*\*|[-+=(){}\[\],:]))""", re.VERBOSE | re.DOTALL)
END = re.compile(r"[ \t]*(?:\#[^\n]*)?(?:\n|\Z)")
CONSTANTS = {"True": True, "False": False, "None": None}


def parse(text):
    """The variables that a config text assigns literals to, as far as they can be read."""
    variables = {}
    for match in re.finditer(r"^([A-Za-z_]\w*)[ \t]*=(?!=)", text[:MAX_TEXT], re.MULTILINE):
        try:
            variables[match[1]] = Literal(text, match.end(), variables).value
        except NoLiteral:
            variables[match[1]] = UNKNOWN
    return variables


class Literal:
    """Parses one value: constants, lists, tuples, dicts, dict(...), names known before."""

    def __init__(self, text, place, variables):
        self.text, self.place, self.variables, self.depth = text, place, variables, 0
        self.value = self.parse_value()
        if not END.match(text, self.place):
            raise NoLiteral

    def next(self):
        match = TOKEN.match(self.text, self.place)
        if not match:
            raise NoLiteral
        return match

    def at(self, sign):
        """Steps over a sign if it comes next."""
        match = self.next()
        if match["sign"] == sign:
            self.place = match.end()
            return True
        return False

    def parse_value(self):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoLiteral
        match = self.next()
        self.place = match.end()
        if match["text"] is not None:
            value = self.parse_text(match["text"])
        elif match["number"] is not None:
            value = self.parse_number(match["number"])
        elif match["word"] is not None:
            value = self.parse_word(match["word"])
        elif match["sign"] == "-":
            value = self.parse_value()
            if not isinstance(value, (int, float)):
                raise NoLiteral
            value = -value
        elif match["sign"] == "[":
            value = self.parse_items("]")[0]
        elif match["sign"] == "(":
            items, comma = self.parse_items(")")
            value = tuple(items) if comma or len(items) != 1 else items[0]
        elif match["sign"] == "{":
            value = self.parse_pairs()
        else:
            raise NoLiteral
        self.depth -= 1
        return value

    def parse_text(self, token):
        value = ""
        while token is not None:        # texts side by side are one
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")         # of odd escapes such as \d
                    piece = ast.literal_eval(token)
            except (ValueError, SyntaxError):
                raise NoLiteral from None
            value += piece if isinstance(piece, str) else ""
            match = TOKEN.match(self.text, self.place)
            token = match["text"] if match else None
            if token is not None:
                self.place = match.end()
        return value

    def parse_number(self, token):
        if len(token) > 30:
            raise NoLiteral
        return int(token) if token.isdigit() else float(token)

    def parse_word(self, word):
        if word in CONSTANTS:
            return CONSTANTS[word]
        match = TOKEN.match(self.text, self.place)
        if match and match["sign"] == "(":
            self.place = match.end()
            if word == "dict":
                return self.parse_arguments()
            self.skip_arguments()
            return UNKNOWN
        return self.variables.get(word, UNKNOWN)

    def parse_items(self, end):
        items, comma = [], False
        while not self.at(end):
            if items and not comma:
                raise NoLiteral
            items.append(self.parse_value())
            comma = self.at(",")
        return items, comma

    def parse_pairs(self):
        pairs = {}
        while not self.at("}"):
            key = self.parse_value()
            if not isinstance(key, (str, int, float)) or not self.at(":"):
                raise NoLiteral
            pairs[key] = self.parse_value()
            if not self.at(","):
                if not self.at("}"):
                    raise NoLiteral
                break
        return pairs

    def skip_arguments(self):
        """Steps behind the bracket that ends a call."""
        open_brackets = 1
        while open_brackets:
            match = self.next()
            self.place = match.end()
            sign = match["sign"] or "."
            open_brackets += (sign in "([{") - (sign in ")]}")

    def parse_arguments(self):
        arguments = {}
        while not self.at(")"):
            if self.at("**"):
                merged = self.parse_value()
                if not isinstance(merged, dict) or len(merged) > MAX_MERGED:
                    raise NoLiteral
                arguments.update(merged)
            else:
                match = self.next()
                self.place = match.end()
                if match["word"] is None or not self.at("="):
                    raise NoLiteral
                arguments[match["word"]] = self.parse_value()
            if not self.at(","):
                if not self.at(")"):
                    raise NoLiteral
                break
        return arguments


# Reading values -----------------------------------------------------------------------------------

def part(mapping, *path):
    """mapping[path[0]][path[1]]..., or an empty dict where something is no dict."""
    for key in path:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping if isinstance(mapping, dict) else {}


def type_of(mapping):
    """The registered name of a module without the scope before it."""
    kind = mapping.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else None


def numbers(value, count, low=float("-inf")):
    """`value` as a list of so many numbers above low, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    good = all(isinstance(n, (int, float)) and not isinstance(n, bool) and low < n < 1e9
               for n in value)
    return list(value) if good else None


def sides(value):
    """`value` as the two sides of a picture, or None."""
    pair = numbers(value, 2, 0)
    return pair if pair and all(type(n) is int and n <= MAX_SIDE for n in pair) else None
