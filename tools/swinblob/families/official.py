"""The Swin authors' classification code, V1 and V2 (timm before 0.9 is the same), and encoders
pre-trained by SimMIM or MoBY."""

from . import fixed_size, pictures
from .names import AUTHORS, prefixes, renamer
from .reader import COORDINATES, MASKS, Reader
from ..canonical import FINAL_NORM, Refused

FAMILY = "Swin of the official code"
PATCH = "patch_embed.proj"

DROPPED = (
    MASKS, COORDINATES,
    ("encoder.mask_token", "serves training only"),
    ("decoder.*", "serves training only"),
    ("encoder_k.*", "serves training only"),
    ("projector*", "serves training only"),
    ("predictor.*", "serves training only"),
    ("queue*", "serves training only"),
)


def recognise(names):
    merges = any("layers.0.downsample." in name for name in names)
    single = not any(".downsample." in name for name in names)
    return any("layers.0.blocks.0.attn." in name for name in names) and (merges or single)


def recognised(names):
    kind = FAMILY
    if any(name.startswith("encoder_k.") for name in names):
        kind = "MoBY's encoder, " + kind
    elif any(name.startswith(("encoder.mask_token", "decoder.0.")) for name in names):
        kind = "SimMIM's encoder, " + kind
    return kind + (" V2" if any("logit_scale" in name for name in names) else "")


def read(checkpoint, options):
    names = list(checkpoint.tensors)
    prefix = one_prefix([name for name in names if not name.startswith("encoder_k.")])
    old_mlp = [(r"\.attn\.cpb", r".attn.rpe_mlp")] * any(".rpe_mlp." in name for name in names)
    rename = renamer([*old_mlp, *AUTHORS])
    reader = Reader(checkpoint, options, recognised(names), lambda name: prefix + rename(name))
    d = reader.d
    reader.describe_layers()
    reader.shape("norm.weight", 1)
    d["flags"] |= FINAL_NORM
    reader.describe_classifier()
    grid = fixed_size.describe(reader)
    reader.take_fixed_position(grid)
    if d["version"] == 2:
        describe_pretrained(reader)
    height, width = d["input_h"], d["input_w"]
    pictures.crop_centre(d, 256 * max(height, width) // 224, (height, width))
    return reader.finish(DROPPED)


def one_prefix(names):
    """What all names of the one model begin with."""
    found = prefixes(names, PATCH)
    if len(found) > 1:
        raise Refused(f"{len(found)} models in one: {', '.join(found)}")
    return found[0] if found else ""


def describe_pretrained(reader):
    """The windows that Swin V2's positions are relative to, from the coordinates or the option."""
    d, told = reader.d, None
    for i in range(d["stages"]):
        block = f"stage{i}.block0"
        if reader.has(block + ".attn.coordinates"):
            reader.shape(block + ".attn.coordinates", 4)
            largest = float(reader.source.numbers(reader.name(block + ".attn.coordinates")).max())
            reader.pretrained[i] = (window_of(reader, i, largest),) * 2
            continue
        told = told or reader.option("pretrained_windows")
        if not told:
            raise Refused("nothing tells the windows this model was pretrained with: give "
                          "--pretrained-windows, such as 12,12,12,6 (0,0,0,0: none)")
        set_pretrained(reader, told)
        return


def set_pretrained(reader, windows):
    """windows: a number, or a pair, a stage."""
    stages = reader.d["stages"]
    if len(windows) != stages:
        raise Refused(f"{len(windows)} pretrained windows {list(windows)} for {stages} stages")
    for i, window in enumerate(windows):
        reader.pretrained[i] = tuple(window) if isinstance(window, (list, tuple)) else (window,) * 2


def window_of(reader, i, largest):
    """N from the largest coordinate m of a window w: 8 (w - 1) / (N - 1) = 2^(3 m) - 1."""
    w, name = reader.d["window_h"][i], reader.name(f"stage{i}.block0.attn.coordinates")
    if w == 1:
        return 0
    if not 0 < largest < 4:
        raise Refused(f"{name} holds {largest:.3g} at most, which is no window's")
    window = 1 + 8 * (w - 1) / (2 ** (3 * largest) - 1)
    if not 1.5 < window < 64.5 or abs(window - round(window)) > 0.01:
        raise Refused(f"{name} belongs to a pretrained window of {window:.3f}, which is no number "
                      "of patches")
    return round(window)
