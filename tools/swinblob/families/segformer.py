"""SegFormer and its backbone MiT: the authors' files, mmsegmentation 0.x and 1.x, and Hugging Face
transformers (names of version 4, which version 5 writes too, or those of version 5's modules).

What the sources compute differs by the eps of their norms, and by mmsegmentation's own head."""

import re

import numpy as np

from . import decode_heads
from .hub_config import number
from .hugging_face import Config as HubConfig
from .literals import numbers, part, type_of
from .mmseg_config import Told, refuse_activation
from .names import renamer
from .reader import Reader
from ..canonical import Weight, stage_count
from ..records import MAX_STAGES, SMALLEST, Body, Head, Refused, new_stages

DROPPED = (
    ("auxiliary_head.*", "serves training only"),
    ("decode_head.conv_seg.*", "the head does not use it (linear_pred classifies)"),
)
# Official backbones by name; configs of the authors' code name them
KINDS = ("MixVisionTransformer", *(f"mit_b{n}" for n in range(6)))
STRIDES = [4, 2, 2, 2]          # of the authors' patch embeddings


def next_number(text):
    return lambda m: text.format(int(m[1]) + 1)


OFFICIAL = (
    (r"^embed\.norm", r"patch_embed1.norm"),
    (r"^embed\.", r"patch_embed1.proj."),
    (r"^stage(\d+)\.embed\.norm", next_number("patch_embed{}.norm")),
    (r"^stage(\d+)\.embed", next_number("patch_embed{}.proj")),
    (r"^stage(\d+)\.norm", next_number("norm{}")),
    (r"^stage(\d+)\.block", next_number("block{}.")),
    (r"\.attn\.reduce\.norm", r".attn.norm"),
    (r"\.attn\.reduce", r".attn.sr"),
    (r"\.mlp\.depthwise", r".mlp.dwconv.dwconv"),
    (r"^head\.classify", r"head"),
)
MMSEG = (
    (r"^embed\.norm", r"layers.0.0.norm"),
    (r"^embed\.", r"layers.0.0.projection."),
    (r"^stage(\d+)\.embed\.norm", r"layers.\1.0.norm"),
    (r"^stage(\d+)\.embed", r"layers.\1.0.projection"),
    (r"^stage(\d+)\.norm", r"layers.\1.2"),
    (r"^stage(\d+)\.block", r"layers.\1.1."),
    (r"\.attn\.reduce\.norm", r".attn.norm"),
    (r"\.attn\.reduce", r".attn.sr"),
    (r"\.attn\.proj", r".attn.attn.out_proj"),
    (r"\.attn\.qkv\.", r".attn.attn.in_proj_"),
    (r"\.mlp\.fc1", r".ffn.layers.0"),
    (r"\.mlp\.depthwise", r".ffn.layers.1"),
    (r"\.mlp\.fc2", r".ffn.layers.4"),
)
HUB = (
    (r"\.attn\.reduce\.norm", r".attention.self.layer_norm"),
    (r"\.attn\.reduce", r".attention.self.sr"),
    (r"\.attn\.q\.", r".attention.self.query."),
    (r"\.attn\.k\.", r".attention.self.key."),
    (r"\.attn\.v\.", r".attention.self.value."),
    (r"\.attn\.proj", r".attention.output.dense"),
    (r"^embed\.norm", r"encoder.patch_embeddings.0.layer_norm"),
    (r"^embed\.", r"encoder.patch_embeddings.0.proj."),
    (r"^stage(\d+)\.embed\.norm", r"encoder.patch_embeddings.\1.layer_norm"),
    (r"^stage(\d+)\.embed", r"encoder.patch_embeddings.\1.proj"),
    (r"^stage(\d+)\.norm", r"encoder.layer_norm.\1"),
    (r"^stage(\d+)\.block", r"encoder.block.\1."),
    (r"\.norm([12])", r".layer_norm_\1"),
    (r"\.mlp\.depthwise", r".mlp.dwconv.dwconv"),
    (r"\.mlp\.fc", r".mlp.dense"),
    (r"^head\.classify", r"classifier"),
)
HUB_MODULES = (
    (r"\.attn\.reduce\.norm", r".attention.sequence_reduction.layer_norm"),
    (r"\.attn\.reduce", r".attention.sequence_reduction.sequence_reduction"),
    (r"\.attn\.([qkv])\.", r".attention.\1_proj."),
    (r"\.attn\.proj", r".attention.o_proj"),
    (r"^embed\.norm", r"stages.0.patch_embeddings.layer_norm"),
    (r"^embed\.", r"stages.0.patch_embeddings.proj."),
    (r"^stage(\d+)\.embed\.norm", r"stages.\1.patch_embeddings.layer_norm"),
    (r"^stage(\d+)\.embed", r"stages.\1.patch_embeddings.proj"),
    (r"^stage(\d+)\.norm", r"stages.\1.layer_norm"),
    (r"^stage(\d+)\.block", r"stages.\1.blocks."),
    (r"\.norm1", r".layernorm_before"),
    (r"\.norm2", r".layernorm_after"),
    (r"\.mlp\.depthwise", r".mlp.dwconv.dwconv"),
    (r"^head\.classify", r"classifier"),
)


