"""One module for each source of checkpoints. Each has

    recognise(names)            is this one of mine?
    read(checkpoint, options)   the canonical model
    FAMILY                      what it is, for the user
"""

from . import foreign, glam, swin_seg, upstream
from ..canonical import Refused

FAMILIES = (upstream, glam, swin_seg)


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
    return foreign.recognise(names) or next(
        (family.FAMILY for family in FAMILIES if family.recognise(names)), "unknown")
