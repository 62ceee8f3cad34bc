"""How mmseg makes inputs of test pictures, as a config's test pipeline and data_preprocessor say.

What a config leaves out is as the code of its version has it. 0.x normalises in the pipeline, and
its Resize keeps a picture's shape. 1.x normalises in the data_preprocessor, which leaves pixels as
they are where it is given no mean, and swaps planes only where it is told to; its Resize does not
keep the shape.
"""

from .literals import UNKNOWN, numbers, part, sides, type_of
from ..records import MAX_SIDE, Filter, Head, Resize

QUERY_HEADS = (Head.MASKFORMER, Head.MASK2FORMER)
MAX_DIVISOR = 1024              # of sides that padding makes multiples
MAX_STEPS = 150                 # of a pipeline that is followed; real ones have about ten
SAME = "same"                   # a scale: the picture's own size
FILTERS = {("cv2", "bilinear"): Filter.BILINEAR, ("cv2", "bicubic"): Filter.BICUBIC,
           ("pillow", "bilinear"): Filter.BILINEAR_ANTIALIASED,
           ("pillow", "bicubic"): Filter.BICUBIC_ANTIALIASED}

# Variables and transforms that only configs of 1.x have
NEWER = ("data_preprocessor", "default_scope", "optim_wrapper", "test_dataloader",
         "test_evaluator", "val_dataloader", "train_dataloader", "tta_model", "tta_pipeline")
NEWER_STEPS = ("PackSegInputs", "PackDetInputs", "TestTimeAug")
# Transforms that leave the picture as it is
INERT = ("LoadAnnotations", "ImageToTensor", "DefaultFormatBundle", "Collect", "PackSegInputs",
         "LoadPanopticAnnotations", "PackDetInputs")
PREPROCESSORS = (None, "SegDataPreProcessor", "ImgDataPreprocessor", "BaseDataPreprocessor",
                 "DetDataPreprocessor")
# Entries that decide about the input
TELLING = ("keep_ratio", "scale", "scale_factor", "img_scale", "img_ratios", "ratio_range", "flip",
           "prob", "min_size", "max_size", "interpolation", "backend", "to_float32", "color_type",
           "imdecode_backend", "to_rgb", "bgr_to_rgb", "rgb_to_bgr", "size", "size_divisor",
           "pad_size_divisor", "test_cfg")


def test_pipeline(config):
    """The steps that mmseg's own test takes, or None where no list of them can be read."""
    found = (pipeline_of(part(config, "test_dataloader").get("dataset")),
             pipeline_of(part(config, "data").get("test")), config.get("test_pipeline"))
    return next((steps for steps in found if isinstance(steps, (list, tuple))), None)


def pipeline_of(dataset):
    """The pipeline of a dataset, or of the first inside those that wrap others."""
    for _ in range(10):
        if isinstance(dataset, (list, tuple)) and dataset:
            dataset = dataset[0]
        if not isinstance(dataset, dict):
            return None
        if "pipeline" in dataset:
            return dataset["pipeline"]
        dataset = dataset.get("dataset", dataset.get("datasets"))
    return None


def is_newer(config, steps):
    """Is a config that of 1.x? Else it is that of 0.x."""
    return (any(name in config for name in NEWER) or "data_preprocessor" in part(config, "model")
            or any(isinstance(step, dict) and (type_of(step) in NEWER_STEPS or "scale" in step
                                               or "scale_factor" in step) for step in steps))


def text_of(value):
    return value[:40] if isinstance(value, str) else "something else"


class Planes:
    """Planes of pixels on their way to the network, in its order: each (pixel - mean) / std."""

    def __init__(self):
        self.bgr = True                 # as mmcv loads pictures
        self.mean, self.std = [0.0] * 3, [1.0] * 3

    def swap(self):
        self.bgr = not self.bgr
        self.mean.reverse()
        self.std.reverse()

    def normalise(self, mean, std):
        """Normalises what may have been normalised before."""
        self.mean = [m + s * n for m, s, n in zip(self.mean, self.std, mean)]
        self.std = [s * n for s, n in zip(self.std, std)]

    def words(self):
        """Words of a description, whose mean and scale are in the order R, G, B."""
        step = -1 if self.bgr else 1
        return dict(mean=self.mean[::step], scale=[1 / s for s in self.std[::step]],
                    bgr=int(self.bgr))