class Kind:
    """A source: for the user, the name of its first embedding, what may stand before it, its names
    inside, and the eps of its norms: of blocks and features, and of patches (None: 1e-5)."""

    def __init__(self, family, embedding, prefix, rules, eps, patch_eps):
        self.family, self.embedding, self.prefix = family, embedding, prefix
        self.rename, self.eps, self.patch_eps = renamer(rules), eps, patch_eps


SOURCES = (
    Kind("SegFormer of the official code", "patch_embed1.proj", "backbone.", OFFICIAL, 1e-6, 1e-5),
    Kind("SegFormer of mmsegmentation", "layers.0.0.projection", "backbone.", MMSEG, 1e-6, 1e-6),
    Kind("Hugging Face's SegFormer", "encoder.patch_embeddings.0.proj", "segformer.", HUB, 1e-5,
         1e-5),
    Kind("Hugging Face's SegFormer", "stages.0.patch_embeddings.proj", "segformer.", HUB_MODULES,
         1e-5, 1e-5),
)


def source_of(names):
    """(the source, what stands before its names) of a checkpoint, or None."""
    names = set(names)
    return next(((source, prefix) for source in SOURCES for prefix in (source.prefix, "")
                 if f"{prefix}{source.embedding}.weight" in names), None)


def recognise(names):
    return bool(source_of(names))


def recognised(names):
    source, _ = source_of(names)
    segments = any(name.startswith("decode_head.") for name in names)
    classifies = any(name.startswith(("head.", "classifier.")) for name in names)
    return source.family + ("" if segments else " (classifier)" if classifies else " (backbone)")


def read(checkpoint, options):
    found = source_of(checkpoint.tensors)
    if not found:
        raise Refused("no embedding of patches has SegFormer's name")
    source, prefix = found

    def name(canonical):
        inner = source.rename(canonical)
        return inner if inner.startswith(("head.", "classifier.")) else prefix + inner

    reader = Reader(checkpoint, options, recognised(list(checkpoint.tensors)), name)
    hub = source.prefix == "segformer."
    told = Hub(checkpoint.config) if hub else Meta(checkpoint.meta)
    describe(reader, told)
    eps = told.eps or source.eps
    set_eps(reader.d, eps, eps, eps if source.patch_eps == source.eps else source.patch_eps)
    take_attention(reader)
    if source.rename(".mlp.fc1") == ".ffn.layers.0":
        take_mlp_of_convolutions(reader)
    if "decode_head" in reader.source.groups:
        decode_heads.read(reader, told, speller(checkpoint.tensors) if hub else lambda name: name)
        reader.d["straight"] = int(hub)
        if reader.d["head"] == Head.GLAM_SEGFORMER:
            merge_head(reader)
    else:
        reader.describe_classifier()
        if hub and reader.d["head"]:
            told.check_task(reader.threshold)
    reader.finish(DROPPED)
    told.finish(reader.model, checkpoint, options)
    return reader.model


