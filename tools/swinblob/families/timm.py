"""timm from 0.9 on: swin_*, swin_s3_* and swinv2_*, classifiers, headless and features only."""

import re
from math import floor

from . import pictures, swin_v2
from .asking import ask, together
from .hub_config import entries, number, pair, real, triple
from .names import AUTHORS, model_prefix, renamer
from .reader import Reader
from ..canonical import stage_count
from ..records import MAX_SIDE, Filter, Input, Refused

FAMILY = "timm's Swin"
MAX_GRID = 1 << 10
FILTERS = {"bicubic": Filter.BICUBIC_ANTIALIASED, "bilinear": Filter.BILINEAR_ANTIALIASED}

RULES = (
    (r"^stage(\d+)\.merge\.norm", lambda m: f"layers.{int(m[1]) + 1}.downsample.norm"),
    (r"^stage(\d+)\.merge", lambda m: f"layers.{int(m[1]) + 1}.downsample.reduction"),
    (r"^head\.classify", r"head.fc"),
    *AUTHORS,
)


def recognise(names):
    """Merging at the start of a stage, not at the end; or the names of features alone."""
    text = "\n".join(names)
    blocks = re.search(r"(^|\.)layers([._])0\.blocks\.0\.attn\.", text, re.MULTILINE)
    return bool(blocks) and (blocks[2] == "_" or "layers.1.downsample." in text
                             and "layers.0.downsample." not in text)


def recognised(names):
    return (FAMILY + (" V2" if any("logit_scale" in name for name in names) else "")
            + ", features only" * any("layers_0." in name for name in names))


def read(checkpoint, options):
    names, config = list(checkpoint.tensors), Config(checkpoint.config)
    features = any("layers_0." in name for name in names)
    prefix = model_prefix(names, "patch_embed.proj")
    rename = renamer([*RULES, (r"^layers\.(\d+)", r"layers_\1")] if features else RULES)
    reader = Reader(checkpoint, options, recognised(names), lambda name: prefix + rename(name))
    d = reader.d
    reader.describe_layers()
    d.update(input_rule=Input.EXACT, roll_before_pad=1)
    if not features:
        d["final_norm"] = 1
    *_, grid = together(
        reader.describe_classifier,
        lambda: config.check(d, d["classes"] if reader.threshold is None else 1),
        lambda: describe_windows(reader, config))
    config.apply(reader.model, [side * d["patch"] for side in grid])
    return reader.finish()


# Windows ------------------------------------------------------------------------------------------

def describe_windows(reader, config):
    """Windows and shifts; the grid of stage 0."""
    if reader.d["version"] == 2:
        return describe_v2(reader, config)
    size = reader.option("image_size") or config.image_size
    if not size:
        return deduce_v1(reader)
    grid = grid_of(reader.d, size)
    describe_v1(reader, grid)
    return grid


def grid_of(d, size):
    if size[0] % d["patch"] or size[1] % d["patch"]:
        raise Refused(f"an image of {size[0]}x{size[1]} is not whole patches of {d['patch']} "
                      "(--image-size)")
    return size[0] // d["patch"], size[1] // d["patch"]


