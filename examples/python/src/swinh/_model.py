"""Models and what they say about pictures."""

from __future__ import annotations

import math
import operator
import os
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

from ._contexts import Context, Contexts, text_of
from ._core import ffi, lib
from ._pictures import PLANES, Picture, Pixels, read_pixels
from ._result import Result

NOTES = ("name", "source", "licence", "training", "converted_from")
MAX_THREADS = 1024


class ModelError(ValueError):
    """A file that is no model, a damaged one, or one that this version does not know."""


RAISED = {lib.SWIN_MEMORY: MemoryError, lib.SWIN_DAMAGED: ModelError,
          lib.SWIN_UNSUPPORTED: ModelError, lib.SWIN_FILE: OSError, lib.SWIN_CORRUPT: RuntimeError}


def check(status: int, text: str) -> None:
    """Raises what a swin_status other than SWIN_OK means to Python."""
    if status != lib.SWIN_OK:
        raise RAISED.get(status, ValueError)(text)


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} is no whole number") from None
    if not least <= number <= most:
        raise ValueError(f"{name}={number} is not between {least} and {most}")
    return number


def side_pair(name: str, value: Any) -> Tuple[int, int]:
    """(height, width); (0, 0) for None."""
    if value is None:
        return 0, 0
    try:
        height, width = value
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} is not (height, width)") from None
    return whole_number(name, height, 1, 1 << 30), whole_number(name, width, 1, 1 << 30)


def enumerator(type_name: str, value: int) -> str:
    """The last word of an enumerator: "uper" of SWIN_HEAD_UPER."""
    name = ffi.typeof(type_name).elements[value]
    return name[len(type_name) + 1:].lower()


def aligned(size: int) -> np.ndarray:
    """uint8 [size], not initialised, at a multiple of 64 as the kernels like weights best."""
    room = np.empty(size + 64, np.uint8)
    start = -room.__array_interface__["data"][0] % 64
    return room[start:start + size]


def read_model(path: Union[str, "os.PathLike[str]"]) -> np.ndarray:
    """A file's bytes: read, not mapped, so that nothing done to the file later reaches them."""
    with open(path, "rb") as file:
        bytes_ = aligned(os.fstat(file.fileno()).st_size)
        got = file.readinto(bytes_)
        rest = file.read()              # of a pipe, which has no size
    return np.append(bytes_[:got], np.frombuffer(rest, np.uint8)) if rest else bytes_[:got]


def take_bytes(source: Any) -> np.ndarray:
    """Bytes in memory: as they lie where nobody can change them, else a copy."""
    try:
        given = np.frombuffer(source, np.uint8)
    except (TypeError, ValueError) as error:
        raise TypeError("a model is the path of a .swin file or its bytes, not "
                        f"{type(source).__name__}") from error
    if not given.flags.writeable and given.__array_interface__["data"][0] % 4 == 0:
        return given
    kept = aligned(given.size)
    kept[:] = given
    return kept


def find_cpu(name: str) -> int:
    """The swin_cpu of that name."""
    there = {ffi.string(lib.swin_cpu_name(cpu)).decode(): cpu
             for cpu in ffi.typeof("swin_cpu").elements if lib.swin_cpu_available(cpu)}
    there["best"] = lib.SWIN_CPU_BEST
    if name not in there:
        raise ValueError(f"cpu={name!r}: this machine and build have {', '.join(sorted(there))}")
    return there[name]


