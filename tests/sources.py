"""Where things are in C files, for tests/checkers.py and tests/coverage."""

import re

FUNCTION = re.compile(r"^[a-zA-Z](?:.*[ *(])?(\w+)\)?\(.*[^;]$")


def function_at(lines, number):
    """The function that this line of a file, counted from 1, lies in: the last whose head begins a
    line; "-" where there is none."""
    heads = (FUNCTION.match(text) for text in reversed(lines[:number]))
    return next((head[1] for head in heads if head), "-")
