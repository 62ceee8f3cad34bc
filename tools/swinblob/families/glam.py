"""GLAM: Swin whose windows carry global tokens ("gtv8" in the code), both block layouts."""

from . import segmentation, swin_seg
from .source import renamer
from ..canonical import Refused

FAMILY = "GLAM-Swin of the official GLAM code"

rename = renamer([
    (r"^stage(\d+)\.tokens$", r"layers.\1.global_token"),
    (r"^stage(\d+)\.token_position$", r"layers.\1.pe"),
    (r"\.global\.", r".gt_attn."),
    *swin_seg.RULES,
])


def recognise(names):
    return any("global_token" in name or ".gt_attn." in name for name in names)


def read(checkpoint, options):
    return segmentation.read(checkpoint, options, FAMILY, rename, take_tokens)


def take_tokens(model, source, name):
    """Describes the tokens and leaves out what feeds nothing: the last attention of a stage."""
    d = model.description
    swin_seg.take_position(model, source, name)
    d["tokens"] = source.shape(name("stage0.tokens"), 2)[0]
    for i in range(d["stages"]):
        last = d["depth"][i] - 1
        source.drop(name(f"stage{i}.block{last}.global.") + "*",
                    "the last global attention of a stage feeds nothing")
        position = name(f"stage{i}.token_position")
        if last == 0:
            source.drop(position, "a stage of one block mixes no tokens")
            continue
        rows = source.shape(position, 2)[0]
        if rows < d["tokens"]:
            raise Refused(f"{position} has {rows} rows, less than a window's tokens")
        d["token_rows"][i], d["token_middle"][i] = rows, rows // 2
