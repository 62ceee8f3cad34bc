"""Hugging Face transformers: MaskFormer, Mask2Former and OneFormer over Swin.

Names are those that save_pretrained of versions 4 and 5 writes, or those of version 5's modules."""

import re

from . import hugging_face
from .hub_config import entries, number
from .names import renamer
from .queries import DROPPED, NAMES, OVERLAP_SHARE, QueryReader
from .things import Rule
from ..records import Head, Refused, Scores, Segments

ENCODER, PIXELS = "model.pixel_level_module.encoder.", "model.pixel_level_module.decoder."
QUERIES = "model.transformer_module."
MARK = PIXELS + "mask_projection.weight"
TEXT = (("model.text_mapper.*", "the text encoder serves training only"),)
STRAY = tuple((f"{ENCODER}{inner}layernorm.*", "a backbone does not use it")
              for inner in ("", "model.", "swin."))

LEVELS = (
    (r"^head\.pixel\.project(\d)\.norm", PIXELS + r"input_projections.\1.1"),
    (r"^head\.pixel\.project(\d)", PIXELS + r"input_projections.\1.0"),
    (r"^head\.pixel\.levels$", PIXELS + r"level_embed"),
    (r"^head\.pixel\.layer(\d+)", PIXELS + r"encoder.layers.\1"),
    (r"(encoder\.layers\.\d+)\.offsets", r"\1.self_attn.sampling_offsets"),
    (r"(encoder\.layers\.\d+)\.weights", r"\1.self_attn.attention_weights"),
    (r"(encoder\.layers\.\d+)\.value", r"\1.self_attn.value_proj"),
    (r"(encoder\.layers\.\d+)\.proj", r"\1.self_attn.output_proj"),
    (r"(encoder\.layers\.\d+)\.norm1", r"\1.self_attn_layer_norm"),
    (r"(encoder\.layers\.\d+)\.norm2", r"\1.final_layer_norm"),
    (r"^head\.pixel\.lateral0\.norm", PIXELS + r"adapter_1.1"),
    (r"^head\.pixel\.lateral0", PIXELS + r"adapter_1.0"),
    (r"^head\.pixel\.out0\.norm", PIXELS + r"layer_1.1"),
    (r"^head\.pixel\.out0", PIXELS + r"layer_1.0"),
    (r"^head\.query\.levels$", QUERIES + r"level_embed.weight"),
    (r"^head\.query\.project(\d)", QUERIES + r"input_projections.\1"),
)
COMMON = (
    (r"^head\.pixel\.mask", PIXELS + r"mask_projection"),
    (r"^head\.query\.embed$", QUERIES + r"queries_embedder.weight"),
    (r"\.in\.", r".in_proj_"),
    (r"\.(self|cross)\.([qkv])(?=\.|$)", r".\1.\2_proj"),
    (r"\.(self|cross)\.proj", r".\1.out_proj"),
)


def fpn_level(part):
    return lambda match: f"{PIXELS}fpn.layers.{2 - int(match[1])}.{part}"


