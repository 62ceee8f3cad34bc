"""MaskFormer, Mask2Former and OneFormer of their authors, who build on detectron2."""

import re

from .names import AUTHORS, renamer
from .queries import DROPPED, NAMES, OVERLAP_SHARE, QueryReader
from .things import COCO_INSTANCES, SETS, Rule
from ..records import Filter, Head, Refused, Resize, Scores, Segments

PIXELS, QUERIES = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
MARK = QUERIES + "query_embed.weight"
TEXT = tuple((what, "the text encoder serves training only")
             for what in ("text_encoder.*", "text_projector.*", "prompt_ctx.*"))

backbone = renamer(AUTHORS)

COMMON = (
    (r"^head\.pixel\.mask", PIXELS + r"mask_features"),
    (r"^head\.pixel\.lateral(\d)", lambda m: f"{PIXELS}adapter_{int(m[1]) + 1}"),
    (r"^head\.pixel\.out(\d)", lambda m: f"{PIXELS}layer_{int(m[1]) + 1}"),
    (r"^head\.query\.embed$", QUERIES + r"query_embed.weight"),
    (r"^head\.query\.project(\d)", QUERIES + r"input_proj.\1"),
    (r"^head\.query\.project", QUERIES + r"input_proj"),
    (r"\.in\.", r".in_proj_"),
    (r"\.(self|cross)\.proj", r".\1.out_proj"),
    (r"^head\.mask_embed\.fc(\d)", lambda m: f"{QUERIES}mask_embed.layers.{int(m[1]) - 1}"),
    (r"^head\.classify", QUERIES + r"class_embed"),
)


def detr(ours, theirs):
    """Rules for a decoder as DETR has it."""
    return (
        (rf"^head\.{ours}\.norm", theirs + r"decoder.norm"),
        (rf"^head\.{ours}\.layer(\d+)\.self\.", theirs + r"decoder.layers.\1.self_attn."),
        (rf"^head\.{ours}\.layer(\d+)\.cross\.", theirs + r"decoder.layers.\1.multihead_attn."),
        (rf"^head\.{ours}\.layer(\d+)\.fc", theirs + r"decoder.layers.\1.linear"),
        (rf"^head\.{ours}\.layer(\d+)", theirs + r"decoder.layers.\1"))


ENCODER = PIXELS + r"transformer.encoder.layers.\1"
MASKED = QUERIES + "transformer_"
LEVELS = (
    (r"^head\.pixel\.project(\d)\.norm", PIXELS + r"input_proj.\1.1"),
    (r"^head\.pixel\.project(\d)", PIXELS + r"input_proj.\1.0"),
    (r"^head\.pixel\.levels$", PIXELS + r"transformer.level_embed"),
    (r"^head\.pixel\.layer(\d+)\.offsets", ENCODER + r".self_attn.sampling_offsets"),
    (r"^head\.pixel\.layer(\d+)\.weights", ENCODER + r".self_attn.attention_weights"),
    (r"^head\.pixel\.layer(\d+)\.value", ENCODER + r".self_attn.value_proj"),
    (r"^head\.pixel\.layer(\d+)\.proj", ENCODER + r".self_attn.output_proj"),
    (r"^head\.pixel\.layer(\d+)\.fc", ENCODER + r".linear"),
    (r"^head\.pixel\.layer(\d+)", ENCODER),
    (r"^head\.query\.levels$", QUERIES + r"level_embed.weight"),
    (r"^head\.decoder\.norm", QUERIES + r"decoder_norm"),
    (r"^head\.decoder\.layer(\d+)\.cross\.",
     MASKED + r"cross_attention_layers.\1.multihead_attn."),
    (r"^head\.decoder\.layer(\d+)\.self\.", MASKED + r"self_attention_layers.\1.self_attn."),
    (r"^head\.decoder\.layer(\d+)\.norm1", MASKED + r"cross_attention_layers.\1.norm"),
    (r"^head\.decoder\.layer(\d+)\.norm2", MASKED + r"self_attention_layers.\1.norm"),
    (r"^head\.decoder\.layer(\d+)\.norm3", MASKED + r"ffn_layers.\1.norm"),
    (r"^head\.decoder\.layer(\d+)\.fc", MASKED + r"ffn_layers.\1.linear"),
)
RULES = {
    Head.MASKFORMER: (
        *COMMON, (r"^head\.pixel\.stem", PIXELS + r"layer_4"),
        *detr("decoder", QUERIES + "transformer.")),
    Head.MASK2FORMER: (
        *COMMON, (r"^head\.query\.start$", QUERIES + r"query_feat.weight"), *LEVELS),
    Head.ONEFORMER: (
        *COMMON, (r"^head\.task\.fc(\d)", lambda m: f"task_mlp.layers.{int(m[1]) - 1}"),
        (r"^head\.query\.input", QUERIES + r"class_input_proj"),
        *detr("start", QUERIES + "class_transformer."), *LEVELS),
}
# Classes of the data sets that released models know, and what their pictures are resized to: the
# shorter side, and the most of the longer
RESIZING = {150: (512, 2048), 19: (1024, 2048), 8: (1024, 2048), 133: (800, 1333), 80: (800, 1333),
            65: (2048, 2048)}
