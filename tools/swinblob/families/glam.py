"""GLAM: Swin whose windows carry global tokens ("gtv8" in the code), both block layouts."""

from . import segmentation, swin_seg
from .names import AUTHORS, GLAM, renamer
from ..canonical import stage_count, up_levels
from ..records import Refused

FAMILY = "GLAM-Swin of the official GLAM code"

rename = renamer(GLAM + AUTHORS)


def recognise(names):
    return any("global_token" in name or ".gt_attn." in name for name in names)


def read(checkpoint, options):
    return segmentation.read(checkpoint, options, FAMILY, rename, prepare)


def prepare(reader):
    swin_seg.take_position(reader)
    describe_tokens(reader)


def describe_tokens(reader):
    """Describes the tokens and leaves out what feeds nothing: the last attention of a stage."""
    d, name = reader.d, reader.name
    d["tokens"] = reader.shape("stage0.tokens", 2)[0]
    for i in range(stage_count(d)):
        last = d["depth"][i] - 1
        for stage in [f"stage{i}"] + [f"up{i}"] * (i in up_levels(d)):
            reader.source.drop(name(f"{stage}.block{last}.global.") + "*",
                               "the last global attention of a stage feeds nothing")
            position = name(f"{stage}.token_position")
            if last == 0:
                reader.source.drop(position, "a stage of one block mixes no tokens")
                continue
            rows = reader.source.shape(position, 2)[0]
            if rows < d["tokens"]:
                raise Refused(f"{position} has {rows} rows, less than a window's tokens")
            d["token_rows"][i], d["token_middle"][i] = rows, rows // 2
