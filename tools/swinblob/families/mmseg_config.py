"""What the meta of an mmseg checkpoint tells: classes, colours, and the config's text.

The text is a Python program; only its literals are read, by a parser of our own, and nothing is
ever evaluated.
"""

import ast
import re
import warnings

from ..checkpoint import CheckpointError, parse_json
from ..canonical import (BATCH_NORM_EPS, EXACT_SIZE, FIT_SIDES, FPNHEAD, MAX_SIDE, SLIDE, Refused)

MAX_TEXT = 1 << 20
MAX_DEPTH = 40
MAX_MERGED = 256                # entries of a dict that `**` copies


class NoLiteral(Exception):
    pass


class Unknown:
    """A value that is no literal."""


UNKNOWN = Unknown()
TOKEN = re.compile(r"""(?:\s|\\\n|\#[^\n]*(?:\n|\Z))*(?:
    (?P<text>[rRbBuU]{0,2}(?:'{3}[^\\]*?(?:\\.[^\\]*?)*'{3}|"{3}[^\\]*?(?:\\.[^\\]*?)*"{3}
             |'[^'\\\n]*(?:\\.[^'\\\n]*)*'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"))
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_][\w.]*)
    |(?P<sign>\*\*|[-+=(){}\[\],:]))""", re.VERBOSE | re.DOTALL)
END = re.compile(r"[ \t]*(?:\#[^\n]*)?(?:\n|\Z)")
CONSTANTS = {"True": True, "False": False, "None": None}


def parse(text):
    """The variables that a config text assigns literals to, as far as they can be read."""
    variables = {}
    for match in re.finditer(r"^([A-Za-z_]\w*)[ \t]*=(?!=)", text[:MAX_TEXT], re.MULTILINE):
        try:
            variables[match[1]] = Literal(text, match.end(), variables).value
        except NoLiteral:
            variables[match[1]] = UNKNOWN
    return variables


class Literal:
    """Parses one value: constants, lists, tuples, dicts, dict(...), names known before."""

    def __init__(self, text, place, variables):
        self.text, self.place, self.variables, self.depth = text, place, variables, 0
        self.value = self.parse_value()
        if not END.match(text, self.place):
            raise NoLiteral

    def next(self):
        match = TOKEN.match(self.text, self.place)
        if not match:
            raise NoLiteral
        return match

    def at(self, sign):
        """Steps over a sign if it comes next."""
        match = self.next()
        if match["sign"] == sign:
            self.place = match.end()
            return True
        return False

    def parse_value(self):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NoLiteral
        match = self.next()
        self.place = match.end()
        if match["text"] is not None:
            value = self.parse_text(match["text"])
        elif match["number"] is not None:
            value = self.parse_number(match["number"])
        elif match["word"] is not None:
            value = self.parse_word(match["word"])
        elif match["sign"] == "-":
            value = self.parse_value()
            if not isinstance(value, (int, float)):
                raise NoLiteral
            value = -value
        elif match["sign"] == "[":
            value = self.parse_items("]")[0]
        elif match["sign"] == "(":
            items, comma = self.parse_items(")")
            value = tuple(items) if comma or len(items) != 1 else items[0]
        elif match["sign"] == "{":
            value = self.parse_pairs()
        else:
            raise NoLiteral
        self.depth -= 1
        return value

    def parse_text(self, token):
        value = ""
        while token is not None:        # texts side by side are one
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")         # of odd escapes such as \d
                    piece = ast.literal_eval(token)
            except (ValueError, SyntaxError):
                raise NoLiteral from None
            value += piece if isinstance(piece, str) else ""
            match = TOKEN.match(self.text, self.place)
            token = match["text"] if match else None
            if token is not None:
                self.place = match.end()
        return value

    def parse_number(self, token):
        if len(token) > 30:
            raise NoLiteral
        return int(token) if token.isdigit() else float(token)

    def parse_word(self, word):
        if word in CONSTANTS:
            return CONSTANTS[word]
        match = TOKEN.match(self.text, self.place)
        if match and match["sign"] == "(":
            self.place = match.end()
            arguments = self.parse_arguments()
            return arguments if word == "dict" else UNKNOWN
        return self.variables.get(word, UNKNOWN)

    def parse_items(self, end):
        items, comma = [], False
        while not self.at(end):
            if items and not comma:
                raise NoLiteral
            items.append(self.parse_value())
            comma = self.at(",")
        return items, comma

    def parse_pairs(self):
        pairs = {}
        while not self.at("}"):
            key = self.parse_value()
            if not isinstance(key, (str, int, float)) or not self.at(":"):
                raise NoLiteral
            pairs[key] = self.parse_value()
            if not self.at(","):
                if not self.at("}"):
                    raise NoLiteral
                break
        return pairs

    def parse_arguments(self):
        arguments = {}
        while not self.at(")"):
            if self.at("**"):
                merged = self.parse_value()
                if not isinstance(merged, dict) or len(merged) > MAX_MERGED:
                    raise NoLiteral
                arguments.update(merged)
            else:
                match = self.next()
                self.place = match.end()
                if match["word"] is None or not self.at("="):
                    raise NoLiteral
                arguments[match["word"]] = self.parse_value()
            if not self.at(","):
                if not self.at(")"):
                    raise NoLiteral
                break
        return arguments


