"""Swin Transformer and GLAM semantic segmentation on the CPU: swin.h in Python.

    import swinh
    model = swinh.Model("street.swin")
    result = model.segment("photo.jpg")         # or a NumPy array, or a PIL image
    result.classes                              # uint8 [height][width]: a class for each pixel
    model.names[result.classes[180, 240]]       # what the pixel at row 180, column 240 shows

`swinh.convert("checkpoint.pth")` makes a model of a checkpoint. The command `swinh map` segments
folders of pictures.
"""

from ._convert import ConvertError, convert
from ._core import lib as _lib
from ._model import Model, ModelError
from ._pictures import PictureError
from ._result import Result, Segment

__version__ = ".".join(str(getattr(_lib, f"SWIN_VERSION_{part}"))
                       for part in ("MAJOR", "MINOR", "PATCH"))
__all__ = ["ConvertError", "Model", "ModelError", "PictureError", "Result", "Segment", "convert"]
