"""The one description of a blob's config: records of fields, and the kinds that fields name.

swin.h has the same table (swin__records), which tests/convert_records.py compares with this one: a
new field is a line in both. A model's *description* is a dict with the values of all fields by key:
a number, or a list where a field holds several; fields of the record "stage" have a value a stage.
"""

from enum import IntEnum

import numpy as np

MAX_SIDE = 16384            # of a picture that preprocessing makes
MAX_STAGES = 8
MAX_THINGS = 512            # classes of a model that gives segments
MAX_INSTANCES = 4096        # pairs of a query and a class that a model looks at
SMALLEST = float(np.finfo("f4").tiny)       # normal number above 0
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Refused(Exception):
    """A model or file that is not converted; the message names what stands in the way."""


def need(good, text):
    if not good:
        raise Refused(text)


# Kinds --------------------------------------------------------------------------------------------

class Kind(IntEnum):
    """One of several rules or parts. Kinds are numbered from 0; Head.UPER is SWIN_HEAD_UPER in
    swin.h."""

    @property
    def word(self):
        """The name in swin.h without its SWIN_, which users read too."""
        return f"{type(self).__name__}_{self.name}".upper()


Body = Kind("Body", "BACKBONE UNET CROSS_UNET MIT BIREFNET", start=0)
Head = Kind("Head", "NONE UPER FCN PSP FPN SEGFORMER GLAM_SEGFORMER CLASSIFIER UNET SMP_UNET "
            "SMP_FPN MERGED_SEGFORMER MASKFORMER MASK2FORMER ONEFORMER BIREFNET", start=0)
Input = Kind("Input", "PAD FLOOR EXACT", start=0)
Shift = Kind("Shift", "STORED SQUARE PER_AXIS", start=0)
Position = Kind("Position", "RESIZED FIXED", start=0)
Resize = Kind("Resize", "NONE WITHIN LONGEST SHORTEST EXACT", start=0)
Filter = Kind("Filter", "BILINEAR BILINEAR_ANTIALIASED BICUBIC BICUBIC_ANTIALIASED", start=0)
Mode = Kind("Mode", "WHOLE SLIDE CENTRE", start=0)
Corners = Kind("Corners", "AS_HEAD ALIGNED HALF_PIXEL", start=0)
Scores = Kind("Scores", "AT_MASKS AT_384 AT_INPUT AT_PICTURE", start=0)
Segments = Kind("Segments", "NONE MASK2FORMER MASKFORMER HUGGING_FACE INSTANCES "
                            "INSTANCES_HUGGING_FACE INSTANCES_ONEFORMER", start=0)


# Fields -------------------------------------------------------------------------------------------

class Field:
    """A field of a record, in 4 bytes a value.

    type: "count" (an integer), "version" (an integer that later versions have more of), "kind" (a
    member of `kind`), "bits" (any 32) or "number" (float32). low, high: the range of each value but
    bits, both included; count: of values; default: a new description's value, or list of them;
    option: that of convert.py which sets it. key: its name in a description, which the record
    gives."""

    def __init__(self, type_, name, low, high, count=1, default=None, kind=None, option=None):
        self.type, self.name, self.key = type_, name, name
        self.low, self.high, self.count, self.kind, self.option = low, high, count, kind, option
        self.default = ([0] * count if count > 1 else 0) if default is None else default
        self.dtype = np.dtype("<f4" if type_ == "number" else "<u4")

    def fault(self, value):
        """What is wrong with one value, as it is stored; None where nothing is."""
        if self.type == "number":
            with np.errstate(over="ignore"):
                value = float(np.float32(value))
        if self.type == "bits" or self.low <= value <= self.high:
            return None
        allowed = (f"one of {', '.join(member.word for member in self.kind)}" if self.kind
                   else f"{self.digits(self.low)}..{self.digits(self.high)}")
        return f"{self.digits(value)}, not {allowed}" + f" ({self.option})" * bool(self.option)

    def digits(self, value):
        return f"{value:.9g}" if self.type == "number" else f"{value:d}"

    def text(self, value):
        """What a description has for this field, in words."""
        if isinstance(value, list):
            return " ".join(map(self.text, value))
        if self.type == "bits":
            return f"{value:#x}"
        return self.kind(value).word if self.kind else self.digits(value)


