"""torchvision's swin_t, swin_s, swin_b, and swin_v2_t, swin_v2_s, swin_v2_b."""

from math import isqrt

from . import pictures
from .names import renamer
from .reader import COORDINATES, Reader
from ..canonical import stage_count
from ..records import Input, Refused, Shift

FAMILY = "torchvision's Swin"

rename = renamer([
    (r"^embed\.norm", r"features.0.2"),
    (r"^embed\.", r"features.0.0."),
    (r"^stage(\d+)\.merge\.norm", lambda m: f"features.{2 * int(m[1]) + 2}.norm"),
    (r"^stage(\d+)\.merge", lambda m: f"features.{2 * int(m[1]) + 2}.reduction"),
    (r"^stage(\d+)\.block(\d+)", lambda m: f"features.{2 * int(m[1]) + 1}.{m[2]}"),
    (r"\.mlp\.fc1\.", r".mlp.0."),
    (r"\.mlp\.fc2\.", r".mlp.3."),
    (r"\.attn\.bias$", r".attn.relative_position_bias_table"),
    (r"\.attn\.index$", r".attn.relative_position_index"),
    (r"\.attn\.coordinates$", r".attn.relative_coords_table"),
    (r"\.attn\.scale$", r".attn.logit_scale"),
    (r"\.attn\.cpb\.", r".attn.cpb_mlp."),
    (r"^head\.classify", r"head"),
])

# (version, width of stage 0, blocks of stage 2): what pictures are resized to, and the centre taken
PICTURES = {(1, 96, 6): (232, 224), (1, 96, 18): (246, 224), (1, 128, 18): (238, 224),
            (2, 96, 6): (260, 256), (2, 96, 18): (260, 256), (2, 128, 18): (272, 256)}


def recognise(names):
    return any(name.startswith("features.1.0.attn.") for name in names)


def recognised(names):
    return FAMILY + (" V2" if any("logit_scale" in name for name in names) else "")


def read(checkpoint, options):
    reader = Reader(checkpoint, options, recognised(checkpoint.tensors), rename)
    d = reader.d
    reader.describe_layers()
    d.update(final_norm=1, input_rule=Input.FLOOR, shift_rule=Shift.PER_AXIS)
    for i in range(stage_count(d)):
        window = reader.square_window(i) if d["version"] == 1 else stored_window(reader, i)
        reader.set_window(i, (window,) * 2, (window // 2,) * 2)
    reader.describe_classifier()
    if d["version"] == 2 and d["qkv_bias"]:
        reader.model.dropped.append(("the keys' third of *.attn.qkv.bias", "torchvision clears it",
                                     [reader.name("stage0.block0.attn.qkv.bias")]))
    size = PICTURES.get((d["version"], d["width"][0], *d["depth"][2:3]))
    if not size:
        size = PICTURES[d["version"], 96, 6]
        if d["head"]:
            reader.model.remarks.append("an architecture of its own: pictures are resized as those "
                                        f"of {'swin_t' if d['version'] == 1 else 'swin_v2_t'}")
    pictures.crop_centre(d, size[0], (size[1],) * 2)
    return reader.finish((COORDINATES,))


def stored_window(reader, i):
    """The window from the flat index of its pairs of patches."""
    count, = reader.shape(f"stage{i}.block0.attn.index", 1)
    window = isqrt(isqrt(count))
    if window ** 4 != count:
        raise Refused(f"{reader.name(f'stage{i}.block0.attn.index')} has {count} entries, which is "
                      "no square window's")
    return window
