"""Pictures of every kind as pixels that swin.h can read, without a copy where they allow it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from PIL import Image, ImageOps

from ._core import lib

PLANES = "planes"
CHANNELS = {"GREY": 1, "RGB": 3, "BGR": 3, "RGBA": 4, "BGRA": 4}
CODES = {"GREY": lib.SWIN_GREY8, "RGB": lib.SWIN_RGB8, "BGR": lib.SWIN_BGR8,
         "RGBA": lib.SWIN_RGBA8, "BGRA": lib.SWIN_BGRA8, PLANES: lib.SWIN_PLANES}
SWAPPED = {"RGB": "BGR", "BGR": "RGB"}
USUAL = {1: "GREY", 3: "RGB", 4: "RGBA"}

Picture = Union[str, "os.PathLike[str]", Image.Image, np.ndarray, Any]


class PictureError(OSError):
    """A file that is no picture, or a damaged one; the text names it."""


class Pixels(NamedTuple):
    """A picture where it lies: what swin_image says, and the array that owns the memory."""

    array: np.ndarray           # [h][w][channels] uint8, or [planes][h][w] float32
    format: str                 # of the array: a key of CODES
    address: int                # of the first sample that swin.h reads
    code: int                   # a swin_format, for pixels from that address on
    width: int
    height: int
    stride: int                 # bytes from row to row, 0: rows follow each other
    plane_stride: int           # bytes from plane to plane, 0: planes follow each other

    def rgb(self) -> Optional[np.ndarray]:
        """uint8 [h][w][3]; None for planes, which are no picture any more."""
        if self.format == PLANES:
            return None
        if self.format == "GREY":
            return np.repeat(self.array, 3, axis=2)
        rgb = self.array[..., :3]
        return rgb[..., ::-1] if self.format.startswith("BGR") else rgb


def read_pixels(source: Picture, format: Optional[str], planes: int) -> Pixels:
    """The pixels of an array, a PIL image or a file.

    format: a key of CODES, or None for what the number of channels tells.
    planes: how many float planes the model reads.
    Raises TypeError, ValueError, and for files OSError (PictureError where one is no picture).
    """
    if format is not None and format not in CODES:
        raise ValueError(f"format={format!r} is none of {', '.join(CODES)}")
    array = source if type(source) is np.ndarray else array_of(source)
    return planes_of(array, planes) if format == PLANES else pixels_of(array, format)


def array_of(source: Picture) -> np.ndarray:
    if isinstance(source, (str, os.PathLike)):
        return read_file(source)
    if isinstance(source, Image.Image):
        return array_of_image(source, "the PIL image")
    return np.asarray(source)


def read_file(path: Union[str, "os.PathLike[str]"]) -> np.ndarray:
    """A file's picture, turned upright as its EXIF data asks: uint8 [h][w] or [h][w][channels]."""
    name = os.fspath(path)
    with open(name, "rb") as file:
        try:
            with Image.open(file) as image:
                return array_of_image(ImageOps.exif_transpose(image), "it")
        except MemoryError:
            raise
        except Exception as error:      # decoders raise all kinds for damaged files
            raise PictureError(f"{name} is no picture that can be read: {error}") from error


def array_of_image(image: Image.Image, what: str) -> np.ndarray:
    """A PIL image as uint8; of 16 bits the upper 8 are taken, transparency is ignored."""
    if image.mode.startswith("I;16"):
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise TypeError(f"{what} has pixels of 32 bits (mode {image.mode}), whose range is not "
                        "known: convert it to L or RGB first")
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.asarray(image)


def described(array: np.ndarray) -> str:
    return f"a {array.dtype} array of shape {array.shape}"


def planes_of(array: np.ndarray, planes: int) -> Pixels:
    if array.dtype != np.float32 or array.ndim != 3 or array.shape[0] != planes or not array.size:
        raise_for(array, f"format='planes' wants float32 of shape ({planes}, height, width), "
                         "normalised for the network")
    _, height, width = array.shape
    plane, row, sample = array.strides
    if (width > 1 and sample != 4) or (height > 1 and abs(row) < 4 * width):
        return planes_of(np.ascontiguousarray(array), planes)
    return Pixels(array, PLANES, address_of(array), CODES[PLANES], width, height,
                  row if height > 1 else 0, plane)


def raise_for(array: np.ndarray, wanted: str) -> None:
    """TypeError where the array's type is the reason, else ValueError."""
    wrong = TypeError if array.dtype not in (np.uint8, np.float32) else ValueError
    raise wrong(f"{wanted}; this is {described(array)}")


def pixels_of(array: np.ndarray, format: Optional[str]) -> Pixels:
    if array.dtype != np.uint8:
        hint = ("; float planes that are normalised already are taken with format='planes'"
                if array.dtype.kind == "f" else "")
        raise TypeError(f"pixels are uint8, 0 to 255; this is {described(array)}{hint}")
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in USUAL or not array.size:
        hint = ("; planes become pixels by .transpose(1, 2, 0)"
                if array.ndim == 3 and array.shape[0] in USUAL else "")
        raise ValueError("a picture has the shape (height, width) or (height, width, 1, 3 or 4), "
                         f"none of them 0; this is {described(array)}{hint}")
    format = format or USUAL[array.shape[2]]
    if CHANNELS[format] != array.shape[2]:
        raise ValueError(f"format={format!r} has {CHANNELS[format]} channels; this is "
                         f"{described(array)}")
    return packed(array, format)


def packed(array: np.ndarray, format: str) -> Pixels:
    """Pixels where they lie if each row is packed, in this or the reverse order, else a copy."""
    height, width, channels = array.shape
    row, column, sample = array.strides
    apart = (width == 1 or column == channels) and (height == 1 or abs(row) >= channels * width)
    backwards = channels == 3 and sample == -1
    if not apart or not (channels == 1 or sample == 1 or backwards):
        return packed(np.ascontiguousarray(array), format)
    code = CODES[SWAPPED[format] if backwards else format]
    address = address_of(array) - 2 * backwards
    return Pixels(array, format, address, code, width, height, row if height > 1 else 0, 0)


def address_of(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