def count(name, low, high, n=1, **more):
    return Field("count", name, low, high, n, **more)


def flag(name, **more):
    return Field("count", name, 0, 1, **more)


def bits(name, n=1):
    return Field("bits", name, 0, 0, n)


def version(name, low, high, **more):
    return Field("version", name, low, high, **more)


def number(name, low, high, n=1, **more):
    return Field("number", name, low, high, n, **more)


def kind(name, members):
    return Field("kind", name, 0, len(members) - 1, kind=members)


ONE, STAGES, OPTIONAL = "one", "stages", "optional"


class Record:
    """Named fields, one after the other. times: how many such records a blob has: ONE, one a stage,
    or an OPTIONAL one, which is left out where all of its fields are 0; prefix: of the fields'
    keys, where names would meet."""

    def __init__(self, name, *fields, times=ONE, prefix=""):
        self.name, self.fields, self.times = name, fields, times
        for field in fields:
            field.key = prefix + field.name
        self.size = 4 * sum(field.count for field in fields)

    def is_left_out(self, description):
        return self.times == OPTIONAL and not any(np.any(description[field.key])
                                                  for field in self.fields)


# The records --------------------------------------------------------------------------------------

MODEL = Record(
    "model",
    version("version", 1, 2, default=1),
    kind("body", Body),
    count("patch", 1, 32, default=4),
    version("planes", 3, 3, default=3),
    kind("input_rule", Input),
    count("input_h", 0, MAX_SIDE),
    count("input_w", 0, MAX_SIDE),
    kind("shift_rule", Shift),
    flag("roll_before_pad"),
    number("mask", -1e6, 0, default=-100.0),
    number("eps", SMALLEST, 1, default=1e-5),
    flag("patch_norm"),
    flag("qkv_bias"),
    flag("merge_norm"),
    flag("final_norm"),
    bits("feature_norms"),
    count("position_h", 0, 4096),
    count("position_w", 0, 4096),
    kind("position_rule", Position),
    count("tokens", 0, 256))

STAGE = Record(
    "stage",
    count("width", 1, 32768),
    count("depth", 1, 256),
    count("heads", 1, 1024),
    count("hidden", 1, 1 << 16),
    count("window_h", 1, 64),
    count("window_w", 1, 64),
    count("shift_h", 0, 63),
    count("shift_w", 0, 63),
    count("token_rows", 0, 1 << 24),
    count("token_middle", 0, 1 << 24),
    times=STAGES)

HEAD = Record(
    "head",
    kind("head", Head),
    count("head_channels", 0, 16384),
    bits("head_inputs"),
    flag("align_corners"),
    count("pool_count", 0, 8),
    count("pool_scale", 0, 64, 8),
    count("convs", 0, 8),
    count("conv_kernel", 0, 15),
    flag("conv_concat"),
    count("neck_channels", 0, 16384),
    count("neck_convs", 0, 8, MAX_STAGES))

CLASSES = Record("classes", count("classes", 0, 65535))

PICTURE = Record(
    "picture",
    number("mean", -1e6, 1e6, 3, default=list(IMAGENET_MEAN), option="--mean"),
    number("scale", -1e6, 1e6, 3, default=[1 / s for s in IMAGENET_STD], option="--std"),
    flag("bgr"),
    kind("resize_rule", Resize),
    count("resize_a", 0, MAX_SIDE),
    count("resize_b", 0, MAX_SIDE),
    kind("resize_filter", Filter),
    flag("resize_round", default=1),
    kind("mode", Mode),
    count("crop_h", 0, MAX_SIDE),
    count("crop_w", 0, MAX_SIDE),
    count("stride_h", 0, MAX_SIDE),
    count("stride_w", 0, MAX_SIDE))