def halved(side, i):
    """A side of stage i's grid: merging pads odd sides."""
    return -(-side // 2 ** i)


def place(reader, i, window, grid):
    """Windows that fill the grid along an axis do not shift along it."""
    shift = [w // 2 if halved(side, i) > w else 0 for w, side in zip(window, grid)]
    reader.set_window(i, window, shift)


def describe_v2(reader, config):
    d = reader.d
    size, windows, pretrained = swin_v2.told(reader, config)
    grid = grid_of(d, size)
    windows = list(windows) * (stage_count(d) if len(windows) == 1 else 1)
    if len(windows) != stage_count(d):
        raise Refused(f"{len(windows)} windows {windows} for {stage_count(d)} stages (--window)")
    for i, window in enumerate(windows):
        sides = window if isinstance(window, (list, tuple)) else (window,) * 2
        place(reader, i, tuple(min(halved(g, i), w) for g, w in zip(grid, sides)), grid)
    swin_v2.set_pretrained(reader, pretrained)
    return grid


def describe_v1(reader, grid):
    """Windows from the tables' rows, cut off along an axis where the grid ends."""
    for i in range(stage_count(reader.d)):
        rows, sides = reader.table_rows(i), [halved(side, i) for side in grid]
        fitting = [window for window in (tuple(min(side, w) for side in sides)
                                         for w in range(1, 65)) if table_of(*window) == rows]
        if not fitting:
            name = reader.name(f"stage{i}.block0.attn.bias")
            raise Refused(f"{name} has {rows} rows, which no window on a grid of "
                          f"{sides[0]}x{sides[1]} gives (--image-size)")
        place(reader, i, fitting[0], grid)


def table_of(rows, columns):
    return (2 * rows - 1) * (2 * columns - 1)


def deduce_v1(reader):
    """Windows and shifts from the tables alone: the sides of a window that is not square end where
    the grid does. What stays open is decided as released models have it, and remarked."""
    d = reader.d
    tables = [reader.table_rows(i) for i in range(stage_count(d))]
    largest = max((w for w in range(1, 65) if table_of(w, w) in tables), default=0)
    axes, square = ([], []), True
    for i, rows in enumerate(tables):
        pairs = [(h, w) for h in range(1, largest + 1) for w in range(h, largest + 1)
                 if table_of(h, w) == rows]
        pairs = [p for p in pairs if p[0] == p[1]] or pairs
        if len(pairs) != 1:
            name = reader.name(f"stage{i}.block0.attn.bias")
            raise ask(f"the {rows} rows of {name} do not tell the sides of its window",
                      "--image-size HxW")
        (short, long), = pairs
        square = square and short == long
        axes[0].append((short, short < long))
        axes[1].append((long, short < long < largest))
    grid, sure = [], True
    for sides in axes:
        fitting = [side for side in range(1, MAX_GRID) if fits(side, sides)]
        if not fitting:
            raise ask("the bias tables' windows fit no image size together",
                      "--image-size HxW")
        last = len(sides) - 1
        ends = halved(fitting[0], last)         # the last stage is as small as it can be,
        grid.append(max(side for side in fitting if halved(side, last) == ends))    # and even
        patterns = {tuple(halved(side, i) > w for i, (w, _) in enumerate(sides))
                    for side in fitting}
        sure = sure and len(patterns) == 1
    for i in range(stage_count(d)):
        place(reader, i, tuple(sides[i][0] for sides in axes), grid)
    size = "x".join(str(side * d["patch"]) for side in grid)
    if not square:
        reader.model.remarks.append(f"nothing tells whether the model was built for landscape or "
                                    f"portrait: landscape, {size}, is assumed; --image-size HxW "
                                    "says otherwise")
    elif not sure:
        reader.model.remarks.append(f"nothing tells the image size, which decides where windows "
                                    f"shift: {size} is assumed, the last stage one window; "
                                    "--image-size HxW says otherwise")
    return grid


def fits(side, windows):
    """Can a grid of this side have these windows: (side, is it the grid's own?) a stage?"""
    return all(halved(side, i) == w if whole else halved(side, i) >= w
               for i, (w, whole) in enumerate(windows))


# What config.json tells ---------------------------------------------------------------------------

class Config:
    """timm's config.json; every entry may be missing."""

    def __init__(self, config):
        self.whole = config
        self.architecture = str(config.get("architecture", ""))
        self.arguments = entries(config.get("model_args"))
        self.told = entries(config.get("pretrained_cfg"))
        self.classes = next((number(told.get("num_classes"), 0, 1 << 16) for told in (
            self.arguments, config, self.told) if "num_classes" in told), None)
        name = re.search(r"window(?:(\d+)to)?(\d+)_(?:\d+to)?(\d+)", self.architecture)
        s3 = re.search(r"swin_s3_\w+_(\d+)", self.architecture)
        self.named_size = int((name and name[3]) or (s3 and s3[1]) or 0)
        self.named_window = int(name[2]) if name else 0
        self.named_pretrained = int(name[1] or 0) if name else None

    @property
    def image_size(self):
        size = self.told.get("input_size")
        return (pair(self.arguments.get("img_size"))
                or pair(size[1:] if isinstance(size, list) and len(size) == 3 else None)
                or pair(self.named_size))

    @property
    def window(self):
        told = self.arguments.get("window_size")
        if number(told):
            return [told]
        if isinstance(told, list) and told and all(number(w) or pair(w) for w in told):
            return told
        return [self.named_window] if self.named_window else None

    @property
    def pretrained_windows(self):
        told = self.arguments.get("pretrained_window_sizes")
        if isinstance(told, list) and told and all(w == 0 or number(w) or pair(w) for w in told):
            depths = self.arguments.get("depths")
            return told[:len(depths)] if isinstance(depths, list) and depths else told
        w = self.named_pretrained
        return None if w is None else [w, w, w, w // 2]

    def check(self, d, outputs):
        """Refuses a config.json that speaks of another model; outputs: of its classifier."""
        for key, usual in (("global_pool", "avg"), ("act_layer", "gelu"),
                           ("always_partition", False)):
            told = next((where[key] for where in (self.arguments, self.whole, self.told)
                         if key in where), usual)
            if told not in (None, usual) and (d["head"] or key != "global_pool"):
                raise Refused(f"config.json sets {key} to {str(told)[:40]}, not {usual}")
        if d["head"] and self.classes not in (None, outputs):
            raise Refused(f"config.json says that num_classes is {self.classes}, but the weights "
                          f"have {outputs}")
        for key, found in (("embed_dim", d["width"][0]), ("depths", d["depth"]),
                           ("num_heads", d["heads"]), ("patch_size", d["patch"])):
            told = self.arguments.get(key)
            if told is not None and told != found:
                raise Refused(f"config.json says that {key} is {told}, but the weights have "
                              f"{found}")

    def apply(self, model, size):
        """Classes and the way from pictures to input; size: of the input where nothing tells."""
        d, told = model.description, self.told
        names = told.get("label_names")
        if d["classes"] and isinstance(names, list) and all(isinstance(n, str) for n in names):
            model.class_names = names
        self.apply_normalisation(model)
        usual = 0.875 if told else 0.9 if max(size) < 384 else 1.0
        share = usual if told.get("crop_pct") is None else told["crop_pct"]
        crop_pct = real(share, 0.1, 1.000001)
        resized = [floor(side / (crop_pct or usual)) for side in size]
        if max(resized) > MAX_SIDE or not d["head"]:
            return
        mode = told.get("crop_mode") or "center"
        interpolation = str(told.get("interpolation") or "bicubic")
        for known, key, value, instead in (
                (crop_pct, "crop_pct", share, usual),
                (interpolation in FILTERS, "interpolation", interpolation, "bicubic"),
                (mode in ("center", "squash"), "crop_mode", mode, "center")):
            if not known:
                model.remarks.append(f"config.json's {key} {str(value)[:40]} is not known: it is "
                                     f"{instead} here")
        if size[0] != size[1] and mode != "squash":
            model.remarks.append("timm keeps the shape of pictures for this input, which is no "
                                 "square; here they are resized to its shape, and cropped")
        squash = mode == "squash" or size[0] != size[1]
        pictures.crop_centre(d, tuple(resized) if squash else resized[0], size,
                             FILTERS.get(interpolation, Filter.BICUBIC_ANTIALIASED))

    def apply_normalisation(self, model):
        told = [self.told.get(key) for key in ("mean", "std")]
        mean, std = triple(told[0]), triple(told[1], 1e-6)
        for key, value, numbers in zip(("mean", "std"), told, (mean, std)):
            if value is not None and not numbers:
                model.remarks.append(f"config.json's {key} is no three numbers: ImageNet's is "
                                     f"taken (--{key})")
        if mean:
            model.description["mean"] = [255 * n for n in mean]
        if std:
            model.description["scale"] = [1 / (255 * n) for n in std]
