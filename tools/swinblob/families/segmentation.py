"""What the mmseg families share: a backbone whose outputs have norms, and a decode head."""

from . import decode_heads
from .mmseg_config import SWIN, Told
from .reader import Reader
from ..canonical import stage_count
from ..records import Refused

DROPPED = (("auxiliary_head.*", "serves training only"),)


def read(checkpoint, options, family, rename, prepare):
    """The model of a checkpoint.

    family: what it is, for the user; rename: from canonical names to those without the prefix
    `backbone.`; prepare(reader): describes and takes what only the family has."""
    told = Told(checkpoint.meta)
    prefixed = any(name.startswith("backbone.") for name in checkpoint.tensors)
    reader = Reader(checkpoint, options, family,
                    lambda name: "backbone." * prefixed + rename(name))
    d = reader.d
    reader.describe_layers()
    reader.describe_feature_norms()
    if not d["feature_norms"]:
        raise Refused(f"{reader.name('stage0.norm.weight')} and its like are missing: no stage "
                      "output is normalised as segmentation needs it (a classifier's backbone)")
    shifts = told.check_backbone(reader.model, SWIN)
    for i in range(stage_count(d)):
        window = reader.square_window(i)
        reader.set_window(i, (window,) * 2, (window // 2 * shifts,) * 2)
    prepare(reader)
    if "decode_head" in reader.source.groups:
        decode_heads.read(reader, told)
    reader.finish(DROPPED)
    told.apply(reader.model, options)
    return reader.model
