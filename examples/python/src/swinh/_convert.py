"""Checkpoints become models: tools/convert.py of swin.h, called from Python."""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys
from typing import Any, List, NoReturn, Union

HERE = pathlib.Path(__file__).resolve().parent
SIZES = ("image_size", "max_size", "crop", "stride")        # options of the form HxW

log = logging.getLogger("swinh")


class ConvertError(ValueError):
    """A checkpoint that cannot be converted; the text is the converter's sentence."""


def program() -> pathlib.Path:
    """tools/convert.py: in the package, or in the checkout of an editable installation."""
    packaged = HERE / "_tools" / "convert.py"
    return packaged if packaged.exists() else HERE.parents[3] / "tools" / "convert.py"


def option_words(name: str, value: Any) -> List[str]:
    """A keyword argument as the converter's options."""
    option = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [option if value else "--no-" + option[2:]]
    if isinstance(value, dict):
        return [f"{option}={key}={text}" for key, text in value.items()]
    if isinstance(value, (list, tuple)):
        value = ("x" if name in SIZES else ",").join(map(str, value))
    return [f"{option}={value}"]


def convert(checkpoint: Union[str, "os.PathLike[str]"],
            output: Union[str, "os.PathLike[str]", None] = None, **options: Any) -> pathlib.Path:
    """Makes a .swin model from a PyTorch, safetensors or Hugging Face checkpoint.

    checkpoint: a file, or a folder of one with its config.
    output: the model to write; None: the checkpoint's name with the ending .swin, beside it.
    options: those of tools/convert.py, with _ for -, such as image_size=(224, 224),
        classes="imagenet1k", pool_scales=[1, 2, 3, 6], align_corners=True or note={"key": "text"}.

    Returns the path of the model. What the converter assumed goes to the logger "swinh" as
    warnings, its summary as information. Raises ConvertError with the converter's sentence, or
    TypeError for an option that it does not know.
    """
    checkpoint = pathlib.Path(checkpoint)
    target = pathlib.Path(output) if output is not None else beside(checkpoint)
    words = [word for name, value in options.items() for word in option_words(name, value)]
    done = subprocess.run([sys.executable, str(program()), f"--output={target}", *words, "--",
                           str(checkpoint)], stdin=subprocess.DEVNULL, capture_output=True,
                          encoding="utf-8", errors="replace",
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    if done.returncode:
        raise_refusal(done.stderr, done.returncode)
    for line in done.stdout.splitlines():
        log.log(logging.WARNING if line.startswith("note ") else logging.INFO, "%s", line)
    return target


def beside(checkpoint: pathlib.Path) -> pathlib.Path:
    full = checkpoint.resolve()
    return full.parent / ((full.name if full.is_dir() else full.stem) + ".swin")


def raise_refusal(said: str, status: int) -> NoReturn:
    """The converter's last line: after its own name and the checkpoint's."""
    lines = said.strip().splitlines()
    sentence = lines[-1] if lines else f"the converter ended with status {status}"
    sentence = sentence[len("convert.py: "):] if sentence.startswith("convert.py: ") else sentence
    if status == 2:
        raise TypeError(sentence[len("error: "):] if sentence.startswith("error: ") else sentence)
    raise ConvertError(sentence)
