"""Swin-Transformer-Semantic-Segmentation: the Swin authors' fork of mmseg 0.x."""

import re

from . import segmentation
from .names import AUTHORS, renamer
from ..records import Refused

FAMILY = "Swin of Swin-Transformer-Semantic-Segmentation"

rename = renamer(AUTHORS)


def recognise(names):
    """The Swin authors' blocks, and norms of stage outputs or a decode head."""
    return (any(re.match(r"(backbone\.)?layers\.\d+\.blocks\.", name) for name in names)
            and any(re.match(r"((backbone\.)?norm\d|decode_head)\.", name) for name in names))


def read(checkpoint, options):
    return segmentation.read(checkpoint, options, FAMILY, rename, take_position)


def take_position(reader):
    """The absolute position embedding [1, E, rows, columns], resized to any map."""
    if not reader.has("embed.position"):
        return
    one, E, rows, columns = reader.shape("embed.position", 4)
    if one != 1:
        raise Refused(f"{reader.name('embed.position')} has {one} tables")
    reader.d.update(position_h=rows, position_w=columns)
    reader.model.weights["embed.position"] = reader.take("embed.position").map(
        (rows * columns, E), lambda x: x.reshape(E, -1).T)