class Pictures:
    """The way of a test picture through a config, followed step by step."""

    def __init__(self, config):
        self.config = config
        self.steps = test_pipeline(config)
        self.newer = is_newer(config, self.steps or ())
        self.planes, self.resizing = Planes(), {}       # resizing: words of a description
        self.scale = None               # what MultiScaleFlipAug imposes on the Resize inside it
        self.floating = False           # are pixels no longer 8-bit numbers?
        self.normalised = self.odd_normalisation = self.augmented = self.unread = False
        self.left = MAX_STEPS
        self.padding = None, None, 0    # to a size, to multiples, with a value
        self.foreign, self.remarks = set(), []
        self.follow(self.steps or ())
        if self.newer:
            self.preprocess()
        elif not self.normalised and (self.steps is None or self.foreign):
            self.normalise(part(config, "img_norm_cfg"))

    def apply(self, model, options):
        """Gives a model what was found, and the remarks that options do not settle."""
        model.description.update(self.resizing)
        self.apply_padding(model)
        assumption = self.assumption()
        if not assumption:
            model.description.update(self.planes.words())
        elif model.description["classes"] and not (options.mean and options.std):
            self.remarks.append(f"{assumption}: ImageNet's mean and std are assumed, red first "
                                "(--mean, --std, --bgr)")
        if self.steps is None and (self.newer or UNKNOWN in (self.config.get("test_pipeline"),
                                                             self.config.get("data"))):
            self.remarks.append("the config text has no test pipeline that can be read: pictures "
                                "keep their own size (--size)")
        if self.foreign:
            self.remarks.append("the config's test pipeline also has "
                                + ", ".join(sorted(self.foreign)) + ", which a blob cannot say")
        if self.augmented:
            self.remarks.append("the authors test with flips or several sizes; here each picture "
                                "runs once")
        model.remarks += dict.fromkeys(self.remarks)

    def assumption(self):
        """Why the normalisation is not known, or None."""
        if self.odd_normalisation:
            return "the config's mean and std are no three numbers each"
        if self.unread:
            return "the config's data_preprocessor is no literal"
        if self.normalised:
            return None
        if "_base_" in self.config:
            return "the config text refers to _base_ files that the checkpoint lacks"
        if (not self.newer and (self.steps is None or self.foreign)
                or not part(self.config, "model")):
            return "nothing tells how the authors normalise pictures"
        return None

    # Steps

    def follow(self, steps):
        for step in steps if isinstance(steps, (list, tuple)) else (steps,):
            self.left -= 1
            if self.left < 0:
                self.foreign.add(f"more than {MAX_STEPS} steps")
                return
            if isinstance(step, (list, tuple)):
                self.follow(step)
            elif isinstance(step, dict):
                self.take(step)
            else:
                self.foreign.add("a step that is no literal")

    def take(self, step):
        kind = type_of(step)
        self.note_unread(kind, step)
        if kind in STEPS:
            STEPS[kind](self, step)
        elif kind not in INERT:
            self.foreign.add(kind or "a step without a name")
            self.follow(step.get("transforms", ()))

    def note_unread(self, kind, step):
        unread = [key for key in TELLING if step.get(key) is UNKNOWN]
        if unread:
            self.remarks.append(f"not known, as it is no literal: what the config says of "
                                f"{kind}'s {', '.join(unread)}")

    def load(self, step):
        color = step.get("color_type", "color")
        self.floating = self.floating or step.get("to_float32") is True
        if step.get("imdecode_backend") == "tifffile":          # in the file's order
            self.planes.bgr = False
        if color in ("unchanged", "color_ignore_orientation"):
            self.remarks.append(f"the authors load pictures as {color}, which does not turn them "
                                "upright as their camera says; programs here do")
        elif color != "color" and color is not UNKNOWN:
            self.foreign.add(f"pictures loaded as {text_of(color)}")

    def compose(self, step):
        self.follow(step.get("transforms", ()))

    def flip(self, step):
        chance = step.get("prob", step.get("flip_ratio"))
        self.augmented = self.augmented or self.scale is None and chance not in (None, 0)

    def normalise(self, step):
        if step.get("to_rgb", True) is not False:
            self.planes.swap()
        self.scale_planes(step)

    def scale_planes(self, step):
        mean, std = numbers(step.get("mean"), 3), numbers(step.get("std"), 3, 1e-6)
        if not step:
            return
        if not mean or not std:
            self.odd_normalisation = True
            return
        self.planes.normalise(mean, std)
        self.normalised = self.floating = True

    def pad(self, step):
        size = step.get("size")
        if self.newer and isinstance(size, (list, tuple)):
            size = size[::-1]           # (width, height) in 1.x, (height, width) in 0.x
        if step.get("pad_to_square") or self.pads(size, step.get("size_divisor")):
            self.foreign.add("Pad")

    def pads(self, size, divisor):
        """Does padding to at least `size`, (height, width), or to multiples of `divisor` change
        the inputs?"""
        if size is None and divisor in (None, 0, 1):
            return False
        known = sides(size) if size is not None else type(divisor) is int
        if not known or self.resizing.get("resize_rule") != Resize.EXACT:
            return True
        made = self.resizing["resize_a"], self.resizing["resize_b"]
        if size is not None:
            return any(side < least for side, least in zip(made, size))
        return any(side % divisor for side in made)

    # Sizes

    def several(self, step):
        """MultiScaleFlipAug of 0.x: its scales, times its ratios, are those of the Resize inside.
        Of several, the picture's proper one runs."""
        scales, ratios = step.get("img_scale"), step.get("img_ratios")
        ratios = ratios if isinstance(ratios, (list, tuple)) else [1 if ratios is None else ratios]
        ratio = 1 if 1 in ratios else next(iter(ratios), 1)
        pair = numbers(scales, 2, 0)
        listed = isinstance(scales, (list, tuple)) and not pair
        if self.newer:                  # mmcv has another of that name
            self.foreign.add("MultiScaleFlipAug")
        self.augmented = (self.augmented or step.get("flip") is True
                          or len(scales if listed else ratios) > 1)
        if pair and isinstance(ratio, (int, float)) and 0 < ratio < 100:
            self.scale = [int(side * ratio) for side in pair]
        elif listed and scales:
            self.scale = scales[0]
        else:
            self.scale = SAME if scales is None and ratio == 1 else UNKNOWN
        self.follow(step.get("transforms", ()))
        self.scale = None

    def alternatives(self, step):
        """TestTimeAug of 1.x: a list of alternatives for each step; the one that changes least
        runs."""
        groups = step.get("transforms")
        for group in groups if isinstance(groups, (list, tuple)) else ():
            if isinstance(group, (list, tuple)) and len(group) > 1:
                self.augmented = True
                group = next((other for other in group if isinstance(other, dict) and (
                    other.get("scale_factor") == 1 or other.get("prob") == 0)), group[0])
            self.follow(group)

    def resize(self, step):
        scale = self.own_scale(step) if self.scale is None else self.scale
        if scale == SAME:
            return
        words = self.size_words(numbers(scale, 2, 0), step.get("keep_ratio", not self.newer),
                                step.get("min_size"))
        if words:
            self.set_resizing(words, step)
        elif scale is None and numbers([step.get("scale_factor")], 1):
            self.remarks.append(f"the config resizes by the factor {step['scale_factor']}, which a "
                                "blob cannot say: pictures keep their own size (--size)")
        else:
            self.remarks.append("the config's test size is no pair of numbers: pictures keep "
                                "their own size (--size)")

    def resize_aligned(self, step):
        """AlignedResize of SegFormer's authors: Resize, then once more with both sides raised to
        multiples; here at once."""
        self.resize(step)
        multiple = step.get("size_divisor", 32)
        if not self.resizing or multiple in (None, 0, 1):
            return
        if type(multiple) is int and 1 < multiple <= 1024:
            self.resizing["sides_multiple"] = multiple
        else:
            self.remarks.append("the config's AlignedResize has no size_divisor that is known: the "
                                "shape of pictures is kept here")

    def own_scale(self, step):
        """What a Resize says itself: (width, height), SAME, or what cannot be done."""
        scale = step.get("scale", step.get("img_scale"))
        if step.get("ratio_range") is not None:
            return UNKNOWN              # a random size
        if isinstance(scale, list) and len(scale) == 1:
            return scale[0]
        if scale is None and step.get("scale_factor") in (1, (1, 1)):
            return SAME
        return (scale, scale) if type(scale) is int else scale

    def size_words(self, pair, keep, min_size):
        """The resize rule for a scale (width, height), or None where it cannot be said."""
        if not pair or keep not in (True, False):
            return None
        if not keep:
            pair = sides(pair)
            return pair and dict(resize_rule=Resize.EXACT, resize_a=pair[1], resize_b=pair[0])
        long, short = max(pair), min(pair)
        if min_size is not None:
            long, short = MAX_SIDE + 1, max(short, *(numbers([min_size], 1) or [MAX_SIDE + 1]))
        if not sides((short, short)):
            return None
        if long > MAX_SIDE:             # a bound that no input reaches
            return dict(resize_rule=Resize.SHORTEST, resize_a=short, resize_b=0)
        return sides(pair) and dict(resize_rule=Resize.WITHIN, resize_a=long, resize_b=short)

    def resize_shortest(self, step):
        """ResizeShortestEdge of 1.x, which keeps the longer edge below max_size."""
        short = step.get("scale")
        short = min(numbers(short, 2, 0) or [0]) if not isinstance(short, int) else short
        words = self.size_words(numbers([step.get("max_size"), short], 2, 0), True, None)
        if words:
            self.set_resizing(words, step)
        else:
            self.foreign.add("ResizeShortestEdge")

    def set_resizing(self, words, step):
        way = (step.get("backend") or "cv2", step.get("interpolation", "bilinear"))
        known = all(isinstance(name, str) for name in way) and way in FILTERS
        if not known:
            self.remarks.append(f"the config resizes by {text_of(way[1])} of {text_of(way[0])}, "
                                "which a blob cannot say: it is bilinear here")
        if self.resizing:
            self.remarks.append("the config resizes test pictures more than once; here they are "
                                "resized once, by the last rule")
        self.resizing = dict(words, resize_filter=FILTERS[way] if known else Filter.BILINEAR,
                             resize_round=int(not self.floating))

    # The data_preprocessor of 1.x

    def preprocess(self):
        model = part(self.config, "model")
        holder = model if "data_preprocessor" in model else self.config
        told = part(holder, "data_preprocessor")
        self.unread = holder.get("data_preprocessor") is UNKNOWN
        kind = type_of(told)
        self.note_unread("data_preprocessor", told)
        if kind not in PREPROCESSORS:
            self.remarks.append(f"the config's data_preprocessor is a {kind}, which is not known: "
                                "it is taken for a SegDataPreProcessor")
        if kind == "BaseDataPreprocessor":
            return
        if told.get("bgr_to_rgb") is True or told.get("rgb_to_bgr") is True:
            self.planes.swap()
        if told.get("mean") is not None:
            self.scale_planes(told)
        if kind in ("ImgDataPreprocessor", "DetDataPreprocessor"):
            self.padding = None, told.get("pad_size_divisor"), told.get("pad_value", 0)
        else:
            test = part(told, "test_cfg")
            self.padding = test.get("size"), test.get("size_divisor"), told.get("pad_val", 0)

    def apply_padding(self, model):
        """Gives a model with queries, which knows padding to multiples, what was found; remarks
        padding otherwise."""
        size, divisor, value = self.padding
        if not self.pads(size, divisor):
            return
        if (model.description["head"] in QUERY_HEADS and size is None and value == 0
                and type(divisor) is int and 1 < divisor <= MAX_DIVISOR):
            model.description["query_size_divisor"] = divisor
            return
        what = "zeros" if value == 0 else f"{value}" if numbers([value], 1) else "a value"
        to = (f"multiples of {divisor} pixels" if size is None and type(divisor) is int
              else "{} pixels high and {} wide".format(*size) if sides(size) else "another size")
        self.remarks.append(f"the authors' data_preprocessor pads test inputs with {what} at the "
                            f"right and bottom, to {to}, which a blob cannot say: the pictures "
                            "that it pads come out a little different here")


STEPS = {"LoadImageFromFile": Pictures.load, "Compose": Pictures.compose,
         "MultiScaleFlipAug": Pictures.several, "TestTimeAug": Pictures.alternatives,
         "RandomFlip": Pictures.flip, "Resize": Pictures.resize,
         "AlignedResize": Pictures.resize_aligned,
         "ResizeShortestEdge": Pictures.resize_shortest, "Normalize": Pictures.normalise,
         "Pad": Pictures.pad}