MASKFORMER = renamer((
    *COMMON,
    (r"^head\.pixel\.stem\.norm", PIXELS + r"fpn.stem.1"),
    (r"^head\.pixel\.stem", PIXELS + r"fpn.stem.0"),
    (r"^head\.pixel\.lateral(\d)\.norm", fpn_level("proj.1")),
    (r"^head\.pixel\.lateral(\d)", fpn_level("proj.0")),
    (r"^head\.pixel\.out(\d)\.norm", fpn_level("block.1")),
    (r"^head\.pixel\.out(\d)", fpn_level("block.0")),
    (r"^head\.query\.project", QUERIES + r"input_projection"),
    (r"^head\.decoder\.layer(\d+)\.self\.", QUERIES + r"decoder.layers.\1.self_attn."),
    (r"^head\.decoder\.layer(\d+)\.cross\.", QUERIES + r"decoder.layers.\1.encoder_attn."),
    (r"^head\.decoder\.layer(\d+)\.norm1", QUERIES + r"decoder.layers.\1.self_attn_layer_norm"),
    (r"^head\.decoder\.layer(\d+)\.norm2", QUERIES + r"decoder.layers.\1.encoder_attn_layer_norm"),
    (r"^head\.decoder\.layer(\d+)\.norm3", QUERIES + r"decoder.layers.\1.final_layer_norm"),
    (r"^head\.decoder\.layer(\d+)", QUERIES + r"decoder.layers.\1"),
    (r"^head\.decoder\.norm", QUERIES + r"decoder.layernorm"),
    (r"^head\.mask_embed\.fc(\d)", lambda m: f"mask_embedder.{int(m[1]) - 1}.0"),
    (r"^head\.classify", r"class_predictor"),
))
MASK2FORMER = renamer((
    *COMMON, *LEVELS,
    (r"^head\.query\.start$", QUERIES + r"queries_features.weight"),
    (r"^head\.decoder\.layer(\d+)\.(self|cross)\.", QUERIES + r"decoder.layers.\1.\2_attn."),
    (r"^head\.decoder\.layer(\d+)\.norm1", QUERIES + r"decoder.layers.\1.cross_attn_layer_norm"),
    (r"^head\.decoder\.layer(\d+)\.norm2", QUERIES + r"decoder.layers.\1.self_attn_layer_norm"),
    (r"^head\.decoder\.layer(\d+)\.norm3", QUERIES + r"decoder.layers.\1.final_layer_norm"),
    (r"^head\.decoder\.layer(\d+)", QUERIES + r"decoder.layers.\1"),
    (r"^head\.decoder\.norm", QUERIES + r"decoder.layernorm"),
    (r"^head\.mask_embed\.fc(\d)",
     lambda m: f"{QUERIES}decoder.mask_predictor.mask_embedder.{int(m[1]) - 1}.0"),
    (r"^head\.classify", r"class_predictor"),
))
START = QUERIES + r"decoder.query_transformer.decoder."
ONEFORMER = renamer((
    *COMMON, *LEVELS,
    (r"^head\.task\.fc(\d)", lambda m: f"model.task_encoder.task_mlp.layers.{int(m[1]) - 1}.0"),
    (r"^head\.query\.input", QUERIES + r"decoder.query_input_projection"),
    (r"^head\.start\.norm", START + r"norm"),
    (r"^head\.start\.layer(\d+)\.self\.", START + r"layers.\1.self_attn."),
    (r"^head\.start\.layer(\d+)\.cross\.", START + r"layers.\1.multihead_attn."),
    (r"^head\.start\.layer(\d+)\.fc", START + r"layers.\1.linear"),
    (r"^head\.start\.layer(\d+)", START + r"layers.\1"),
    (r"^head\.decoder\.layer(\d+)\.self\.", QUERIES + r"decoder.layers.\1.self_attn.self_attn."),
    (r"^head\.decoder\.layer(\d+)\.cross\.",
     QUERIES + r"decoder.layers.\1.cross_attn.multihead_attn."),
    (r"^head\.decoder\.layer(\d+)\.norm1", QUERIES + r"decoder.layers.\1.cross_attn.norm"),
    (r"^head\.decoder\.layer(\d+)\.norm2", QUERIES + r"decoder.layers.\1.self_attn.norm"),
    (r"^head\.decoder\.layer(\d+)\.norm3", QUERIES + r"decoder.layers.\1.ffn.norm"),
    (r"^head\.decoder\.layer(\d+)\.fc", QUERIES + r"decoder.layers.\1.ffn.linear"),
    (r"^head\.decoder\.norm", QUERIES + r"decoder.decoder_norm"),
    (r"^head\.mask_embed\.fc(\d)",
     lambda m: f"{QUERIES}decoder.mask_embed.layers.{int(m[1]) - 1}.0"),
    (r"^head\.classify", QUERIES + r"decoder.class_embed"),
))
RENAMERS = {Head.MASKFORMER: MASKFORMER, Head.MASK2FORMER: MASK2FORMER, Head.ONEFORMER: ONEFORMER}
SCORES = {Head.MASKFORMER: Scores.AT_MASKS, Head.MASK2FORMER: Scores.AT_384,
          Head.ONEFORMER: Scores.AT_MASKS}
