"""Where in the names of a checkpoint the model begins.

Training code keeps a model under an attribute of its own (model., net., student., several of them),
often beside losses, metrics and counters. Every Swin model has one embedding of patches: what
stands before it, less what the families themselves put there, is the prefix of the model."""

import re

from .names import prefixes
from .source import FLOATING
from ..records import Refused
from ..values import enumerate_names

# The embedding, or a module beside it, and what families themselves put before it, longest first.
# encoder_k. and decode_head. stand beside another.
EMBEDDINGS = {
    "patch_embed.proj": ("backbone.swin_unet.", "encoder.model.", "backbone.", "swin_unet.",
                         "encoder.", "encoder_k.", "decode_head.", "bb.", ""),
    "patch_embed.projection": ("backbone.", ""),
    "embeddings.patch_embeddings.projection": (
        "model.pixel_level_module.encoder.model.", "model.pixel_level_module.encoder.swin.",
        "model.pixel_level_module.encoder.", "backbone.swin.", "backbone.", "swin.", "swinv2.",
        ""),
    "features.1.0.attn.proj": ("",),
    "patch_embed1.proj": ("backbone.", ""),
    "layers.0.0.projection": ("backbone.", ""),
    "encoder.patch_embeddings.0.proj": ("segformer.", ""),
    "stages.0.patch_embeddings.proj": ("segformer.", ""),
}
MAX_PART = 100                  # letters of a module's name
TRAINING = re.compile(r"(.*_)?((loss(es)?|criteri(on|ons|a)|metrics?)(_.*|\d*)"
                      r"|m?iou|dice|accuracy|acc|f1|jaccard|confmat)")


def find(names):
    """The prefixes of the models in these names; one that is empty holds all others."""
    names, found = set(names), set()
    heads = {name.partition(head)[0] for head in ("decode_head.", "segmentation_head.")
             for name in names if head in name}
    for embedding, owns in EMBEDDINGS.items():
        for prefix in prefixes(names, embedding):
            found.add(next(prefix[:len(prefix) - len(own)] for own in owns
                           if is_own(own, prefix, names, heads)))
    return [""] if "" in found else sorted(found)


def is_own(own, prefix, names, heads):
    """Does a prefix end in what the family itself puts before the embedding?

    heads: what stands before the names of heads."""
    if not ("." + prefix).endswith("." + own):
        return False
    if own.count(".") > 1 and "pixel_level_module" not in own:
        # Only segmentors and GLAM have a network in another.
        return (prefix[:len(prefix) - len(own)] in heads
                or prefix + "layers.0.global_token" in names)
    if own == "bb.":                    # BiRefNet's backbone stands beside its decoder
        return any(name.startswith(prefix[:-len(own)] + "decoder.") for name in names)
    if own == "encoder.":               # a segmentor's backbone has norms, a pretrained one none
        return not any(f"{prefix}norm{i}.weight" in names for i in range(4))
    return True


def strip(names):
    """Names behind the prefix of their one model, for recognising it; else all as they are."""
    roots = find(names)
    if len(roots) != 1:
        return list(names)
    return [name[len(roots[0]):] for name in names if name.startswith(roots[0])]


def enter(checkpoint):
    """Leaves a checkpoint only the tensors of its model, without their prefix; the prefix, and what
    was left out, as (what, why, names)."""
    tensors = checkpoint.tensors
    roots = find(tensors)
    if len(roots) > 1:
        raise Refused(f"{len(roots)} models in one: give --entry with one of "
                      + enumerate_names([root[:-1] for root in roots], 20))
    if not roots:
        return "", []
    root = roots[0]
    dropped = (beside(tensors, root) + losses(tensors, root) + counters(tensors, root)
               + averages(tensors, root))
    gone = {name for _, _, names in dropped for name in names}
    checkpoint.outside = {name: tensor for name, tensor in tensors.items()
                          if not name.startswith(root)}
    checkpoint.tensors = {name[len(root):]: tensor for name, tensor in tensors.items()
                          if name not in gone}
    checkpoint.wrappers += [root] if root else []
    return root, dropped


def beside(tensors, root):
    """What lies outside the model and has no layer of its own: class weights, counts, constants."""
    outside = [name for name in tensors if not name.startswith(root)]
    layers = sorted(name for name in outside if is_matrix(tensors[name]) and not trains(name))
    if layers:
        raise Refused(f"{enumerate_names(layers)} beside the Swin model, whose names begin with "
                      f"{root}: this version does not know what such a layer does there; "
                      f"--entry {root[:-1]} takes the Swin model alone")
    return by_part(outside, f"outside the model ({root}*)")


def losses(tensors, root):
    """Losses and metrics inside the model."""
    return by_part([name for name in tensors if name.startswith(root) and trains(name)],
                   "serves training only")


def counters(tensors, root):
    """Single numbers without a module, as averaged weights have them (n_averaged, steps)."""
    return [(name, "counts steps of training", [name]) for name, tensor in tensors.items()
            if name.startswith(root) and "." not in name[len(root):]
            and tensor.shape in ((), (1,))]


def averages(tensors, root):
    """The copies that mmcv's EMAHook keeps under names without dots."""
    if root:
        return []
    copies = {"ema_" + name.replace(".", "_") for name in tensors}
    names = [name for name in tensors if "." not in name and name in copies]
    return [("ema_*", "mmcv puts the averaged weights under the plain names", names)] * bool(names)


def by_part(names, reason):
    parts = {}
    for name in names:
        parts.setdefault(name.partition(".")[0] + ".*" * ("." in name), []).append(name)
    return [(found[0] if len(found) == 1 else part, reason, found)
            for part, found in parts.items()]


def trains(name):
    return any(len(part) < MAX_PART and TRAINING.fullmatch(part)
               for part in name.split(".")[:-1])


def is_matrix(tensor):
    return tensor.dtype in FLOATING and sum(n > 1 for n in tensor.shape) > 1
