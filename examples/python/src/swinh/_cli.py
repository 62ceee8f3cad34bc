"""The command `swinh`: folders of pictures, models, checkpoints."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from tqdm import tqdm

from ._convert import program
from ._core import lib
from ._engines import run_locally, run_on_ray
from ._listing import ListingError, list_tasks
from ._model import Model
from ._writing import KINDS, Job, Outcome, Task, is_done, read_or_write, remove_stale_parts

DONE, FAILED, USAGE, MODEL = range(4)
SETTINGS = "swinh.json"         # in the output folder: what its results were made with


def pair(text: str, separator: str) -> Tuple[int, int]:
    match = re.fullmatch(rf"(\d+){separator}(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form N{separator}N")
    return int(match[1]), int(match[2])


def sides(text: str) -> Tuple[int, int]:
    height, width = pair(text, "x")
    if not height or not width:
        raise argparse.ArgumentTypeError(f"{text!r} has a side of no pixels")
    return height, width


def shard(text: str) -> Tuple[int, int]:
    index, count = pair(text, "/")
    if index >= count:
        raise argparse.ArgumentTypeError(f"{text!r}: shards of N are numbered 0 to N - 1")
    return index, count


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return int(text)
    return parse


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="swinh", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("convert", help="make a model of a checkpoint: tools/convert.py, "
                        "with its options")
    info = commands.add_parser("info", help="print what a model is, as JSON")
    info.add_argument("model", metavar="MODEL")
    add_map(commands)
    return parser.parse_args(arguments)


def add_map(commands: Any) -> None:
    m = commands.add_parser(
        "map", help="segment folders of pictures",
        description="Segments many pictures. Each result appears when it is whole; started again, "
                    "it does what is missing or older than its picture. A picture that fails is "
                    "named and the rest goes on.",
        epilog="Exit status: 0 done, 1 a picture failed, 2 usage, 3 the model could not be used.")
    m.add_argument("inputs", nargs="*", metavar="INPUT",
                   help="a folder, a pattern such as 'photos/**/*.jpg', or a picture")
    m.add_argument("--manifest", metavar="FILE", help="paths of pictures, one a line; - is "
                   "standard input")
    m.add_argument("-m", "--model", required=True, metavar="MODEL.swin")
    m.add_argument("-o", "--output", required=True, metavar="FOLDER")
    m.add_argument("--root", metavar="FOLDER", help="results keep their pictures' paths below it "
                   "(the deepest folder that all inputs share)")
    m.add_argument("--kind", choices=list(KINDS), default="ids",
                   help="class numbers as grey values, their colours, or these over the picture")
    m.add_argument("--opacity", type=share, default=0.5, help="of the colours in the overlay (0.5)")
    m.add_argument("--size", type=whole_number(1, 16384), metavar="N",
                   help="longest side at which the network sees a picture (the model's own rule)")
    m.add_argument("--threshold", type=share, default=0.0, metavar="F",
                   help="pixels of less confidence are of no class")
    m.add_argument("--crop", type=sides, metavar="HxW", help="slide a window of that size")
    m.add_argument("--stride", type=sides, metavar="HxW", help="its steps")
    m.add_argument("--whole", action="store_true", help="the whole picture at once")
    m.add_argument("--workers", type=whole_number(1, 4096), metavar="N",
                   help="pictures at a time (the processors it may use; with --ray all there are)")
    m.add_argument("--shard", type=shard, default=(0, 1), metavar="I/N",
                   help="the I-th of N parts of the pictures, counted from 0")
    m.add_argument("--ray", action="store_true", help="spread over a Ray cluster: that of "
                   "--address or RAY_ADDRESS, or one of this machine alone, started here")
    m.add_argument("--address", metavar="ADDRESS", help="of a running cluster, and --ray; "
                   "'auto' finds it")
    m.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no summary")


def complain(text: str, status: int) -> int:
    tqdm.write(f"swinh: {text}", file=sys.stderr)
    return status


def settings_of(model_digest: str, job: Job) -> Dict[str, Any]:
    return {"model": model_digest, "kind": job.kind, "opacity": job.opacity, **job.options}


def claim_output(job: Job, settings: Dict[str, Any]) -> None:
    """Notes what results here are made with; ListingError where others are here already."""
    text = json.dumps(settings, sort_keys=True).encode()
    if read_or_write(pathlib.Path(job.output, SETTINGS), text) != text:
        raise ListingError(
            f"-o {job.output} holds results of another model or of other options, as its "
            f"{SETTINGS} says: give another folder, or delete that one")


def map_pictures(options: argparse.Namespace) -> int:
    try:
        model = Model(options.model)
    except (OSError, ValueError) as error:
        return complain(str(error), MODEL)
    if model.info["head"] in ("none", "classifier"):
        return complain(f"{options.model} gives no class map: it is a classifier or has no head",
                        MODEL)
    job = Job(options.output, options.kind, options.opacity,
              {name: getattr(options, name)
               for name in ("size", "threshold", "crop", "stride", "whole")})
    try:
        tasks = list_tasks(options.inputs, options.manifest, options.root, job.output, job.kind,
                           options.shard)
        digest = hashlib.sha256(model.blob).hexdigest()
        claim_output(job, settings_of(digest, job))
    except (OSError, ListingError) as error:
        return complain(str(error), USAGE)
    remove_stale_parts(pathlib.Path(job.output))
    missing = [task for task in tasks if not is_done(job, task)]
    try:
        return follow(engine(model, job, missing, options), len(tasks), len(missing),
                      options.quiet)
    except ImportError:
        return complain("--ray needs Ray: pip install ray", USAGE)
    except ConnectionError as error:
        return complain(f"Ray at {error}", USAGE)


def engine(model: Model, job: Job, tasks: List[Task],
           options: argparse.Namespace) -> Iterator[Outcome]:
    if not (options.ray or options.address):
        return run_locally(model, job, tasks, options.workers or lib.processors())
    everywhere = job._replace(output=os.path.abspath(job.output))
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    return run_on_ray(model.blob, everywhere, tasks, options.workers or 0, address)


def follow(outcomes: Iterator[Outcome], total: int, missing: int, quiet: bool) -> int:
    """Shows how far it is, says what failed, and returns the exit status."""
    failed = written = 0
    with tqdm(outcomes, total=missing, unit="picture", disable=quiet or None,
              dynamic_ncols=True) as bar:
        for outcome in bar:
            if outcome.error:
                failed += 1
                complain(outcome.error, FAILED)
            else:
                written += 1
    if not quiet:
        print(f"{written} written, {total - missing} were there, {failed} failed",
              file=sys.stderr)
    return FAILED if failed else DONE


def print_info(path: str) -> int:
    try:
        model = Model(path)
    except (OSError, ValueError) as error:
        return complain(str(error), MODEL)
    colors = ["#" + bytes(color).hex() for color in model.palette]
    print(json.dumps({**model.info, "names": model.names, "colors": colors}, indent=2))
    return DONE


def main(arguments: Optional[Sequence[str]] = None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if words[:1] == ["convert"]:
            return subprocess.call([sys.executable, str(program()), *words[1:]])
        options = parse(words)
        return print_info(options.model) if options.command == "info" else map_pictures(options)
    except KeyboardInterrupt:
        return complain("interrupted; started again, it goes on from here", FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