RULES = Record(
    "rules",
    number("feature_eps", 0, 1),
    kind("corner_rule", Corners),
    flag("one_class"),
    count("input_multiple", 0, MAX_SIDE),
    flag("straight"),
    times=OPTIONAL)

DECODER = Record(
    "decoder",
    count("width", 0, 16384, MAX_STAGES),
    flag("bilinear"),
    flag("scse"),
    flag("concat"),
    times=OPTIONAL, prefix="decoder_")

MIT = Record(
    "mit",
    count("patch_kernel", 0, 15, MAX_STAGES),
    count("patch_stride", 0, 32, MAX_STAGES),
    count("reduction", 0, 64, MAX_STAGES),
    number("patch_eps", 0, 1),
    times=OPTIONAL)

SIDES = Record(
    "sides",
    flag("cut"),
    count("multiple", 0, 1024),
    times=OPTIONAL, prefix="sides_")

QUERIES = Record(
    "queries",
    count("count", 0, 4096),
    count("width", 0, 4096),
    count("masks", 0, 4096),
    count("heads", 0, 256),
    count("layers", 0, 64),
    count("hidden", 0, 1 << 16),
    flag("projected"),
    count("pixel_heads", 0, 256),
    count("pixel_layers", 0, 64),
    count("pixel_hidden", 0, 1 << 16),
    count("start_layers", 0, 64),
    count("start_hidden", 0, 1 << 16),
    kind("scores", Scores),
    count("size_divisor", 0, 1024),
    times=OPTIONAL, prefix="query_")

BIREFNET = Record(
    "birefnet",
    count("inner", 0, 1024),
    count("branch", 0, 4096),
    count("kernel", 0, 11, 4),
    count("patches", 0, 1024),
    count("gate", 0, 1024),
    times=OPTIONAL, prefix="birefnet_")

SEGMENTS = Record(
    "segments",
    kind("rule", Segments),
    count("object_score", 0, 1000, option="--object-score"),
    count("overlap_share", 0, 1000, option="--overlap-share"),
    bits("things", MAX_THINGS // 32),
    times=OPTIONAL, prefix="segment_")

INSTANCES = Record(
    "instances",
    count("most", 0, MAX_INSTANCES),
    times=OPTIONAL, prefix="instance_")

REFERENCE = Record(
    "reference",
    flag("present"),
    bits("seed"),
    count("width", 0, 1024),
    count("height", 0, 1024),
    bits("classes", 2),
    bits("logits", 2),
    prefix="reference_")

# in the order of a blob
RECORDS = (MODEL, STAGE, HEAD, CLASSES, PICTURE, RULES, DECODER, MIT, SIDES, QUERIES, BIREFNET,
           SEGMENTS, INSTANCES, REFERENCE)


# Descriptions -------------------------------------------------------------------------------------

def new_description():
    """Swin V1 without stages or head; RGB pictures of their own size, normalised as ImageNet's."""
    d = {field.key: list(field.default) if field.count > 1 else field.default
         for record in RECORDS for field in record.fields}
    return {**d, **new_stages(0)}


def new_stages(stages):
    """The fields of so many stages, all zero."""
    return {field.key: [0] * stages for field in STAGE.fields}


def check(d):
    """Refuses a description with a value out of its field's range."""
    stages = len(d["width"])
    need(1 <= stages <= MAX_STAGES, f"{stages} stages, not 1..{MAX_STAGES}")
    for record in RECORDS:
        for field in record.fields:
            listed = isinstance(d[field.key], list)
            for i, value in enumerate(d[field.key] if listed else [d[field.key]]):
                fault = field.fault(value)
                need(not fault, f"{field.key}{f'[{i}]' if listed else ''} is {fault}")
