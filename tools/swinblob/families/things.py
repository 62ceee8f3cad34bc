"""Segments of queries: by which rules, and which classes are things, each of which is a segment of
its own, and which are stuff, all of which is one, or no instance.
"""

from typing import NamedTuple

from ..records import MAX_THINGS, Segments

# The rules by which instances overlap
OVERLAPPING = (Segments.INSTANCES, Segments.INSTANCES_HUGGING_FACE)


class Rule(NamedTuple):
    """How a source makes segments of queries; scores and shares in thousandths."""
    rule: int                   # of records.Segments
    object_score: int
    overlap_share: int = 0      # of overlapping instances none
    most: int = 0               # pairs of a query and a class that are looked at; 0: as queries
    all_things: bool = False    # whether the source lists instances of all classes


# The data sets that released models know: how many classes they have, and which are things
SETS = {
    "coco": (133, "0-79"),
    "cityscapes": (19, "11-18"),
    "ade20k": (150, "7-8,10,12,14-15,18-20,22-24,27,30-33,35-39,41-45,47,49-50,53,55-58,62,64-67,"
                    "69-76,78,80-83,85-90,92-93,95,97-98,102-104,107-108,110-112,115-116,118-121,"
                    "123-127,129-130,132-139,142-144,146-149"),
    "mapillary": (65, "0-1,8,19-23,32-42,44-57,59-62")}

COCO_INSTANCES = 80             # classes of models that are trained for COCO's instances alone


def parse(text):
    """The classes of an option: a function from their number to a list."""
    if text in SETS:
        text = SETS[text][1]
    if text in ("all", "none"):
        return lambda K: range(K if text == "all" else 0)
    things = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        first, last = int(first), int(last or first)
        if not 0 <= first <= last < MAX_THINGS:
            raise ValueError
        things.update(range(first, last + 1))
    return lambda K: sorted(things)


def known(K):
    """The data set of so many classes, or None."""
    return next((name for name, (classes, _) in SETS.items() if classes == K), None)


def bits(things):
    """One of 32 bits for each class."""
    words = [0] * (MAX_THINGS // 32)
    for k in things:
        words[k // 32] |= 1 << k % 32
    return words
