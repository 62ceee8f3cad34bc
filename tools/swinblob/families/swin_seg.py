"""Swin-Transformer-Semantic-Segmentation: the Swin authors' fork of mmseg 0.x."""

import re

from . import segmentation
from .source import renamer
from ..canonical import Refused

FAMILY = "Swin of Swin-Transformer-Semantic-Segmentation"

RULES = [
    (r"^embed\.norm", r"patch_embed.norm"),
    (r"^embed\.position$", r"absolute_pos_embed"),
    (r"^embed\.", r"patch_embed.proj."),
    (r"^stage(\d+)\.norm", r"norm\1"),
    (r"^stage(\d+)\.merge\.norm", r"layers.\1.downsample.norm"),
    (r"^stage(\d+)\.merge", r"layers.\1.downsample.reduction"),
    (r"^stage(\d+)\.block(\d+)", r"layers.\1.blocks.\2"),
    (r"\.attn\.bias$", r".attn.relative_position_bias_table"),
]
rename = renamer(RULES)


def recognise(names):
    return any(re.match(r"(backbone\.)?layers\.\d+\.blocks\.", name) for name in names)


def read(checkpoint, options):
    return segmentation.read(checkpoint, options, FAMILY, rename, take_position)


def take_position(model, source, name):
    """The absolute position embedding [1, E, rows, columns], resized to any map."""
    origin = name("embed.position")
    if origin not in source:
        return
    one, E, rows, columns = source.shape(origin, 4)
    if one != 1:
        raise Refused(f"{origin} has {one} tables")
    model.description.update(position_h=rows, position_w=columns)
    model.weights["embed.position"] = source.take(origin).map(
        (rows * columns, E), lambda x: x.reshape(E, -1).T)
