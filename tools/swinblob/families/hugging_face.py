"""Hugging Face transformers: Swin and Swin V2 (model, classifier, backbone), and UperNet over them.

Names are those of version 4, which version 5 writes too, or those of version 5's modules."""

from . import decode_heads, hugging_face_pictures, swin_v2
from .asking import together
from .hub_config import entries, number, pair, real
from .names import model_prefix, prefixes, renamer
from .reader import Reader
from ..canonical import BATCH_NORM_EPS, stage_count
from ..records import Head, Refused, Shift

FAMILY = "Hugging Face's Swin"
PATCH = "embeddings.patch_embeddings.projection"
DROPPED = (
    ("auxiliary_head.*", "serves training only"),
    ("*embeddings.mask_token", "serves training only"),
    ("decoder.0.*", "serves training only"),
    ("*hidden_states_norms.stem.*", "the stem is no feature here"),
)

COMMON = (
    (r"^embed\.norm", r"embeddings.norm"),
    (r"^embed\.position$", r"embeddings.position_embeddings"),
    (r"^embed\.", r"embeddings.patch_embeddings.projection."),
    (r"^stage(\d+)\.norm", lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}"),
    (r"^stage(\d+)\.merge\.norm", r"encoder.layers.\1.downsample.norm"),
    (r"^stage(\d+)\.merge", r"encoder.layers.\1.downsample.reduction"),
    (r"^stage(\d+)\.block(\d+)", r"encoder.layers.\1.blocks.\2"),
    (r"\.norm1", r".layernorm_before"),
    (r"\.norm2", r".layernorm_after"),
    (r"^norm(?=\.|$)", r"layernorm"),
    (r"^head\.classify", r"classifier"),
)
CLASSIC = renamer((
    *COMMON,
    (r"\.attn\.q\.", r".attention.self.query."),
    (r"\.attn\.k\.", r".attention.self.key."),
    (r"\.attn\.v\.", r".attention.self.value."),
    (r"\.attn\.bias$", r".attention.self.relative_position_bias_table"),
    (r"\.attn\.scale$", r".attention.self.logit_scale"),
    (r"\.attn\.cpb\.", r".attention.self.continuous_position_bias_mlp."),
    (r"\.attn\.proj", r".attention.output.dense"),
    (r"\.mlp\.fc1", r".intermediate.dense"),
    (r"\.mlp\.fc2", r".output.dense"),
))
MODULES_OF_5 = renamer((
    *COMMON,
    (r"\.attn\.([qkv])\.", r".attention.\1_proj."),
    (r"\.attn\.bias$", r".attention.relative_position_bias.relative_position_bias_table"),
    (r"\.attn\.proj", r".attention.o_proj"),
))


def recognise(names):
    return bool(prefixes(names, PATCH))


def recognised(names):
    upernet = any(name.startswith("decode_head.") for name in names)
    kind = (" with UperNet" if upernet
            else " (classifier)" if any(name.startswith("classifier.") for name in names)
            else " (backbone)" if any("hidden_states_norms." in name for name in names) else "")
    return FAMILY + (" V2" if any("continuous_position_bias_mlp" in name for name in names)
                     else "") + kind


def read(checkpoint, options):
    names, config = list(checkpoint.tensors), Config(checkpoint.config)
    prefix = root = model_prefix(names, PATCH)
    for inner in ("swin.", "swinv2."):
        if root.endswith(inner):
            root = root[:-len(inner)]
    rename = MODULES_OF_5 if any(".attention.q_proj." in name for name in names) else CLASSIC
    outer = ("hidden_states_norms.", "classifier")

    def name(canonical):
        inner = rename(canonical)
        return (root if inner.startswith(outer) else prefix) + inner

    reader = Reader(checkpoint, options, recognised(names), name)
    d = reader.d
    reader.describe_layers()
    reader.describe_feature_norms()
    config.check(reader)
    upernet = "decode_head" in reader.source.groups
    backbone = bool(upernet or d["feature_norms"] or config.is_backbone
                    or d["version"] == 2 and not reader.has_group("norm"))
    d.update(eps=config.eps, final_norm=int(not backbone))
    together(lambda: backbone or describe_classifier(reader, config),
             lambda: describe_v1(reader, config, backbone) if d["version"] == 1
             else describe_v2(reader, config),
             lambda: upernet and decode_heads.read(reader, config, spell))
    config.apply(reader.model, checkpoint.preprocessor)
    unused = [(pattern, "a backbone does not use it") for pattern in
              {f"{prefix}layernorm.*", f"{root}swin.layernorm.*"}] if backbone else []
    return reader.finish([*DROPPED, *sorted(unused)])


def spell(name):
    """A name of mmseg's heads as UperNet has it."""
    return (name + ".").replace(".bn.", ".batch_norm.").replace(
        ".conv_seg.", ".classifier.")[:-1]


def describe_classifier(reader, config):
    reader.describe_classifier()
    if reader.d["head"] == Head.CLASSIFIER:
        config.check_task(reader.threshold)


