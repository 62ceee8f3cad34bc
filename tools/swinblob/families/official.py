"""The Swin authors' classification code, V1 and V2 (timm before 0.9 is the same), and encoders
pre-trained by SimMIM or MoBY."""

from . import fixed_size, pictures, swin_v2
from .asking import together
from .names import AUTHORS, model_prefix, renamer
from .reader import COORDINATES, MASKS, Reader

FAMILY = "Swin of the official code"

DROPPED = (MASKS, COORDINATES)
PRETRAINING = tuple((what, "serves training only") for what in (
    "encoder.mask_token", "decoder.*", "encoder_k.*", "projector.*", "projector_k.*",
    "predictor.*", "queue1", "queue2", "queue_ptr"))
DINO = tuple((what, "serves training only") for what in (
    "head.mlp.*", "head.last_layer.*", "head_dense.*"))


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
    prefix = model_prefix([name for name in names if not name.startswith("encoder_k.")],
                          "patch_embed.proj")
    old_mlp = [(r"\.attn\.cpb", r".attn.rpe_mlp")] * any(".rpe_mlp." in name for name in names)
    rename = renamer([*old_mlp, *AUTHORS])
    reader = Reader(checkpoint, options, recognised(names), lambda name: prefix + rename(name))
    d = reader.d
    reader.describe_layers()
    reader.shape("norm.weight", 1)
    d["final_norm"] = 1
    together(reader.describe_classifier,
             lambda: reader.take_fixed_position(fixed_size.describe(reader)),
             lambda: d["version"] == 2 and swin_v2.describe_stored(reader))
    height, width = d["input_h"], d["input_w"]
    pictures.crop_centre(d, 256 * max(height, width) // 224, (height, width))
    return reader.finish(DROPPED + PRETRAINING * (prefix == "encoder.")
                         + DINO * (prefix == "backbone."))
