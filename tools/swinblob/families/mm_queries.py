"""MaskFormer and Mask2Former of mmsegmentation and mmdetection, over upstream's Swin."""

from . import upstream
from .literals import UNKNOWN, part, type_of
from .mmseg_config import SWIN, Told
from .names import renamer
from .queries import DROPPED, NAMES, OVERLAP_SHARE, QueryReader
from .things import Rule
from ..records import MAX_INSTANCES, Head, Refused, Scores, Segments

HEADS = ("decode_head.", "panoptic_head.")      # of mmsegmentation, of mmdetection
CLASSES = {Head.MASKFORMER: "MaskFormerHead", Head.MASK2FORMER: "Mask2FormerHead"}
DECODERS = {Head.MASKFORMER: "PixelDecoder", Head.MASK2FORMER: "MSDeformAttnPixelDecoder"}
DIVISOR = 32                    # that Mask2Former's configs pad to
OBJECT_SCORE = 800              # of mmdetection's MaskFormerFusionHead, in thousandths
MOST_INSTANCES = 100            # likewise

LAYER = (
    (r"\.in\.", r".attn.in_proj_"),
    (r"\.(self|cross)\.proj", r".\1.attn.out_proj"),
    (r"\.(self|cross)\.", r".\1_attn."),
    (r"\.fc1", r".ffn.layers.0.0"),
    (r"\.fc2", r".ffn.layers.1"),
    (r"\.norm(\d)", lambda m: f".norms.{int(m[1]) - 1}"),
)
# Convolutions with a norm are pairs (.conv, .gn); a layer's norms are in the order of its parts.
RULES = (
    (r"^head\.mask_embed\.fc(\d)", lambda m: f"mask_embed.{2 * int(m[1]) - 2}"),
    (r"^head\.pixel\.(stem|lateral\d|out\d|project\d)\.norm", r"head.pixel.\1.gn"),
    (r"^head\.pixel\.(stem|lateral\d|out\d|project\d)\.(weight|bias)", r"head.pixel.\1.conv.\2"),
    (r"^head\.pixel\.stem", r"pixel_decoder.last_feat_conv"),
    (r"^head\.pixel\.lateral(\d)", r"pixel_decoder.lateral_convs.\1"),
    (r"^head\.pixel\.out(\d)", r"pixel_decoder.output_convs.\1"),
    (r"^head\.pixel\.project(\d)", r"pixel_decoder.input_convs.\1"),
    (r"^head\.pixel\.mask", r"pixel_decoder.mask_feature"),
    (r"^head\.pixel\.levels$", r"pixel_decoder.level_encoding.weight"),
    (r"^head\.pixel\.layer(\d+)\.offsets", r"head.pixel.layer\1.self_attn.sampling_offsets"),
    (r"^head\.pixel\.layer(\d+)\.weights", r"head.pixel.layer\1.self_attn.attention_weights"),
    (r"^head\.pixel\.layer(\d+)\.value", r"head.pixel.layer\1.self_attn.value_proj"),
    (r"^head\.pixel\.layer(\d+)\.proj", r"head.pixel.layer\1.self_attn.output_proj"),
    (r"^head\.decoder\.norm", r"transformer_decoder.post_norm"),
    *LAYER,
    (r"^head\.pixel\.layer(\d+)", r"pixel_decoder.encoder.layers.\1"),
    (r"^head\.decoder\.layer(\d+)", r"transformer_decoder.layers.\1"),
    (r"^head\.query\.embed$", r"query_embed.weight"),
    (r"^head\.query\.start$", r"query_feat.weight"),
    (r"^head\.query\.levels$", r"level_embed.weight"),
    (r"^head\.query\.project(\d)", r"decoder_input_projs.\1"),
    (r"^head\.query\.project", r"decoder_input_proj"),
    (r"^head\.classify", r"cls_embed"),
)
rename = renamer(RULES)


def head_of(names):
    """What the names of the head begin with, or None."""
    return next((head for head in HEADS if head + "query_embed.weight" in names), None)


def recognise(names):
    return head_of(names) is not None


def kind_of(names):
    levels = any(name.endswith("pixel_decoder.level_encoding.weight") for name in names)
    return Head.MASK2FORMER if levels else Head.MASKFORMER


def recognised(names):
    source = "mmsegmentation" if head_of(names) == HEADS[0] else "mmdetection"
    return f"{NAMES[kind_of(names)]} of {source}"


def read(checkpoint, options):
    names = list(checkpoint.tensors)
    kind, head = kind_of(names), head_of(names) or HEADS[0]
    if any(".attentions.0." in name for name in names):
        raise Refused(f"this is a {NAMES[kind]} of mmdetection 2, whose names this version does "
                      "not take: convert the checkpoint of mmdetection 3")
    told = Config(checkpoint.meta, head[:-1])
    reader = QueryReader(checkpoint, options, recognised(names), kind,
                         lambda name: "backbone." + upstream.rename(name),
                         lambda name: head + rename(name))
    reader.describe()
    if not told.check_backbone(reader.model, SWIN):
        raise Refused("the config text says that the backbone does not shift")
    told.check_queries(reader)
    upstream.prepare(reader)
    reader.describe_heads(told.heads, as_pixels=False)
    describe_segments(reader, told, head)
    reader.d["query_size_divisor"] = DIVISOR if kind == Head.MASK2FORMER and not told.config else 0
    reader.finish(DROPPED)
    told.apply(reader.model, options)
    return reader.model