# What a config means ------------------------------------------------------------------------------

# Backbones by family; the same after "No" have no shift
SWIN = ("SwinTransformer", "SwinTransformerGTV8", "SwinTransformerGTV8Opti")
UNETS = ("SwinUNetEncoder", "SwinUNetV2", "SwinUNetV2GTV8", "SwinUNetV2GTV8Opti",
         "SwinUNetV2GTV8CrossAttentionUpsample")
LOADING = ("LoadImageFromFile", "LoadAnnotations", "MultiScaleFlipAug", "RandomFlip", "Resize",
           "Normalize", "ImageToTensor", "DefaultFormatBundle", "Collect", "PackSegInputs",
           "TestTimeAug")


def part(mapping, *path):
    """mapping[path[0]][path[1]]..., or an empty dict where something is no dict."""
    for key in path:
        mapping = mapping.get(key) if isinstance(mapping, dict) else None
    return mapping if isinstance(mapping, dict) else {}


def type_of(mapping):
    """The registered name of a module without the scope before it."""
    kind = mapping.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else None


def numbers(value, count, low=float("-inf")):
    """`value` as a list of so many numbers above low, or None."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    good = all(isinstance(n, (int, float)) and not isinstance(n, bool) and low < n < 1e9
               for n in value)
    return list(value) if good else None


def sides(value):
    """`value` as the two sides of a picture, or None."""
    pair = numbers(value, 2, 0)
    return pair if pair and all(type(n) is int and n <= MAX_SIDE for n in pair) else None


def transforms(pipeline):
    """All transforms of a pipeline, those inside others too."""
    found, waiting = [], [pipeline]
    while waiting and len(found) < 1000:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
        elif isinstance(item, dict):
            found.append(item)
            waiting.append(item.get("transforms"))
    return found


def training_config(text):
    """The same for checkpoints of tools/train.py, which keep their settings as JSON."""
    try:
        settings = parse_json(text, "the config text")
    except CheckpointError:
        return {}
    return {"model": {"decode_head": part(settings, "model", "head")},
            "img_norm_cfg": {key: settings.get(key) for key in ("mean", "std")}}


class Told:
    """What a checkpoint's meta tells beyond its weights."""

    def __init__(self, meta):
        dataset = part(meta, "dataset_meta")
        self.classes = texts(meta.get("CLASSES") or dataset.get("classes"))
        self.palette = colors(meta.get("PALETTE") or dataset.get("palette"))
        text = next((meta[key] for key in ("config", "cfg") if isinstance(meta.get(key), str)), "")
        self.config = training_config(text) if text[:1] == "{" else parse(text)
        model = part(self.config, "model")
        self.backbone = part(model, "backbone")
        self.head = part(model, "decode_head")
        self.test = part(model, "test_cfg") or part(self.config, "test_cfg")
        self.pipeline = transforms(
            next((found for found in (
                part(self.config, "test_dataloader", "dataset").get("pipeline"),
                part(self.config, "data", "test").get("pipeline"),
                self.config.get("test_pipeline")) if isinstance(found, (list, tuple))), []))

    @property
    def align_corners(self):
        return self.head.get("align_corners") is True

    @property
    def batch_norm_eps(self):
        eps = part(self.head, "norm_cfg").get("eps", BATCH_NORM_EPS)
        return eps if isinstance(eps, float) and 0 < eps < 1 else BATCH_NORM_EPS

    @property
    def pool_scales(self):
        scales = self.head.get("pool_scales")
        good = isinstance(scales, (list, tuple)) and all(
            type(n) is int and n > 0 for n in scales)
        return list(scales) if good else None

    def check_backbone(self, model, known):
        """Refuses a config text that speaks of a backbone not among the known; do its odd blocks
        shift?"""
        kind = type_of(self.backbone) or known[0]
        shifts = kind in known
        if not shifts and kind not in {"No" + other for other in known}:
            raise Refused(f"the names are those of {model.family}, but the config text says that "
                          f"the backbone is a {kind}")
        strides = self.backbone.get("strides", ())
        if isinstance(strides, (list, tuple)) and any(
                stride != (2 if i else model.description["patch"])
                for i, stride in enumerate(strides)):
            raise Refused(f"the config text sets the backbone's strides to {strides}")
        if self.backbone.get("qk_scale"):
            raise Refused("the config text sets the backbone's qk_scale, which is not known")
        refuse_activation("backbone", self.backbone, "GELU")
        eps = part(self.backbone, "norm_cfg").get("eps", 1e-5)
        if eps != 1e-5:
            raise Refused(f"the config text sets the backbone's norm eps to {eps}, not 1e-5")
        return shifts

    def check_head(self, kind, head=None):
        """Refuses a config text that speaks of another head than the names do."""
        told, kinds = type_of(self.head), (kind,) if isinstance(kind, str) else kind
        if told and told not in kinds:
            raise Refused(f"the names are those of {' or '.join(kinds)}, but the config text says "
                          f"that the decode head is a {told}, which this version does not take")
        if self.head.get("dilation", 1) != 1:
            raise Refused("the config text sets the decode head's dilation, which is not known")
        refuse_activation("decode head", self.head, "ReLU")
        if head and head.head == FPNHEAD:
            self.check_neck(head)

    def check_cross_attention(self):
        """Refuses settings of GLAM's cross-attention upsampling that leave no trace in weights."""
        layers = self.backbone.get("use_cross_attention_by_layer", ())
        if (self.backbone.get("residual_patch_expand") is False
                or self.backbone.get("cross_attention_weight", 1) != 1
                or isinstance(layers, (list, tuple)) and False in layers):
            raise Refused("the config text sets the cross-attention upsampling otherwise than the "
                          "published code's defaults, which is not known")

    def check_neck(self, head):
        """Refuses a config text that speaks of another neck, or of levels resized otherwise."""
        neck = part(self.config, "model", "neck")
        kind = type_of(neck)
        if kind and kind != "FPN":
            raise Refused(f"the names are those of FPN, but the config text says that the neck is "
                          f"a {kind}, which this version does not take")
        mode = part(neck, "upsample_cfg").get("mode", "nearest")
        if mode != "nearest" or neck.get("act_cfg"):
            raise Refused("the config text sets the neck's upsampling or activation, which is not "
                          "known")
        strides = self.head.get("feature_strides")
        if strides is None:
            return
        convs = [head.count(f"head.scale{l}.conv{{}}") for l in range(4)]
        strides = numbers(strides, len(convs) - convs.count(0), 0)
        if not strides or any(stride != strides[0] * 2 ** n for stride, n in zip(strides[1:],
                                                                            convs[1:])):
            raise Refused(f"the config text's feature_strides {self.head['feature_strides']} do "
                          f"not fit the {convs} convolutions of FPNHead's levels")

    def apply(self, model):
        """Gives a model the classes, preprocessing and test settings that are told."""
        d = model.description
        self.apply_classes(model)
        ignore = self.head.get("ignore_index")
        if type(ignore) is int and d["classes"] <= ignore < 1 << 16:
            d["ignore_label"] = ignore
        elif d["classes"] > d["ignore_label"]:
            d["ignore_label"] = 0xFFFF
        self.apply_normalisation(d)
        self.apply_resize(model)
        foreign = sorted({str(kind) for kind in map(type_of, self.pipeline)
                          if kind and kind not in LOADING})
        if foreign:
            model.remarks.append("the config's test pipeline also has " + ", ".join(foreign)
                                 + ", which a blob cannot say")
        ratios = [t.get("img_ratios") for t in self.pipeline]
        if any(t.get("flip") is True for t in self.pipeline) or any(
                isinstance(r, (list, tuple)) and len(r) > 1 for r in ratios):
            model.remarks.append("the authors test with flips or several sizes; here each picture "
                                 "runs once")
        self.apply_mode(model)

    def apply_mode(self, model):
        """Sliding windows, where the authors test by them."""
        if self.test.get("mode") != "slide":
            return
        crop, stride = (sides(self.test.get(key)) for key in ("crop_size", "stride"))
        if not crop or not stride or stride[0] > crop[0] or stride[1] > crop[1]:
            model.remarks.append("the config's sliding window has no proper crop_size and stride: "
                                 "the whole picture is one input (--mode, --crop, --stride)")
        elif model.description["classes"]:
            model.description.update(mode=SLIDE, crop_h=crop[0], crop_w=crop[1],
                                     stride_h=stride[0], stride_w=stride[1])

    def apply_classes(self, model):
        K = model.description["classes"]
        if self.classes and K:
            model.class_names = self.classes
        if self.palette and K:
            model.class_colors = self.palette

    def apply_normalisation(self, d):
        for norm in [t for t in self.pipeline if type_of(t) == "Normalize"] + [
                part(self.config, "img_norm_cfg"), part(self.config, "model", "data_preprocessor"),
                part(self.config, "data_preprocessor")]:
            mean, std = numbers(norm.get("mean"), 3), numbers(norm.get("std"), 3, 1e-6)
            if not mean or not std:
                continue
            rgb = norm.get("to_rgb", norm.get("bgr_to_rgb", True)) is not False
            step = 1 if rgb else -1     # the config's order is that of the network's planes
            d.update(mean=mean[::step], scale=[1 / s for s in std[::step]], bgr=int(not rgb))
            return

    def apply_resize(self, model):
        """The size that test pictures get: of mmseg 0.x (img_scale) or 1.x (Resize's scale)."""
        keep, scale = True, None
        for transform in self.pipeline:
            scale = transform.get("img_scale", scale)
            if type_of(transform) == "Resize":
                scale = transform.get("scale", transform.get("img_scale", scale))
                keep = transform.get("keep_ratio", keep)
        pair = sides(scale)
        if not pair:
            if scale is not None:
                model.remarks.append("the config's test size is no pair of numbers: pictures keep "
                                     "their own size")
            return
        if keep is False:
            width, height = pair
            model.description.update(resize_rule=EXACT_SIZE, resize_a=height, resize_b=width)
        else:
            model.description.update(resize_rule=FIT_SIDES, resize_a=max(pair),
                                     resize_b=min(pair))


def refuse_activation(where, mapping, usual):
    kind = type_of(part(mapping, "act_cfg"))
    if kind and kind != usual:
        raise Refused(f"the config text sets the {where}'s activation to {kind}, not {usual}")


def texts(value):
    good = isinstance(value, (list, tuple)) and value and all(isinstance(t, str) for t in value)
    return list(value) if good else None


def colors(value):
    if not isinstance(value, (list, tuple)) or not value:
        return None
    result = [numbers(color, 3, -1) for color in value]
    good = all(color and all(type(n) is int and n < 256 for n in color) for color in result)
    return [tuple(color) for color in result] if good else None