def describe_v1(reader, config, backbone):
    """Backbones always shift; models and classifiers decide on every map."""
    d = reader.d
    rules = reader.option("rules") or ("backbone" if backbone else "model")
    if rules == "model":
        d["shift_rule"] = Shift.SQUARE
    for i in range(stage_count(d)):
        window = reader.square_window(i)
        if config.window not in (None, window):
            raise Refused(f"config.json says that windows are {config.window}, but "
                          f"{reader.name(f'stage{i}.block0.attn.bias')} has one of {window}")
        reader.set_window(i, (window,) * 2, (window // 2,) * 2)
    reader.take_fixed_position(config.grid(d["patch"]))


def describe_v2(reader, config):
    """Windows and shifts follow from the rows of the configured image, whatever the input."""
    d = reader.d
    if reader.has("embed.position"):
        raise Refused(f"{reader.name('embed.position')}: Swin V2 of transformers does not run with "
                      "absolute positions")
    size, window, pretrained = swin_v2.told(reader, config)
    window = window[0] if isinstance(window, list) else window
    d["mask"] = -200.0
    for i in range(stage_count(d)):
        rows = size[0] // d["patch"] >> i
        actual = min(rows, window)
        if not actual:
            raise Refused(f"an image of {size[0]} rows has none left in stage {i}")
        reader.set_window(i, (actual,) * 2, (window // 2 if rows > window else 0,) * 2)
    swin_v2.set_pretrained(reader, pretrained)


class Config:
    """config.json; every entry may be missing. Also what decode_heads.read wants to be told."""

    batch_norm_eps, align_corners, threshold = BATCH_NORM_EPS, False, None

    def __init__(self, config):
        self.whole = config
        inner = entries(config.get("backbone_config"))
        self.body = inner if inner else {} if config.get("model_type") == "upernet" else config

    @property
    def is_backbone(self):
        architectures = self.whole.get("architectures")
        return isinstance(architectures, list) and any(
            str(name).endswith("Backbone") for name in architectures)

    @property
    def eps(self):
        told = self.body.get("layer_norm_eps")
        if told is not None and not real(told, 0, 1):
            raise Refused(f"config.json sets layer_norm_eps to {str(told)[:40]}, no number between "
                          "0 and 1")
        return 1e-5 if told is None else float(told)

    @property
    def image_size(self):
        return pair(self.body.get("image_size"))

    @property
    def window(self):
        return number(self.body.get("window_size"))

    @property
    def pretrained_windows(self):
        told = self.body.get("pretrained_window_sizes", [0] * 4 if self.body else None)
        good = isinstance(told, list) and all(w == 0 or number(w) for w in told)
        stages = self.body.get("depths")
        return told[:len(stages) if isinstance(stages, list) else 4] if good else None

    @property
    def pool_scales(self):
        told = self.whole.get("pool_scales")
        return told if isinstance(told, list) and told and all(map(number, told)) else None

    def grid(self, patch):
        size = self.image_size
        return (size[0] // patch, size[1] // patch) if size else None

    def check_head(self, kind, _):
        if kind != "UPerHead":
            raise Refused(f"the names of a {kind} stand where UperNet's head should be")

    def check(self, reader):
        """Refuses a config.json that speaks of another model."""
        d = reader.d
        kind = self.body.get("model_type", "swin" if d["version"] == 1 else "swinv2")
        if kind != ("swin" if d["version"] == 1 else "swinv2"):
            raise Refused(f"config.json is that of a {str(kind)[:40]}, but the names are those of "
                          f"Swin V{d['version']}")
        for key, found in (("embed_dim", d["width"][0]), ("depths", d["depth"]),
                           ("num_heads", d["heads"]), ("patch_size", d["patch"])):
            told = self.body.get(key)
            if told is not None and told != found and told != [found] * 2:
                raise Refused(f"config.json says that {key} is {str(told)[:40]}, but the weights "
                              f"have {found}")
        if self.body.get("use_absolute_embeddings") is True and not reader.has(
                "embed.position"):
            raise Refused("config.json sets use_absolute_embeddings, but the weights lack "
                          "embeddings.position_embeddings")
        if self.body.get("hidden_act", "gelu") != "gelu":
            raise Refused(f"config.json sets hidden_act to {str(self.body['hidden_act'])[:40]}, "
                          "not gelu")

    def check_task(self, threshold):
        """Refuses a classifier that does not choose one class.

        threshold: of a single output's sigmoid, or None."""
        task = self.whole.get("problem_type")
        sigmoids = task == "multi_label_classification"
        if task in (None, "single_label_classification") or sigmoids and threshold is not None:
            return
        raise Refused(f"config.json says that the problem_type is {str(task)[:40]}, but a "
                      "classifier here chooses one class by a softmax"
                      + "; each class of this one has a sigmoid of its own" * sigmoids)

    def apply(self, model, preprocessor):
        """Classes, and the way from pictures to input."""
        d = model.description
        labels = entries(self.whole.get("id2label"))
        names = [labels.get(str(k)) for k in range(d["classes"])]
        if names and all(isinstance(n, str) for n in names) and names[0] != "LABEL_0":
            model.class_names = names
        if preprocessor:
            hugging_face_pictures.apply(model, preprocessor)
        elif d["head"]:
            model.remarks.append("no preprocessor_config.json tells how pictures become input: "
                                 "they keep their own size and are normalised as ImageNet's "
                                 "(--size, --mean, --std)")
