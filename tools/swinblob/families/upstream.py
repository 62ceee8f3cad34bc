"""Upstream mmsegmentation, 0.x and 1.x: the same model under other names, and patch merging with
its channels in the order of an unfold."""

from . import segmentation
from .names import renamer
from ..records import Refused

FAMILY = "Swin of upstream mmsegmentation"

rename = renamer([
    (r"^embed\.norm", r"patch_embed.norm"),
    (r"^embed\.position$", r"absolute_pos_embed"),
    (r"^embed\.", r"patch_embed.projection."),
    (r"^stage(\d+)\.norm", r"norm\1"),
    (r"^stage(\d+)\.merge\.norm", r"stages.\1.downsample.norm"),
    (r"^stage(\d+)\.merge", r"stages.\1.downsample.reduction"),
    (r"^stage(\d+)\.block(\d+)", r"stages.\1.blocks.\2"),
    (r"\.attn\.bias$", r".attn.relative_position_bias_table"),
    (r"\.attn\.", r".attn.w_msa."),
    (r"\.mlp\.fc1\.", r".ffn.layers.0.0."),
    (r"\.mlp\.fc2\.", r".ffn.layers.1."),
])


def recognise(names):
    return any(".attn.w_msa." in name for name in names)


def read(checkpoint, options):
    return segmentation.read(checkpoint, options, FAMILY, rename, prepare)


def prepare(reader):
    d = reader.d
    reader.take_fixed_position()
    for i, C in enumerate(d["width"][:-1]):
        parts = ["merge.weight"]
        if d["merge_norm"]:
            parts += ["merge.norm.weight", "merge.norm.bias"]
        for part in parts:
            weight = reader.take(f"stage{i}.{part}")
            if weight.shape[-1:] != (4 * C,):
                raise Refused(f"{weight.origin} has shape {list(weight.shape)} where {4 * C} "
                              "channels are merged")
            reader.model.weights[f"stage{i}.{part}"] = weight.map(weight.shape, reorder_merge)


def reorder_merge(x):
    """Last axis from channel * 4 + row * 2 + column to (column * 2 + row) * C + channel."""
    cells = x.reshape(*x.shape[:-1], -1, 2, 2)
    order = [*range(x.ndim - 1), x.ndim + 1, x.ndim, x.ndim - 1]
    return cells.transpose(order).reshape(x.shape)
