"""How families name tensors: rules from canonical names to theirs.

Beside the blob's own names there are some for what families store apart or beside a tensor:
BLOCK.attn.q, .k and .v (queries, keys and values), BLOCK.attn.cpb (Swin V2's MLP of positions), and
the buffers BLOCK.mask, BLOCK.attn.index and BLOCK.attn.coordinates.
"""

import re
from functools import lru_cache

from ..records import Refused


def renamer(rules):
    """A function from canonical names to a family's: every rule (pattern, replacement) in turn."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    @lru_cache(maxsize=1 << 14)
    def rename(name):
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        return name

    return rename


# The Swin authors' names, which most code took over
AUTHORS = (
    (r"^embed\.norm", r"patch_embed.norm"),
    (r"^embed\.position$", r"absolute_pos_embed"),
    (r"^embed\.", r"patch_embed.proj."),
    (r"^stage(\d+)\.norm", r"norm\1"),
    (r"^stage(\d+)\.merge\.norm", r"layers.\1.downsample.norm"),
    (r"^stage(\d+)\.merge", r"layers.\1.downsample.reduction"),
    (r"^stage(\d+)\.block(\d+)", r"layers.\1.blocks.\2"),
    (r"\.mask$", r".attn_mask"),
    (r"\.attn\.bias$", r".attn.relative_position_bias_table"),
    (r"\.attn\.index$", r".attn.relative_position_index"),
    (r"\.attn\.scale$", r".attn.logit_scale"),
    (r"\.attn\.cpb", r".attn.cpb_mlp"),
    (r"\.attn\.coordinates$", r".attn.relative_coords_table"),
    (r"\.attn\.([qv])\.bias$", r".attn.\1_bias"),
    (r"^head\.classify", r"head"),
)

# What GLAM adds to them
GLAM = (
    (r"^stage(\d+)\.tokens$", r"layers.\1.global_token"),
    (r"^stage(\d+)\.token_position$", r"layers.\1.pe"),
    (r"\.global\.", r".gt_attn."),
)


def prefixes(names, module):
    """What stands before a module's name in those of its tensors: one prefix a model."""
    modules = {name.rpartition(".")[0] for name in names}
    return sorted(name[:-len(module)] for name in modules if ("." + name).endswith("." + module))


def model_prefix(names, module):
    """The one prefix before a module that each model has once."""
    found = prefixes(names, module)
    if len(found) > 1:
        raise Refused(f"{len(found)} models in one: {', '.join(map(repr, found))}")
    return found[0] if found else ""