OBJECT_SCORE = 500              # transformers' default, in thousandths
PANOPTIC = Rule(Segments.HUGGING_FACE, OBJECT_SCORE, OVERLAP_SHARE)
OVERLAPPING = Rule(Segments.INSTANCES_HUGGING_FACE, OBJECT_SCORE, all_things=True)
INSTANCES = {Head.MASKFORMER: OVERLAPPING, Head.MASK2FORMER: OVERLAPPING,
             Head.ONEFORMER: Rule(Segments.INSTANCES_ONEFORMER, OBJECT_SCORE, OVERLAP_SHARE,
                                  all_things=True)}
# What modules of version 5 call what save_pretrained writes otherwise
MODULES_OF_5 = ((re.compile(r"^(model\.transformer_module\.decoder\.layers\.\d+\.)"
                            r"((?:self_attn|encoder_attn)\.)o_proj\."), r"\1\2out_proj."),
                (re.compile(r"^(model\.transformer_module\.decoder\.layers\.\d+\.)mlp\."), r"\1"))


def recognise(names):
    return MARK in names


def kind_of(names):
    if PIXELS + "fpn.stem.0.weight" in names:
        return Head.MASKFORMER
    task = "model.task_encoder.task_mlp.layers.0.0.weight" in names
    return Head.ONEFORMER if task else Head.MASK2FORMER


def recognised(names):
    return "Hugging Face's " + NAMES[kind_of(names)]


def read(checkpoint, options):
    kind, config = kind_of(checkpoint.tensors), Config(checkpoint.config)
    checkpoint.tensors = {classic(name): tensor for name, tensor in checkpoint.tensors.items()}
    names = checkpoint.tensors
    reader = QueryReader(checkpoint, options, recognised(names), kind, body_names(names),
                         RENAMERS[kind])
    config.refuse(kind)
    reader.describe()
    config.check_backbone(reader)
    config.check_head(reader)
    reader.d["eps"] = config.eps
    reader.take_fixed_position(config.grid(reader.d["patch"]))
    reader.describe_heads(config.heads(kind), as_pixels=True)
    reader.describe_scores(SCORES[kind])
    reader.describe_segments({"panoptic": PANOPTIC, "instance": INSTANCES[kind]},
                             thing_ids(checkpoint.preprocessor))
    config.apply(reader.model, checkpoint.preprocessor)
    return reader.finish([*DROPPED, *TEXT, *STRAY])


def classic(name):
    for pattern, replacement in MODULES_OF_5:
        name = pattern.sub(replacement, name)
    return name


def thing_ids(preprocessor):
    """The classes of things that OneFormer's preprocessor_config.json lists, or None."""
    ids = entries(entries(preprocessor).get("metadata")).get("thing_ids")
    good = isinstance(ids, list) and all(number(k, 0) is not None for k in ids)
    return ids if good else None


def body_names(names):
    """From canonical names of the backbone to these, whose prefix and spelling depend on the class
    and the version."""
    inner = next((part for part in ("model.", "swin.") if any(
        name.startswith(f"{ENCODER}{part}encoder.layers.") for name in names)), "")
    modules = any(".attention.q_proj." in name for name in names)
    rename = hugging_face.MODULES_OF_5 if modules else hugging_face.CLASSIC
    numbered = ENCODER + "hidden_states_norms.0.weight" in names

    def name(canonical):
        renamed = rename(canonical)
        if not renamed.startswith("hidden_states_norms."):
            return ENCODER + inner + renamed
        if numbered:
            renamed = re.sub(r"stage(\d+)", lambda m: str(int(m[1]) - 1), renamed)
        return ENCODER + renamed

    return name


