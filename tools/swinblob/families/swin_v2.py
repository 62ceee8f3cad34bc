"""Swin V2: what its continuous relative positions depend on beside the weights.

An MLP makes a bias of each offset inside a window, measured relative to the window that the model
was pretrained with. Official files store the coordinates; other sources need a config or options.
"""

import numpy as np

from .asking import ask, listed
from ..canonical import stage_count
from ..records import Refused


PRETRAINED = "--pretrained-windows N,... (as 12,12,12,6; 0: none)"
# Facts beside the weights, and the options that tell them
TELLING = {"image_size": "--image-size HxW", "window": "--window N",
           "pretrained_windows": PRETRAINED}


def relative_positions(window, pretrained):
    """Inputs of the MLP, a row an offset (query minus key): 8 / (N - 1) times the offset, on a
    logarithmic scale. N: the pretrained window, or this one where that is 0."""
    axes = []
    for w, n in zip(window, pretrained):
        offset = np.arange(1 - w, w, dtype=np.float64)
        if (n or w) > 1:
            offset *= 8 / ((n or w) - 1)
        axes.append(np.sign(offset) * np.log2(np.abs(offset) + 1) / 3)
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)


def told(reader, config):
    """Image size, configured windows and pretrained windows: by options, else by config's
    properties of the same names."""
    values = {name: reader.option(name) or getattr(config, name) for name in TELLING}
    missing = [name for name, value in values.items() if not value]
    if missing:
        names = listed([name.replace("_", " ") for name in missing])
        raise ask(f"nothing tells the {names} of this Swin V2, as its config.json would",
                  *(TELLING[name] for name in missing))
    return values.values()


def set_pretrained(reader, windows):
    """windows: a number, or a pair, a stage; nothing but zeros fits any number of stages."""
    stages = stage_count(reader.d)
    if not any(windows):
        windows = [0] * stages
    if len(windows) != stages:
        raise Refused(f"{len(windows)} pretrained windows {list(windows)} for {stages} stages")
    reader.pretrained = [tuple(window) if isinstance(window, (list, tuple)) else (window,) * 2
                         for window in windows]


def describe_stored(reader):
    """Pretrained windows from stored coordinates; where they are stripped, from the option."""
    coordinates = [f"stage{i}.block0.attn.coordinates" for i in range(stage_count(reader.d))]
    if all(map(reader.has, coordinates)):
        set_pretrained(reader, [stored_pretrained(reader, i, name)
                                for i, name in enumerate(coordinates)])
        return
    windows = reader.option("pretrained_windows")
    if not windows:
        raise ask(f"{reader.name(coordinates[0])} is not stored, and nothing else tells the "
                  "windows this model was pretrained with", PRETRAINED)
    set_pretrained(reader, windows)


def stored_pretrained(reader, i, name):
    """N from the largest coordinate m of a window w: 8 (w - 1) / (N - 1) = 2^(3 m) - 1."""
    w, origin = (reader.shape(name, 4)[1] + 1) // 2, reader.name(name)
    if reader.d["window_h"][i] not in (0, w):           # 0: the windows are being asked for
        raise Refused(f"{origin} belongs to a window of {w}, but stage {i} has windows of "
                      f"{reader.d['window_h'][i]}")
    if w == 1:
        return 0
    largest = float(reader.source.numbers(origin).max())
    if not 0 < largest < 4:
        raise Refused(f"{origin} holds {largest:.3g} at most, which is no window's")
    window = 1 + 8 * (w - 1) / (2 ** (3 * largest) - 1)
    if not 1.5 < window < 64.5 or abs(window - round(window)) > 0.01:
        raise Refused(f"{origin} belongs to a pretrained window of {window:.3f}, which is no "
                      "number of patches")
    return round(window)