def thousandths(told, usual):
    """A config's share, or what is usual where it tells none."""
    return round(1000 * told) if type(told) in (int, float) and 0 <= told <= 1 else usual


def describe_segments(reader, told, head):
    """What mmdetection makes of queries: at the picture's size, for which masks are resized to
    the padded input and then cut."""
    if head == HEADS[1]:
        reader.describe_segments(told.segment_rules(reader.kind), told.things, told.results)
    else:
        for option in ("segments", "things"):
            if reader.option(option) not in (None, "none"):
                raise Refused(f"--{option} is about panoptic and instance results, which "
                              "mmsegmentation does not compute")
    reader.describe_scores(Scores.AT_PICTURE if reader.d["segment_rule"] else Scores.AT_INPUT)


class Config(Told):
    """What the meta tells. head: "decode_head" or "panoptic_head"."""

    def __init__(self, meta, head):
        super().__init__(meta)
        self.head = part(self.config, "model", head)
        self.fusion = part(self.config, "model", "panoptic_fusion_head")
        self.decoder = part(self.head, "transformer_decoder")
        self.pixels = part(self.head, "pixel_decoder")

    @property
    def heads(self):
        """Of the decoder's attentions, under the names of mmdetection 3 or 2."""
        layer = part(self.decoder, "layer_cfg") or part(self.decoder, "transformerlayers")
        told = [part(layer, name) for name in ("cross_attn_cfg", "self_attn_cfg", "attn_cfgs")]
        found = {mapping["num_heads"] for mapping in told
                 if type(mapping.get("num_heads")) is int and mapping["num_heads"] > 0}
        if len(found) > 1:
            raise Refused(f"the config text gives the decoder's attentions {sorted(found)} heads, "
                          "and only one number for all is known")
        return min(found, default=None)

    @property
    def things(self):
        """The classes of things, which mmdetection has before all others, or None."""
        told = self.fusion.get("num_things_classes", self.head.get("num_things_classes"))
        return range(told) if type(told) is int and told >= 0 else None

    @property
    def results(self):
        """"panoptic" or "instance", where the config asks for one of them alone, or for both."""
        return next((kind for kind in ("panoptic", "instance")
                     if self.test.get(kind + "_on") is True), None)

    def segment_rules(self, kind):
        """MaskFormerFusionHead's, of which configs filter low scores for Mask2Former."""
        filters = self.test.get("filter_low_score", kind == Head.MASK2FORMER) is True
        most = self.test.get("max_per_image")
        return {
            "panoptic": Rule(Segments.MASK2FORMER if filters else Segments.MASKFORMER,
                             thousandths(self.test.get("object_mask_thr"), OBJECT_SCORE),
                             thousandths(self.test.get("iou_thr"), OVERLAP_SHARE)),
            "instance": Rule(Segments.INSTANCES, 0,
                             most=most if type(most) is int and 0 < most <= MAX_INSTANCES
                             else MOST_INSTANCES)}

    def check_queries(self, reader):
        """Refuses a config text that speaks of another head, or of parts computed otherwise."""
        kind = reader.kind
        for mapping, wanted, what in ((self.head, CLASSES, "head"),
                                      (self.pixels, DECODERS, "pixel decoder")):
            told = type_of(mapping)
            if told and told != wanted[kind]:
                raise Refused(f"the names are those of {wanted[kind]}, but the config text says "
                              f"that the {what} is a {told[:40]}, which this version does not take")
        norm = part(self.pixels, "norm_cfg")
        if type_of(norm) not in (None, "GN") or norm.get("num_groups", 32) != 32:
            raise Refused("the config text sets the pixel decoder's norm otherwise than to "
                          "GroupNorm of 32 groups, which is not known")
        layer = part(self.decoder, "layer_cfg")
        for mapping in (self.pixels, part(self.pixels, "encoder", "layer_cfg", "ffn_cfg"),
                        part(layer, "ffn_cfg")):
            told = type_of(part(mapping, "act_cfg"))
            if told not in (None, "ReLU"):
                raise Refused(f"the config text sets an activation of the head to {told[:40]}, "
                              "not ReLU")
        for mapping in (self.head, self.pixels):
            position = part(mapping, "positional_encoding")
            if position and position.get("normalize", False) not in (True, UNKNOWN):
                raise Refused("the config text sets a positional_encoding of the head that is not "
                              "normalised, which is not known")
        reader.expect_told((("feat_channels", self.head.get("feat_channels"), "query_width"),
                            ("num_queries", self.head.get("num_queries"), "query_count"),
                            ("transformer_decoder's num_layers", self.decoder.get("num_layers"),
                             "query_layers")))
        if self.head.get("num_transformer_feat_level", 3) != 3:
            raise Refused("the config text sets num_transformer_feat_level to "
                          f"{str(self.head['num_transformer_feat_level'])[:40]}, not 3")
