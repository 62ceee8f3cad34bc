"""Names and colours of classes: from a file, from a built-in list, from the checkpoint, or made up.

A file has one class a line, `#rrggbb name` or just one of the two; palettes/ holds the built-in
lists in the same form.
"""

import colorsys
import os
import re

from .records import Refused

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "palettes")
PALETTES = ("ade20k", "cityscapes", "voc")
BUILT_IN = (*PALETTES, "imagenet1k")
MAX_FILE = 1 << 22


def load(name_or_path):
    """Names and colours of a built-in list or a file; either is None where lines lack it."""
    built_in = name_or_path in BUILT_IN
    path = os.path.join(FOLDER, name_or_path + ".txt") if built_in else name_or_path
    with open(path, "rb") as file:
        data = file.read(MAX_FILE)
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise Refused(f"{path} is no UTF-8 text") from None
    names, colors = [], []
    for line in lines:
        color, name = re.fullmatch(r"(#[0-9A-Fa-f]{6}(?=\s|$))?\s*(.*)", line).groups()
        if name:
            names.append(name)
        if color:
            colors.append(tuple(bytes.fromhex(color[1:])))
    for found, what in ((names, "a name"), (colors, "a colour")):
        if found and len(found) < len(lines):
            raise Refused(f"{path}: only {len(found)} of {len(lines)} lines have {what}")
    return names or None, colors or None


def made_up_colors(count):
    """Colours as different as the golden angle and three brightnesses make them."""
    return [tuple(round(255 * part) for part in
                  colorsys.hsv_to_rgb(k * 0.618034 % 1, 0.75, (0.95, 0.7, 0.5)[k % 3]))
            for k in range(count)]


def apply(model, options):
    """Settles a model's class names and colours: options first, then the checkpoint, then ours."""
    K = model.description["classes"]
    names, colors = model.class_names, model.class_colors
    if colors and len(colors) != K:
        model.remarks.append(f"not taken: the checkpoint's {len(colors)} colours for {K} classes")
        colors = None
    if options.palette:
        palette_names, colors = load(options.palette)
        if not colors:
            raise Refused(f"--palette {options.palette} holds no colours (#rrggbb)")
        names = names or palette_names
    if options.classes:
        names, class_colors = load(options.classes)
        if not names:
            raise Refused(f"--classes {options.classes} holds no names")
        colors = colors or class_colors
    for found, what in ((names, "class names"), (colors, "colours")):
        if found and len(found) != K:
            raise Refused(f"{len(found)} {what}, but the model has {K} classes "
                          "(--classes and --palette say otherwise)")
    if K and not names:
        model.remarks.append("nothing tells the classes' names (--classes or --palette does"
                             + ", perhaps --classes imagenet1k" * (K == 1000) + ")")
    model.class_names = names or [f"class {k}" for k in range(K)]
    model.class_colors = colors or made_up_colors(K)