# Describing ---------------------------------------------------------------------------------------

def describe(reader, told):
    """All that shapes tell, and what is told of strides and heads."""
    d, source = reader.d, reader.source
    stages = source.count(lambda i: reader.name(f"stage{i}.block0"))
    if not 1 <= stages <= MAX_STAGES:
        raise Refused(f"the backbone has {stages} stages, not 1 to {MAX_STAGES}")
    d.update(new_stages(stages), body=Body.MIT, patch_norm=1, qkv_bias=1,
             feature_norms=(1 << stages) - 1)
    d["window_h"], d["window_w"] = [1] * stages, [1] * stages
    for i in range(stages):
        describe_stage(reader, i)
    strides = told.strides(stages) or (STRIDES if stages == 4 else [4] + [2] * (stages - 1))
    d["patch_stride"][:stages], d["patch"] = strides, strides[0]
    d["heads"] = heads(reader, told.heads(stages))
    told.compare(reductions=d["reduction"][:stages], depths=d["depth"], widths=d["width"],
                 patch_sizes=d["patch_kernel"][:stages])
    told.check_rest(stages)


def describe_stage(reader, i):
    d = reader.d
    embed = f"stage{i}.embed.weight" if i else "embed.weight"
    C, planes, kernel, columns = reader.shape(embed, 4)
    if kernel != columns or kernel % 2 == 0 or i == 0 and planes != 3:
        raise Refused(f"{reader.name(embed)} takes {planes} planes and patches of {kernel}x"
                      f"{columns}; only square patches of odd sides, of three planes at first, are "
                      "known")
    depth = reader.source.count(lambda j: reader.name(f"stage{i}.block{j}"))
    first = f"stage{i}.block0"
    d["width"][i], d["depth"][i], d["patch_kernel"][i] = C, depth, kernel
    d["hidden"][i] = reader.source.shape(reader.name(first + ".mlp.depthwise.weight"), 4)[0]
    d["reduction"][i] = 1
    reduce = first + ".attn.reduce.weight"
    if reader.has(reduce):
        *_, rows, side = reader.shape(reduce, 4)
        if rows != side or side < 2:
            raise Refused(f"{reader.name(reduce)} reduces patches of {rows}x{side}, which is not "
                          "SegFormer's")
        d["reduction"][i] = side