class Config(hugging_face.Config):
    """config.json; every entry may be missing."""

    def __init__(self, config):
        super().__init__(config)
        self.body = entries(config.get("backbone_config"))
        self.decoder = entries(config.get("decoder_config"))

    def heads(self, kind):
        return number(self.decoder.get("decoder_attention_heads") if kind == Head.MASKFORMER
                      else self.whole.get("num_attention_heads"))

    def refuse(self, kind):
        """Refuses what the weights do not show and is computed otherwise."""
        where = [("", self.whole)] + [("decoder_config's ", self.decoder)] * (
            kind == Head.MASKFORMER)
        for words, told in where:
            for key, usual in (("pre_norm", False), ("use_task_norm", True),
                               ("auxiliary_loss", False), ("activation_function", "relu"),
                               ("normalize_before", False), ("norm", "GN"), ("common_stride", 4)):
                if told.get(key) not in (None, usual):
                    raise Refused(f"config.json sets {words}{key} to {str(told[key])[:40]}, not "
                                  f"{usual}: this version computes it only so")
        if self.whole.get("layer_norm_eps") not in (None, 1e-5):
            raise Refused("config.json sets layer_norm_eps to "
                          f"{str(self.whole['layer_norm_eps'])[:40]}, and only 1e-05 is known for "
                          "the decoder")
        architectures = self.whole.get("architectures")
        if isinstance(architectures, list) and any("Video" in str(a) for a in architectures):
            raise Refused("config.json is that of a model of videos, which this version does not "
                          "take")

    def check_backbone(self, reader):
        kind = self.body.get("model_type", "swin")
        if kind not in ("swin", "maskformer-swin"):
            raise Refused(f"config.json says that the backbone is a {str(kind)[:40]}, but the "
                          "names are those of Swin")
        stages = [f"stage{i + 1}" for i in range(4)]
        told = self.body.get("out_features")
        if told not in (None, stages):
            raise Refused(f"config.json says that the head reads {str(told)[:60]}, and only the "
                          "four stages are known")
        self.body = {**self.body, "model_type": "swin"}
        self.check(reader)
        for i, window in enumerate(reader.d["window_h"]):
            if self.window not in (None, window):
                raise Refused(f"config.json says that windows are {self.window}, but "
                              f"{reader.name(f'stage{i}.block0.attn.bias')} has one of {window}")

    def check_head(self, reader):
        """Refuses a config.json that speaks of other sizes than the weights have."""
        whole, decoder, maskformer = self.whole, self.decoder, reader.kind == Head.MASKFORMER
        layers = number(whole.get("decoder_layers"), 1)
        reader.expect_told((
            ("fpn_feature_size", whole.get("fpn_feature_size"), "head_channels"),
            ("mask_feature_size", whole.get("mask_feature_size"), "query_masks"),
            ("d_model", decoder.get("d_model"), "query_width"),
            ("decoder_layers", decoder.get("decoder_layers"), "query_layers"),
            ("decoder_ffn_dim", decoder.get("decoder_ffn_dim"), "query_hidden"),
            ("num_queries", decoder.get("num_queries"), "query_count")) if maskformer else (
            ("feature_size", whole.get("feature_size"), "head_channels"),
            ("conv_dim", whole.get("conv_dim"), "head_channels"),
            ("hidden_dim", whole.get("hidden_dim"), "query_width"),
            ("num_queries", whole.get("num_queries"), "query_count"),
            ("encoder_layers", whole.get("encoder_layers"), "query_pixel_layers"),
            ("encoder_feedforward_dim", whole.get("encoder_feedforward_dim"),
             "query_pixel_hidden"),
            ("dim_feedforward", whole.get("dim_feedforward"), "query_hidden"),
            ("decoder_layers less one", layers and layers - 1, "query_layers"),
            ("mask_feature_size", whole.get("mask_feature_size"), "query_masks"),
            ("mask_dim", whole.get("mask_dim"), "query_masks"),
            ("query_dec_layers", whole.get("query_dec_layers"), "query_start_layers")))

    def apply(self, model, preprocessor):
        if self.whole.get("is_training") is True:
            model.remarks.append("config.json sets is_training, by which transformers drops "
                                 "numbers at random in the pixel decoder; nothing is dropped here")
        super().apply(model, preprocessor)
