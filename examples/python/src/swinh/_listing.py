"""The pictures that folders, patterns and manifests name, and where their results go."""

from __future__ import annotations

import glob
import os
import sys
import zlib
from typing import Iterable, Iterator, List, Optional, Tuple

from ._writing import Task

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm",
           ".pbm", ".pnm")


class ListingError(ValueError):
    """Inputs that name no pictures, or results that would go where they must not."""


def list_tasks(inputs: List[str], manifest: Optional[str], root: Optional[str], output: str,
               kind: str, shard: Tuple[int, int]) -> List[Task]:
    """The tasks of one shard, each picture once, in the order of their names.

    inputs: folders (searched through), patterns, or pictures; manifest: a file of a picture's path
    a line, - for standard input; root: what names of results are relative to, by default the
    deepest folder that all inputs share; shard: (which, of how many).
    Raises ListingError, and OSError for a manifest or folder that cannot be read.
    """
    output = os.path.abspath(output)
    listed = [list_input(given, output) for given in inputs]
    tops = [top for top, _ in listed]
    pictures = {path for _, paths in listed for path in paths}
    if manifest:
        extra = [os.path.abspath(line) for line in manifest_lines(manifest)]
        pictures.update(extra)
        tops.extend(sorted({os.path.dirname(path) for path in extra}))
    if not pictures:
        where = ", ".join(filter(None, [*inputs, manifest]))
        raise ListingError(f"there are no pictures in {where}" if where else
                           "name pictures: a folder, a pattern, or a --manifest")
    root = os.path.abspath(root) if root else os.path.commonpath(tops)
    tasks = [Task(path, name_of(path, root, kind)) for path in sorted(pictures)]
    index, count = shard
    return [task for task in tasks if zlib.crc32(os.fsencode(task.name)) % count == index]


def name_of(path: str, root: str, kind: str) -> str:
    """The whole name stays, as a.jpg and a.png may lie side by side."""
    relative = os.path.relpath(path, root)
    if relative.split(os.sep)[0] == os.pardir:
        raise ListingError(f"{path} does not lie below --root {root}")
    return f"{relative}.{kind}.png"


def list_input(given: str, output: str) -> Tuple[str, List[str]]:
    """(the folder where the search began, the pictures) of a folder, a pattern or a picture."""
    if os.path.isdir(given):
        top = os.path.abspath(given)
        if top == output:
            raise ListingError(f"-o {given} is also read: results want a folder of their own")
        return top, list(walk(top, output))
    if os.path.exists(given):
        return os.path.dirname(os.path.abspath(given)), [os.path.abspath(given)]
    if not glob.has_magic(given):
        raise ListingError(f"there is no {given}")
    found = [os.path.abspath(path) for path in glob.iglob(given, recursive=True)
             if os.path.isfile(path)]
    found = [path for path in found if not path.startswith(output + os.sep)]
    if not found:
        raise ListingError(f"nothing matches {given}")
    return pattern_top(given), found


def pattern_top(pattern: str) -> str:
    """The folder before the first part of a pattern that has a wildcard."""
    fixed = []
    for part in pattern.split(os.sep)[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return os.path.abspath(os.sep.join(fixed) or (os.sep if pattern.startswith(os.sep) else "."))


def walk(top: str, output: str) -> Iterator[str]:
    """Pictures below a folder, by the endings of their names; the output folder is left out."""
    def stop(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(top, onerror=stop):
        folders[:] = [name for name in folders if os.path.join(folder, name) != output]
        yield from (os.path.join(folder, name) for name in files
                    if name.lower().endswith(ENDINGS))


def manifest_lines(path: str) -> Iterable[str]:
    """The lines of a manifest that are not empty."""
    text = sys.stdin.read() if path == "-" else read_text(path)
    return [line for line in text.splitlines() if line]


def read_text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
