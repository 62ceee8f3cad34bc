"""One module for each source of checkpoints. Each has

    recognise(names)            is this one of mine?
    read(checkpoint, options)   the canonical model
    recognised(names)           what it is, for the user (else FAMILY says it)
"""

from . import (birefnet, detectron2, foreign, glam, hugging_face, hugging_face_queries, mm_queries,
               modified, official, root, segformer, smp, swin_seg, timm, torchvision, unet,
               upstream)
from ..records import Refused

FAMILIES = (birefnet, smp, torchvision, segformer, hugging_face_queries, detectron2, mm_queries,
            hugging_face, upstream, unet, glam, swin_seg, timm, official)


def read(checkpoint, options):
    """Recognises a checkpoint by its names and maps it onto the canonical model."""
    modified.refuse(checkpoint.tensors)
    refuse_foreign(checkpoint.tensors)
    prefix, dropped = root.enter(checkpoint)
    try:
        model = read_model(checkpoint, options)
    except Refused as refused:
        if not prefix:
            raise
        raise Refused(f"{refused} (all names of the model begin with {prefix})") from None
    model.dropped += dropped
    return model


def read_model(checkpoint, options):
    """The canonical model of a checkpoint that holds nothing else."""
    names = list(checkpoint.tensors)
    refuse_foreign(names)
    for family in FAMILIES:
        if family.recognise(names):
            return family.read(checkpoint, options)
    raise Refused("no Swin or GLAM model is known with tensors such as "
                  + ", ".join(sorted(names)[:3]))


def refuse_foreign(names):
    what = foreign.recognise(names)
    if what:
        raise Refused(f"this is {what}, which this version does not take")


def recognised(names):
    """What a checkpoint is, in words."""
    what = foreign.recognise(names)
    names = root.strip(names)
    what = what or foreign.recognise(names)
    family = next((family for family in FAMILIES if family.recognise(names)), None)
    if what or not family:
        return what or "unknown"
    return family.recognised(names) if hasattr(family, "recognised") else family.FAMILY