class Model:
    """A model of swin.h, which any number of threads may use at once.

    source: the path of a .swin file, or its bytes: any object with a buffer, used without a copy
        where it cannot be changed, such as bytes or a read-only array.
    threads: how many work on one picture together. With many pictures it is faster to call
        `segment` from several threads of Python, which run side by side.
    cpu: "best", or an instruction set such as "avx2"; results are the same bits on each.
    memory_limit: bytes that the workspace of one picture may take, or None.

    Raises OSError where the file cannot be read, ModelError where it is no sound model, TypeError
    and ValueError for other arguments.
    """

    def __init__(self, source: Union[str, "os.PathLike[str]", bytes, Any], *, threads: int = 1,
                 cpu: str = "best", memory_limit: Optional[int] = None):
        self._threads = whole_number("threads", threads, 1, MAX_THREADS)
        self._cpu = find_cpu(cpu)
        self._memory_limit = whole_number("memory_limit", memory_limit or 0, 0, 1 << 62)
        is_path = isinstance(source, (str, os.PathLike))
        self._name = os.fspath(source) if is_path else "the model"
        self._blob = read_model(source) if is_path else take_bytes(source)
        if self._blob.flags.writeable:
            self._blob.flags.writeable = False
        self._model = self._open()
        self._contexts = Contexts()
        self._names: Optional[Tuple[str, ...]] = None

    def _open(self) -> Any:
        model, error = ffi.new("swin_model *"), ffi.new("swin_error *")
        status = lib.swin_open(model, ffi.from_buffer(self._blob), self._blob.size,
                               lib.SWIN_VERIFY, error)
        check(status, f"{self._name}: {text_of(error)}")
        return model

    def __repr__(self) -> str:
        return f"<swinh.Model {self._name!r}: {self.info['head']}, {len(self.names)} classes>"

    @property
    def blob(self) -> np.ndarray:
        """The model's bytes, uint8 [size], to hand on without a copy; they must not be changed."""
        return self._blob

    @property
    def names(self) -> Tuple[str, ...]:
        """The classes' names, in the order of their numbers."""
        if self._names is None:
            names = (lib.swin_class_name(self._model, k) for k in range(self._model.config.classes))
            self._names = tuple("" if name == ffi.NULL else ffi.string(name).decode("utf-8",
                                                                                   "replace")
                                for name in names)
        return self._names

    @property
    def palette(self) -> np.ndarray:
        """The classes' colours: uint8 [classes][3], red, green, blue."""
        colors = [lib.swin_class_color(self._model, k) for k in range(self._model.config.classes)]
        return np.array([(c >> 16, c >> 8 & 255, c & 255) for c in colors],
                        np.uint8).reshape(-1, 3)

    @property
    def info(self) -> Dict[str, Any]:
        """What the model is: its network, how it sees pictures, and the notes that it carries."""
        c = self._model.config
        return {
            "bytes": self._blob.size,
            "version": c.version,
            "body": enumerator("swin_body", c.body),
            "head": enumerator("swin_head", c.head.kind),
            "classes": c.classes,
            "patch": c.patch,
            "global_tokens": c.tokens,
            "stages": [{"width": s.width, "depth": s.depth, "heads": s.heads,
                        "window": (s.window_h, s.window_w)} for s in c.stage[0:c.stages]],
            "mode": enumerator("swin_mode", c.picture.mode),
            "mean": tuple(c.picture.mean),
            "std": tuple(1 / s if s else math.inf for s in c.picture.scale),
            "bgr": bool(c.picture.bgr),
            "notes": self._notes(),
        }

    def _notes(self) -> Dict[str, str]:
        texts = {key: lib.swin_note(self._model, key.encode()) for key in NOTES}
        return {key: ffi.string(text).decode("utf-8", "replace")
                for key, text in texts.items() if text != ffi.NULL}

    def input_shape(self, height: int, width: int, size: Optional[int] = None) -> Tuple[int, int]:
        """(height, width) at which the network sees a picture of height x width pixels.

        size: as in `segment`. Raises ValueError where the model cannot take such a picture.
        """
        how = ffi.new("swin_resizing *", {"longest": whole_number("size", size or 0, 0, 1 << 30)})
        w, h, error = ffi.new("int *"), ffi.new("int *"), ffi.new("swin_error *")
        check(lib.swin_input_size(self._model, whole_number("width", width, 1, 1 << 30),
                                  whole_number("height", height, 1, 1 << 30), how, w, h, error),
              text_of(error))
        return h[0], w[0]

    def segment(self, image: Picture, *, logits: bool = False, confidence: bool = False,
                features: bool = False, segments: bool = False, format: Optional[str] = None,
                size: Optional[int] = None, threshold: float = 0.0,
                crop: Optional[Tuple[int, int]] = None, stride: Optional[Tuple[int, int]] = None,
                whole: bool = False, copy: bool = False) -> Result:
        """Segments a picture; see Result for what comes back.

        image: a path (turned upright as its EXIF data asks), a PIL image (taken as it is), or an
            array: uint8 [h][w] or [h][w][1, 3 or 4] with any strides, read where it lies unless
            pixels of a row are apart; or float32 [planes][h][w] with format="planes", already
            normalised and of the size and order that the network wants.
        logits, confidence, features, segments: what to keep beside the class map; segments of a
            model trained for panoptic results or instances.
        format: "RGB", "BGR", "RGBA", "BGRA", "GREY" or "planes"; None: RGB, RGBA or grey by the
            number of channels. Alpha is not looked at.
        size: the longest side at which the network sees the picture; None: the model's own rule.
        threshold: pixels of less confidence, 0 to 1, get the class 255 (65535 in 16 bits).
        crop, stride: (height, width) of a sliding window and its steps, where the model's own are
            not wanted.
        whole: the whole picture at once, also where the model slides a window.
        copy: the result's arrays own their memory. Without it they are views into the context's
            workspace, which other calls leave alone for as long as one of them lives; where a
            program keeps more than a few results, later ones are copies all the same.

        May be called from any number of threads at once, with pictures of any sizes. Raises
        TypeError and ValueError for a picture or an option that the model cannot take, OSError for
        a file that cannot be read, MemoryError over memory_limit.
        """
        pixels = read_pixels(image, format, self._model.config.planes)
        wanted = self._outputs(logits, confidence, features, segments)
        key = (pixels.width, pixels.height, pixels.format == PLANES, wanted,
               whole_number("size", size or 0, 0, 1 << 30), fraction("threshold", threshold),
               side_pair("crop", crop), side_pair("stride", stride), bool(whole))
        context = self._contexts.take(key, lambda: self._new_context(key))
        try:
            context.run(swin_image(pixels), check)
        except BaseException:
            self._contexts.release(context)
            raise
        return self._result(context, pixels, wanted, copy)

    def _outputs(self, logits: bool, confidence: bool, features: bool, segments: bool) -> int:
        head = self._model.config.head.kind
        outputs = {lib.SWIN_HEAD_NONE: lib.SWIN_OUT_FEATURES,
                   lib.SWIN_HEAD_CLASSIFIER: lib.SWIN_OUT_SCORES}.get(head, lib.SWIN_OUT_CLASSES)
        return (outputs | lib.SWIN_OUT_LOGITS * bool(logits)
                | lib.SWIN_OUT_CONFIDENCE_F32 * bool(confidence)
                | lib.SWIN_OUT_FEATURES * bool(features)
                | lib.SWIN_OUT_SEGMENTS * bool(segments))

    def _new_context(self, key: Tuple) -> Context:
        width, height, planes, outputs, size, threshold, crop, stride, whole = key
        desc = ffi.new("swin_desc *")
        if planes:
            desc.width, desc.height = width, height
        else:
            desc.picture_width, desc.picture_height = width, height
            if size:
                desc.height, desc.width = self.input_shape(height, width, size)
        desc.outputs = outputs
        desc.cpu = self._cpu
        desc.flags = lib.SWIN_RUN_WHOLE * whole
        desc.memory_limit = self._memory_limit
        desc.crop_height, desc.crop_width = crop
        desc.stride_height, desc.stride_width = stride
        desc.threshold = threshold
        return Context(key, self._model, desc, self._threads, check)

    def _result(self, context: Context, pixels: Pixels, outputs: int, copy: bool) -> Result:
        lease = None if copy else self._contexts.lease(context)
        if lease:
            return Result(self, context, np.asarray(lease), pixels, outputs)
        result = Result(self, context, context.memory, pixels, outputs).copy()
        self._contexts.release(context)
        return result


def fraction(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} is no number") from None
    if not 0 <= number <= 1:
        raise ValueError(f"{name}={number} is not between 0 and 1")
    return number


def swin_image(pixels: Pixels) -> Any:
    image = ffi.new("swin_image *")
    image.data = ffi.cast("void *", pixels.address)
    image.width, image.height = pixels.width, pixels.height
    image.stride, image.plane_stride = pixels.stride, pixels.plane_stride
    image.format = pixels.code
    return image