def heads(reader, told):
    """Heads of each stage: by option or config, else as wide as in stage 0, which has one."""
    widths = reader.d["width"]
    found = reader.option("heads") or told
    if not found:
        if any(C % widths[0] for C in widths):
            raise Refused(f"nothing tells the heads of stages of {widths} channels: give --heads")
        found = [C // widths[0] for C in widths]
    if len(found) != len(widths) or any(C % n for C, n in zip(widths, found)):
        raise Refused(f"heads {found} do not divide {widths} channels (--heads)")
    return list(found)


def set_eps(d, eps, feature_eps, patch_eps):
    """Norms of blocks, of features, and of patches; 0 in a blob is 1e-5 for the latter two."""
    d.update(eps=eps, feature_eps=0 if feature_eps == 1e-5 else feature_eps,
             patch_eps=0 if patch_eps == 1e-5 else patch_eps)


# Taking -------------------------------------------------------------------------------------------

def blocks(reader):
    return [block for i in range(stage_count(reader.d)) for block in reader.blocks(i)]


def take_attention(reader):
    """attn.q and attn.kv, where the source has q, k and v in one, or k and v apart."""
    for block in blocks(reader):
        for part in ("weight", "bias"):
            attention = f"{block}.attn."
            taken = {}
            if reader.has(f"{attention}qkv.{part}"):
                taken = split(reader.take(f"{attention}qkv.{part}"))
            elif reader.has(f"{attention}k.{part}"):
                k, v = (reader.take(f"{attention}{one}.{part}") for one in "kv")
                reader.expect_shape(v, k.shape)
                taken = {"kv": joined(k, v)}
            for one, weight in taken.items():
                reader.model.weights[f"{attention}{one}.{part}"] = weight


def split(qkv):
    """[3C, ...] as q and as k and v."""
    third = (qkv.shape or (0,))[0] // 3
    if not qkv.shape or 3 * third != qkv.shape[0]:
        raise Refused(f"{qkv.origin} has shape {list(qkv.shape)}, which is no q, k and v")
    return {"q": qkv.map((third, *qkv.shape[1:]), lambda x: x[:third]),
            "kv": qkv.map((2 * third, *qkv.shape[1:]), lambda x: x[third:])}


def joined(k, v):
    rows = (k.shape or (0,))[0]
    return Weight((2 * rows, *k.shape[1:]), lambda: np.concatenate([k.load(), v.load()]), k.origin)


def take_mlp_of_convolutions(reader):
    """mmsegmentation's MLP is of 1x1 convolutions."""
    for block in blocks(reader):
        for layer in ("fc1", "fc2"):
            name = f"{block}.mlp.{layer}.weight"
            outputs, inputs, *sides = reader.shape(name, 4)
            if sides != [1, 1]:
                raise Refused(f"{reader.name(name)} is a convolution of {sides[0]}x{sides[1]}, not "
                              "of 1x1")
            reader.model.weights[name] = reader.take(name).map((outputs, inputs),
                                                               lambda x: x[:, :, 0, 0])


def merge_head(reader):
    """Makes one layer of each level's own and its share of the one that fuses all: nothing but a
    resize is between them, which both commute with."""
    d, weights = reader.d, reader.model.weights
    levels, ch = len(d["width"]), d["head_channels"]
    if d["head_inputs"] != (1 << levels) - 1:
        raise Refused(f"the head reads {bin(d['head_inputs']).count('1')} of {levels} features, "
                      "and SegFormer's reads all")
    fuse, fuse_bias = weights.pop("head.fuse.weight"), weights.pop("head.fuse.bias")
    for l, C in enumerate(d["width"]):
        reader.expect_shape(weights[f"head.lateral{l}.weight"], (ch, C, 1, 1))
        reader.expect_shape(weights[f"head.lateral{l}.bias"], (ch,))
    reader.expect_shape(fuse, (ch, levels * ch, 1, 1))
    reader.expect_shape(fuse_bias, (ch,))
    layers = [(weights[f"head.lateral{l}.weight"], weights.pop(f"head.lateral{l}.bias"))
              for l in range(levels)]

    def share(l):
        return fuse.load()[:, l * ch:(l + 1) * ch, 0, 0].astype(np.float64)

    def bias():
        return sum((share(l) @ own.load() for l, (_, own) in enumerate(layers)),
                   fuse_bias.load().astype(np.float64))

    for l, (weight, _) in enumerate(layers):
        weights[f"head.lateral{l}.weight"] = weight.map(
            weight.shape, lambda x, l=l: (share(l) @ x[:, :, 0, 0])[:, :, None, None])
    weights["head.lateral0.bias"] = Weight((ch,), bias, fuse.origin)
    d["head"] = Head.MERGED_SEGFORMER


# What is told -------------------------------------------------------------------------------------

def speller(names):
    """From the names of the authors' head to those that Hugging Face has for it."""
    modules = any(".linear_projections." in name for name in names)
    levels = "linear_projections" if modules else "linear_c"

    def spell(name):
        name = re.sub(r"\.linear_c(\d+)\b", lambda m: f".{levels}.{int(m[1]) - 1}", name)
        name = re.sub(r"\.linear_fuse\.bn\b", ".batch_norm", name)
        return name.replace(".linear_fuse.conv.", ".linear_fuse.").replace(".linear_pred",
                                                                           ".classifier")

    return spell


class Facts:
    """What a config tells of the backbone, by its own words for it: WORDS, in self.facts."""

    def strides(self, stages):
        """The pixels from patch to patch before each stage, or None."""
        told = numbers(self.facts.get("strides"), stages, 0)
        if "strides" in self.facts and (not told or any(type(n) is not int for n in told)):
            raise Refused(f"the config's strides {str(self.facts['strides'])[:40]} are no "
                          f"{stages} numbers")
        return told

    def heads(self, stages):
        """The heads of each stage, or None."""
        told = self.facts.get(self.WORDS["heads"])
        good = isinstance(told, (list, tuple)) and len(told) == stages and all(map(number, told))
        return list(told) if good else None

    def compare(self, **found):
        """Refuses a config that speaks of another backbone than the weights are."""
        for what, value in found.items():
            told = self.facts.get(self.WORDS.get(what))
            if isinstance(told, (list, tuple)) and list(told) != value:
                raise Refused(f"the config says that {self.WORDS[what]} are {str(told)[:40]}, but "
                              f"the weights have {value}")


class Meta(Told, Facts):
    """The meta of an mmsegmentation file."""

    WORDS = dict(heads="num_heads", reductions="sr_ratios", depths="num_layers",
                 patch_sizes="patch_sizes")

    def __init__(self, meta):
        super().__init__(meta)
        self.facts = self.backbone

    @property
    def eps(self):
        told = part(self.backbone, "norm_cfg").get("eps")
        return told if isinstance(told, float) and SMALLEST <= told < 1 else None

    def check_rest(self, stages):
        kind = type_of(self.backbone) or KINDS[0]
        if kind not in KINDS:
            raise Refused("the names are those of SegFormer, but the config text says that the "
                          f"backbone is a {kind}")
        if self.backbone.get("qk_scale"):
            raise Refused("the config text sets the backbone's qk_scale, which is not known")
        outputs = self.backbone.get("out_indices")
        if isinstance(outputs, (list, tuple)) and list(outputs) != list(range(stages)):
            raise Refused(f"the config text sets the backbone's out_indices to {outputs}, and only "
                          "all of its stages are known")
        refuse_activation("backbone", self.backbone, "GELU")

    def finish(self, model, _, options):
        self.apply(model, options)


class Hub(HubConfig, Facts):
    """Hugging Face's config.json."""

    WORDS = dict(heads="num_attention_heads", reductions="sr_ratios", depths="depths",
                 patch_sizes="patch_sizes", widths="hidden_sizes")
    eps = None                  # layer_norm_eps is read by no version

    def __init__(self, config):
        super().__init__(config)
        self.facts = {key: value for key, value in config.items() if value is not None}

    def check_head(self, kind, _):
        if kind != "SegFormerHead":
            raise Refused(f"the names of a {kind} stand where SegFormer's head should be")

    def check_rest(self, stages):
        kind = self.facts.get("model_type", "segformer")
        if kind != "segformer":
            raise Refused(f"config.json is that of a {str(kind)[:40]}, but the names are those of "
                          "SegFormer")
        if self.facts.get("num_encoder_blocks", stages) != stages:
            raise Refused("config.json says that num_encoder_blocks is "
                          f"{str(self.facts['num_encoder_blocks'])[:40]}, but the weights have "
                          f"{stages}")
        if self.facts.get("hidden_act", "gelu") != "gelu":
            raise Refused(f"config.json sets hidden_act to {str(self.facts['hidden_act'])[:40]}, "
                          "not gelu")

    def finish(self, model, checkpoint, _):
        self.apply(model, checkpoint.preprocessor)
