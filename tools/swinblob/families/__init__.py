"""One module for each source of checkpoints. Each has

    recognise(names)            is this one of mine?
    read(checkpoint, options)   the canonical model
    recognised(names)           what it is, for the user (else FAMILY says it)
"""

from . import (foreign, glam, hugging_face, official, swin_seg, timm, torchvision, unet, upstream)
from ..canonical import Refused

FAMILIES = (torchvision, hugging_face, upstream, unet, glam, swin_seg, timm, official)


def read(checkpoint, options):
    """Recognises a checkpoint by its names and maps it onto the canonical model."""
    names = list(checkpoint.tensors)
    what = foreign.recognise(names)
    if what:
        raise Refused(f"this is {what}, which this version does not take")
    for family in FAMILIES:
        if family.recognise(names):
            return family.read(checkpoint, options)
    raise Refused("no Swin or GLAM model is known with tensors such as "
                  + ", ".join(sorted(names)[:3]))


def recognised(names):
    """What a checkpoint is, in words."""
    names = list(names)
    what = foreign.recognise(names)
    family = next((family for family in FAMILIES if family.recognise(names)), None)
    if what or not family:
        return what or "unknown"
    return family.recognised(names) if hasattr(family, "recognised") else family.FAMILY