COCO = (SETS["coco"][0], COCO_INSTANCES)
LARGE = 128                     # width of stage 0 of the models that see larger pictures of ADE20K
LARGE_ADE = (640, 2560)
OBJECT_SCORE = 800              # of the authors' panoptic configs, in thousandths
PANOPTIC = Rule(Segments.MASK2FORMER, OBJECT_SCORE, OVERLAP_SHARE)
# MaskFormer gives no instances; OneFormer's configs ask for as many as there are queries,
# Mask2Former's leave detectron2's default.
SEGMENTS = {
    Head.MASKFORMER: {"panoptic": Rule(Segments.MASKFORMER, OBJECT_SCORE, OVERLAP_SHARE)},
    Head.MASK2FORMER: {"panoptic": PANOPTIC, "instance": Rule(Segments.INSTANCES, 0, most=100)},
    Head.ONEFORMER: {"panoptic": PANOPTIC, "instance": Rule(Segments.INSTANCES, 0)}}
DIVISOR = 32


def recognise(names):
    return MARK in names


def kind_of(names):
    if "task_mlp.layers.0.weight" in names:
        return Head.ONEFORMER
    levels = any(name.endswith("pixel_decoder.transformer.level_embed") for name in names)
    return Head.MASK2FORMER if levels else Head.MASKFORMER


def recognised(names):
    return NAMES[kind_of(names)] + " of its authors (detectron2)"


def read(checkpoint, options):
    kind, family = kind_of(checkpoint.tensors), recognised(checkpoint.tensors)
    checkpoint.tensors = {usual(name): tensor for name, tensor in checkpoint.tensors.items()}
    reader = QueryReader(checkpoint, options, family, kind,
                         lambda name: "backbone." + backbone(name), renamer(RULES[kind]))
    reader.describe()
    if reader.has("embed.position"):
        raise Refused(f"{reader.name('embed.position')}: no model of {NAMES[kind]} has absolute "
                      "positions")
    reader.describe_heads(None, as_pixels=kind != Head.MASKFORMER)
    describe_pictures(reader)
    return reader.finish([*DROPPED, *TEXT])


def usual(name):
    """A tensor's name in the authors' latest code."""
    name = re.sub(r"^sem_seg_head\.(?!predictor\.|pixel_decoder\.)", PIXELS, name)
    name = name.replace(PIXELS + "pixel_decoder.", PIXELS)
    return name.replace(QUERIES + "static_query.", QUERIES + "query_feat.")


def describe_pictures(reader):
    """How the authors' configs test, as far as the number of classes tells the data set."""
    d, kind, K = reader.d, reader.kind, reader.d["classes"]
    # With panoptic or instance results, as COCO's and all of OneFormer's configs make them, the
    # masks are resized to the picture before they are summed.
    reader.describe_segments(SEGMENTS[kind])
    at_picture = kind == Head.ONEFORMER or K in COCO or d["segment_rule"]
    reader.describe_scores(Scores.AT_PICTURE if at_picture else Scores.AT_INPUT)
    d["query_size_divisor"] = 0 if kind == Head.MASKFORMER and K in COCO else DIVISOR
    apply_means(reader)
    sizes = LARGE_ADE if K == 150 and d["width"][0] >= LARGE else RESIZING.get(K)
    if not sizes:
        reader.model.remarks.append("nothing tells what size the authors test at: pictures keep "
                                    "their own (--size)")
        return
    d.update(resize_rule=Resize.WITHIN, resize_a=sizes[1], resize_b=sizes[0],
             resize_filter=Filter.BILINEAR_ANTIALIASED)
    reader.model.remarks.append(f"pictures are resized within {sizes[1]}x{sizes[0]}, as the "
                                f"authors' configs of {K} classes say (--size)")


def apply_means(reader):
    """Mean and std of pixels, where they are stored."""
    for name, field in (("pixel_mean", "mean"), ("pixel_std", "scale")):
        if name not in reader.source:
            continue
        numbers = reader.source.numbers(name).astype(float).reshape(-1).tolist()
        if len(numbers) != 3 or not all(abs(n) < 1e6 for n in numbers) or (
                field == "scale" and min(numbers) < 1e-6):
            raise Refused(f"{name} is no {'mean' if field == 'mean' else 'std'} of three planes")
        reader.d[field] = numbers if field == "mean" else [1 / n for n in numbers]
