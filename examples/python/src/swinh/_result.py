"""What a model says about one picture."""

from __future__ import annotations

import copy
import io
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from ._contexts import Context
from ._core import ffi, lib
from ._pictures import Pixels

SHOWN = 1024        # longest side of the picture that a notebook shows
FLOAT = np.dtype(np.float32)
IDS = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16)}       # by their bytes


class Segment(NamedTuple):
    """A thing in the picture, or all that it shows of a class of stuff.

    id: that of its pixels in Result.segment_map.
    score: the probability of its class, 0 to 1; where instances overlap, times that of its mask.
    area: in pixels; of such an instance also those that the map shows as another's.
    box: (x, y, width, height), the smallest around its pixels.
    """

    id: int
    class_id: int
    name: str
    thing: bool
    score: float
    area: int
    box: Tuple[int, int, int, int]


class Result:
    """The outcome of Model.segment. Arrays are views into the context's memory, which stays theirs
    while one of them lives; what was not asked for, or what the model has not, is None.

    classes: [height][width] of the picture, uint8, or uint16 where there are more than 256
        classes: the number of each pixel's class.
    confidence: float32 [height][width], 0 to 1: the softmax of the class that won.
    logits: float32 [classes][h][w] as the head gives them, at its own resolution; of a model of one
        class [1][h][w].
    features: a tuple of float32 [channels][h][w], one for each stage, and the final norm's where
        there is one.
    scores: float32 [classes], a classifier's logits.
    segments: a tuple of Segment, of a model trained for panoptic results or instances.
    segment_map: uint16 [height][width], the segments' ids, 0 where there is none.
    names, palette: those of the model.
    """

    classes: Optional[np.ndarray]
    confidence: Optional[np.ndarray]
    logits: Optional[np.ndarray]
    features: Optional[Tuple[np.ndarray, ...]]
    scores: Optional[np.ndarray]
    segments: Optional[Tuple[Segment, ...]]
    segment_map: Optional[np.ndarray]
    names: Tuple[str, ...]

    def __init__(self, model: Any, context: Context, memory: np.ndarray, pixels: Pixels,
                 outputs: int):
        run, place = context.pointer, Place(memory, context.interface["data"][0])
        self.names = model.names
        self._model = model
        self._pixels = pixels
        self.classes = self.confidence = self.logits = self.features = self.scores = None
        self.segments = self.segment_map = None
        if outputs & lib.SWIN_OUT_CLASSES:
            self.classes = map_view(lib.swin_classes(run), place, IDS)
        if outputs & lib.SWIN_OUT_CONFIDENCE_F32:
            self.confidence = map_view(lib.swin_confidence(run), place, {4: FLOAT})
        if outputs & lib.SWIN_OUT_LOGITS:
            self.logits = tensor_view(lib.swin_logits(run), place)
        if outputs & lib.SWIN_OUT_SCORES:
            self.scores = tensor_view(lib.swin_scores(run), place)[:, 0, 0]
        if outputs & lib.SWIN_OUT_FEATURES:
            stages = (lib.swin_feature(run, i) for i in range(lib.SWIN_MAX_STAGES + 1))
            self.features = tuple(tensor_view(stage, place) for stage in stages
                                  if stage.data != ffi.NULL)
        if outputs & lib.SWIN_OUT_SEGMENTS:
            self.segments = self._segments(run)
            self.segment_map = map_view(lib.swin_segment_map(run), place, IDS)

    def _segments(self, run: Any) -> Tuple[Segment, ...]:
        count = ffi.new("int *")
        regions = lib.swin_segments(run, count)
        return tuple(Segment(s.id, s.class_id, self.names[s.class_id], bool(s.thing), s.score,
                             s.area, (s.x, s.y, s.width, s.height))
                     for s in regions[0:count[0]])

    @property
    def palette(self) -> np.ndarray:
        return self._model.palette

    def __repr__(self) -> str:
        if self.classes is None:
            return f"<swinh.Result: {self.top(1) if self.scores is not None else 'features'}>"
        shares = sorted(self.shares().items(), key=lambda item: -item[1])[:3]
        height, width = self.classes.shape
        return (f"<swinh.Result {width}x{height}: "
                + ", ".join(f"{name} {share:.0%}" for name, share in shares) + ">")

    def copy(self) -> "Result":
        """The same result in arrays that own their memory, in rows that follow each other."""
        other = copy.copy(self)
        for name in ("classes", "confidence", "logits", "scores", "segment_map"):
            array = getattr(self, name)
            setattr(other, name, None if array is None else array.copy())
        if self.features is not None:
            other.features = tuple(stage.copy() for stage in self.features)
        return other

    def shares(self) -> Dict[str, float]:
        """How much of the picture each class takes, 0 to 1; classes that are not there left out.

        Raises ValueError where there is no class map.
        """
        classes = self._class_map()
        counts = np.bincount(classes.ravel(), minlength=len(self.names))[:len(self.names)]
        return {self.names[k]: float(counts[k] / classes.size) for k in np.flatnonzero(counts)}

    def top(self, count: int = 5) -> List[Tuple[str, float]]:
        """A classifier's `count` likeliest classes with their softmax, the likeliest first.

        Raises ValueError where there are no scores.
        """
        if self.scores is None:
            raise ValueError("scores are there with a classifier only")
        shares = np.exp(self.scores.astype(np.float64) - self.scores.max())
        shares /= shares.sum()
        order = np.argsort(-shares, kind="stable")[:count]
        return [(self.names[k], float(shares[k])) for k in order]

    def colors(self) -> np.ndarray:
        """uint8 [height][width][3]: each pixel in its class's colour, black where it has none.

        Raises ValueError where there is no class map.
        """
        classes = self._class_map()
        table = np.zeros((256 ** classes.itemsize, 3), np.uint8)
        table[:len(self.names)] = self.palette
        return table[classes]

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """uint8 [height][width][3]: the picture blended with the colours; pixels of no class stay.

        The picture is read again where it lies. Raises ValueError where there is no class map, or
        where the picture was given as planes.
        """
        rgb = self._pixels.rgb()
        if rgb is None:
            raise ValueError("planes are no picture that could be blended: see colors()")
        mixed = rgb + (self.colors().astype(np.float32) - rgb) * np.float32(opacity)
        known = self._class_map() < len(self.names)
        return np.where(known[..., np.newaxis], (mixed + 0.5).astype(np.uint8), rgb)

    def _class_map(self) -> np.ndarray:
        if self.classes is None:
            raise ValueError("the model gives no class map: it is a classifier or has no head")
        return self.classes

    def _repr_png_(self) -> Optional[bytes]:
        if self.classes is None:
            return None
        shown = Image.fromarray(self.colors() if self._pixels.rgb() is None else self.overlay())
        shown.thumbnail((SHOWN, SHOWN))
        file = io.BytesIO()
        shown.save(file, "PNG")
        return file.getvalue()


class Place(NamedTuple):
    """A context's memory, and its address."""

    memory: np.ndarray
    address: int


def view(data: Any, place: Place, shape: Tuple[int, ...], kind: np.dtype,
         strides: Optional[Tuple[int, ...]] = None) -> np.ndarray:
    start = int(ffi.cast("uintptr_t", data)) - place.address
    return np.ndarray(shape, kind, place.memory, start, strides)


def map_view(m: Any, place: Place, kinds: Dict[int, np.dtype]) -> np.ndarray:
    """A swin_map as an array [height][width]; kinds: the type of an entry by its bytes."""
    return view(m.data, place, (m.height, m.width), kinds[m.bytes])


def tensor_view(t: Any, place: Place) -> np.ndarray:
    """A swin_tensor as an array [channels][height][width]."""
    return view(t.data, place, (t.channels, t.height, t.width), FLOAT,
                (4 * t.channel, 4 * t.row, 4 * t.pixel))
