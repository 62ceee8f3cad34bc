"""Pictures in, result files out: what `swinh map` does to each, wherever it runs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import stat
import time
import uuid
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional

from PIL import Image

from ._model import Model
from ._result import Result

PARTS = ".swinh-parts"      # in the output folder: files that are not yet whole
STALE = 3600                # seconds after which a part is one of a run that was killed


def ids(result: Result, opacity: float) -> Image.Image:
    """Class numbers as grey values, of 16 bits where there are more than 256 classes."""
    classes = result.classes
    if classes is None:
        raise ValueError("the model gives no class map: it is a classifier or has no head")
    return Image.fromarray(classes)


KINDS: Dict[str, Callable[[Result, float], Image.Image]] = {
    "ids": ids,
    "mask": lambda result, opacity: Image.fromarray(result.colors()),
    "overlay": lambda result, opacity: Image.fromarray(result.overlay(opacity)),
}


class Job(NamedTuple):
    """What to do with every picture; the same for all workers."""

    output: str
    kind: str = "ids"
    opacity: float = 0.5
    options: Dict[str, Any] = {}        # of Model.segment


class Task(NamedTuple):
    """A picture, and where its result goes below Job.output."""

    picture: str
    name: str


class Outcome(NamedTuple):
    """What became of a picture; error is None where its result is written."""

    picture: str
    error: Optional[str]


def target_of(job: Job, task: Task) -> pathlib.Path:
    return pathlib.Path(job.output, task.name)


def is_done(job: Job, task: Task) -> bool:
    """Is there a file that is not older than the picture?"""
    try:
        written = target_of(job, task).stat()
        return (stat.S_ISREG(written.st_mode)
                and written.st_mtime_ns >= os.stat(task.picture).st_mtime_ns)
    except OSError:
        return False


@contextlib.contextmanager
def whole_part(output: pathlib.Path, write: Callable[[IO[bytes]], Any]) -> Iterator[pathlib.Path]:
    """A file that is whole and on the disk, to be moved to its place; it is removed where not."""
    parts = output / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    part = parts / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with open(part, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def write_whole(image: Image.Image, target: pathlib.Path, output: pathlib.Path) -> None:
    """A PNG that appears under its name when it is whole, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_part(output, lambda file: image.save(file, "PNG")) as part:
        os.replace(part, target)


def read_or_write(path: pathlib.Path, text: bytes) -> bytes:
    """What the file holds: of all who call this at once, one writes it, and all read the same."""
    if not path.exists():
        with whole_part(path.parent, lambda file: file.write(text)) as part:
            link_or_move(part, path)
    return path.read_bytes()


def link_or_move(part: pathlib.Path, path: pathlib.Path) -> None:
    """Puts a file to a place, unless there is one by now."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:                     # a file system without links
        os.replace(part, path)


def remove_stale_parts(output: pathlib.Path) -> None:
    """What runs that were killed left behind; a part that is being written is younger."""
    for part in (output / PARTS).glob("*"):
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:                 # another run was faster
            continue


def process(model: Model, job: Job, task: Task) -> Outcome:
    """Segments one picture and writes its result; whatever fails is told, not raised."""
    try:
        result = model.segment(task.picture, **job.options)
        image = KINDS[job.kind](result, job.opacity)
        write_whole(image, target_of(job, task), pathlib.Path(job.output))
    except Exception as error:
        text = str(error) or type(error).__name__
        return Outcome(task.picture, text if task.picture in text else f"{task.picture}: {text}")
    return Outcome(task.picture, None)


def in_batches(tasks: Iterable[Task], size: int) -> Iterator[List[Task]]:
    batch: List[Task] = []
    for task in tasks:
        batch.append(task)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
