"""Careful reading of config.json and its kin: any entry may be missing or anything."""

from ..records import MAX_SIDE


def entries(value):
    return value if isinstance(value, dict) else {}


def number(value, low=1, high=MAX_SIDE):
    """`value` if it is a whole number from low to high, else None."""
    return value if type(value) is int and low <= value <= high else None


def pair(value):
    """(height, width) of a number or a list of two, or None."""
    sides = value if isinstance(value, (list, tuple)) else [value, value]
    return tuple(sides) if len(sides) == 2 and all(map(number, sides)) else None


def triple(value, low=-1e6):
    """Three numbers above low as floats, or None."""
    good = (isinstance(value, (list, tuple)) and len(value) == 3
            and all(isinstance(n, (int, float)) and low < n < 1e6 for n in value))
    return [float(n) for n in value] if good else None


def real(value, low, high):
    """`value` if it is a number between low and high, else None."""
    return float(value) if isinstance(value, (int, float)) and low < value < high else None
