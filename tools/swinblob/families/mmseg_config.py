"""What the meta of an mmseg checkpoint tells: classes, colours, and the config's text."""

from .literals import UNKNOWN, numbers, parse, part, sides, type_of
from .mmseg_pictures import Pictures
from ..checkpoint import CheckpointError, parse_json
from ..canonical import BATCH_NORM_EPS
from ..records import Head, Mode, Refused

# Backbones by family; the same after "No" have no shift
SWIN = ("SwinTransformer", "SwinTransformerGTV8", "SwinTransformerGTV8Opti")
UNETS = ("SwinUNetEncoder", "SwinUNetV2", "SwinUNetV2GTV8", "SwinUNetV2GTV8Opti",
         "SwinUNetV2GTV8CrossAttentionUpsample")


def config_of(told):
    """The variables of a config: a text, a text of tools/train.py, or a dict of them."""
    if isinstance(told, dict):
        return told
    if told[:1] == "{":
        return training_config(told)
    config = parse(told)
    if "read_base()" in told:
        config["_base_"] = UNKNOWN
    return config


def training_config(text):
    """What parse gives, for checkpoints of tools/train.py, which keep their settings as JSON."""
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
        self.config = config_of(next((meta[key] for key in ("config", "cfg")
                                      if isinstance(meta.get(key), (str, dict))), ""))
        model = part(self.config, "model")
        self.backbone = part(model, "backbone")
        self.head = part(model, "decode_head")
        self.test = part(model, "test_cfg") or part(self.config, "test_cfg")

    @property
    def align_corners(self):
        return self.head.get("align_corners") is True

    @property
    def batch_norm_eps(self):
        eps = part(self.head, "norm_cfg").get("eps", BATCH_NORM_EPS)
        return eps if isinstance(eps, float) and 0 < eps < 1 else BATCH_NORM_EPS

    @property
    def threshold(self):
        told = self.head.get("threshold")
        return told if isinstance(told, float) and 0 < told < 1 else None

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
        if self.head.get("interpolate_mode", "bilinear") != "bilinear":
            raise Refused("the config text sets the decode head's interpolate_mode to "
                          f"{str(self.head['interpolate_mode'])[:40]}, not bilinear")
        refuse_activation("decode head", self.head, "ReLU")
        norm = type_of(part(self.head, "norm_cfg"))
        if norm and not norm.endswith(("BN", "BN2d", "BatchNorm", "BatchNorm2d")):
            raise Refused(f"the config text sets the decode head's norm to {norm[:40]}, and only "
                          "BatchNorm is known")
        if head and head.kind == Head.FPN:
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
        levels = head.count("head.scale{}")
        convs = [head.count(f"head.scale{l}.conv{{}}") for l in range(levels)]
        strides = numbers(strides, levels, 0)
        if not strides or any(stride != strides[0] * 2 ** n for stride, n in zip(strides[1:],
                                                                            convs[1:])):
            raise Refused(f"the config text's feature_strides {self.head['feature_strides']} do "
                          f"not fit the {convs} convolutions of FPNHead's levels")

    def apply(self, model, options):
        """Gives a model the classes, preprocessing and test settings that are told."""
        self.apply_classes(model)
        self.note_unread(model)
        Pictures(self.config).apply(model, options)
        self.note_sigmoids(model)
        self.apply_mode(model)

    def note_unread(self, model):
        """Remarks parts of the config that decide about results and are no literals."""
        whole = part(self.config, "model")
        unread = [name for mapping, names in (
            (self.config, ("model",)), (whole, ("backbone", "decode_head", "test_cfg")),
            (self.head, ("align_corners", "norm_cfg", "loss_decode")))
            for name in names if mapping.get(name) is UNKNOWN]
        if unread:
            model.remarks.append("not known, as it is no literal: what the config says of "
                                 + ", ".join(unread))

    def apply_mode(self, model):
        """Sliding windows, where the authors test by them."""
        if self.test.get("mode", "whole") not in ("whole", "slide"):
            model.remarks.append("the config's test mode is not known: the whole picture is one "
                                 "input (--mode)")
        if self.test.get("mode") != "slide":
            return
        crop, stride = (sides(self.test.get(key)) for key in ("crop_size", "stride"))
        if not crop or not stride or stride[0] > crop[0] or stride[1] > crop[1]:
            model.remarks.append("the config's sliding window has no proper crop_size and stride: "
                                 "the whole picture is one input (--mode, --crop, --stride)")
        elif model.description["classes"]:
            model.description.update(mode=Mode.SLIDE, crop_h=crop[0], crop_w=crop[1],
                                     stride_h=stride[0], stride_w=stride[1])

    def apply_classes(self, model):
        K = model.description["classes"]
        if self.classes and K:
            model.class_names = self.classes
        if self.palette and K:
            model.class_colors = self.palette

    def note_sigmoids(self, model):
        """Remarks losses that made each class a sigmoid of its own: mmseg, too, then takes the
        largest output."""
        losses = self.head.get("loss_decode")
        losses = losses if isinstance(losses, (list, tuple)) else [losses]
        if any(part({"loss": loss}, "loss").get("use_sigmoid") is True for loss in losses):
            model.remarks.append("the head learned a sigmoid a class (use_sigmoid): classes are "
                                 "the largest outputs, as in mmseg, but the confidences here are "
                                 "a softmax over them")


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
