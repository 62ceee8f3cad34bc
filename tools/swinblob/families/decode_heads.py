"""The decode heads of mmseg and Hugging Face, described by their shapes; BatchNorm is folded in."""

import re
from itertools import combinations

from .asking import ask, together
from .names import renamer
from ..canonical import fold_batch_norm, tensors
from ..records import Head, Refused

DEFAULT_POOL_SCALES = (1, 2, 3, 6)
POOLS = [(r"^head\.pool(\d+)", r"decode_head.psp_modules.\1.1")]
# Modules that are layers themselves, not ConvModules (.conv, .bn), beside every head's classifier,
# and the axes of their weights.
PLAIN = {Head.GLAM_SEGFORMER: (r"head\.lateral\d+", 2)}
REST = [(r"^head\.classify", r"decode_head.conv_seg"), (r"^head\.", r"decode_head.")]


class DecodeHead:
    """The decode head of a checkpoint.

    told: what is known beside the weights: pool_scales, align_corners, batch_norm_eps, threshold,
    and check_head(mmseg's class, the head); spell: from mmseg's names to the checkpoint's."""

    def __init__(self, reader, told, spell):
        self.reader, self.source, self.d = reader, reader.source, reader.d
        self.told, self.spell = told, spell
        self.mmseg_class, self.kind, self.describe, _, self.rename = next(
            head for head in HEADS if spell(head[3]) in self.source.groups)

    def name(self, canonical):
        return self.spell(self.rename(canonical))

    def plain(self, module):
        """The axes of a plain layer's weight; 0 where the module is a ConvModule."""
        pattern, axes = PLAIN.get(self.kind, ("", 0))
        return 4 if module == "head.classify" else axes if re.fullmatch(pattern, module) else 0

    def convolution(self, module):
        """(outputs, inputs, kernel) of a convolution, and its name."""
        axes = self.plain(module)
        origin = self.name(module) + (".weight" if axes else ".conv.weight")
        outputs, inputs, *sides = self.source.shape(origin, axes or 4)
        return outputs, inputs, sides[0] if sides else 1, origin

    def count(self, module):
        return self.source.count(lambda n: self.name(module.format(n)))

    def read(self):
        """Describes the head and takes its weights."""
        d, options = self.d, self.reader.options
        together(self.describe_classes, lambda: self.told.check_head(self.mmseg_class, self),
                 self.check_neck, lambda: self.describe(self))
        d["align_corners"] = int(self.told.align_corners if options.align_corners is None
                                 else options.align_corners)
        for spec in tensors(d):
            module, _, part = spec.name.rpartition(".")
            if module.startswith(("head.", "neck.")) and part == "weight":
                weights = self.reader.model.weights
                weights[module + ".weight"], weights[module + ".bias"] = self.take(module)

    # Describing

    def describe_classes(self):
        classify = self.name("head.classify.weight")
        outputs, channels, _, _ = self.source.shape(classify, 4)
        self.d.update(head=self.kind, head_channels=channels)
        self.d["classes"] = self.reader.classes(outputs, classify, self.told.threshold)

    def check_neck(self):
        if "neck" in self.source.groups and self.kind != Head.FPN:
            raise Refused("this is a segmentation model with a neck before its "
                          f"{self.mmseg_class}, which this version does not take")

    def describe_uper(self):
        laterals = [f"head.lateral{l}" for l in range(self.count("head.lateral{}"))]
        self.set_inputs(laterals + ["head.pool0"])
        self.describe_pools()

    def describe_psp(self):
        self.set_inputs(["head.pool0"])
        self.describe_pools()

    def describe_pools(self):
        pools = self.count("head.pool{}")
        scales = self.reader.options.pool_scales or self.told.pool_scales
        if not scales and pools == len(DEFAULT_POOL_SCALES):
            scales = list(DEFAULT_POOL_SCALES)
        if not scales:
            raise ask(f"nothing tells the scales of the head's {pools} pools "
                      "(decode_head.psp_modules)", "--pool-scales N,...")
        if len(scales) != pools or pools > 8:
            raise Refused(f"{len(scales)} pool scales {scales} for {pools} pools "
                          "(decode_head.psp_modules; at most 8)")
        self.d["pool_count"] = pools
        self.d["pool_scale"][:pools] = scales

    def describe_fcn(self):
        d, convs = self.d, self.count("head.conv{}")
        concat = self.name("head.cat") in self.source.groups
        width, kernel, origin = d["head_channels"], 1, self.name("head.classify.weight")
        if convs:
            _, width, kernel, origin = self.convolution("head.conv0")
        elif concat:
            raise Refused(f"{self.name('head.cat')}.conv.weight stands without convolutions before "
                          "it, which is not known")
        d.update(convs=convs, conv_kernel=kernel, conv_concat=int(concat),
                 head_inputs=self.inputs([width], [origin]))

    def describe_fpn(self):
        if "neck" not in self.source.groups:
            raise Refused("this is a segmentation model with FPNHead without a neck (FPN), which "
                          "this version does not take")
        levels, read = self.count("neck.lateral{}"), self.count("head.scale{}")
        made = self.count("neck.fpn{}")
        if not levels == made == read:
            raise Refused(f"the neck takes {levels} features and makes {made}, of which FPNHead "
                          f"reads {read}; only a neck and head of as many are known")
        self.set_inputs([f"neck.lateral{l}" for l in range(levels)])
        self.d["neck_channels"] = self.convolution("neck.lateral0")[0]
        for l in range(levels):
            self.d["neck_convs"][l] = self.count(f"head.scale{l}.conv{{}}")

    def describe_segformer(self):
        self.set_inputs([f"head.lateral{l}" for l in range(self.count("head.lateral{}"))])

    def describe_glam_segformer(self):
        self.describe_segformer()
        self.source.drop(self.spell("decode_head.conv_seg") + ".*",
                         "the head does not use it (linear_pred classifies)")

    def set_inputs(self, modules):
        _, widths, _, origins = zip(*map(self.convolution, modules))
        self.d["head_inputs"] = self.inputs(widths, origins)

    def inputs(self, widths, origins):
        """The set of features of these widths, as the bits of head_inputs."""
        d = self.d
        known = {i: C for i, C in enumerate(d["width"])
                 if not d["feature_norms"] or d["feature_norms"] >> i & 1}
        for width, origin in zip(widths, origins):
            if width not in known.values():
                raise Refused(f"{origin} reads {width} channels, but the backbone's features have "
                              f"{list(known.values())}")
        fitting = [picked for picked in combinations(known, len(widths))
                   if [known[i] for i in picked] == list(widths)]
        if not fitting:
            raise Refused(f"the head reads features of {list(widths)} channels in this order, but "
                          f"the backbone makes them in the order {list(known.values())}")
        if len(fitting) > 1:
            raise Refused(f"{origins[0]} and its like read features of {list(widths)} channels, "
                          f"and several of the backbone's, of {list(known.values())}, fit")
        return sum(1 << i for i in fitting[0])

    # Taking

    def take(self, module):
        """Weight and bias of a module, in natural form."""
        name, axes = self.name(module), self.plain(module)
        if axes:
            weight, bias = self.source.take(name + ".weight"), self.source.take(name + ".bias")
            return (weight.map((*weight.shape, 1, 1), lambda x: x[:, :, None, None]) if axes == 2
                    else weight), bias
        weight, bias = self.conv_module(name)
        if self.kind == Head.GLAM_SEGFORMER and module == "head.fuse":
            weight = self.fine_to_coarse(weight)
        return weight, bias

    def conv_module(self, module):
        """Weight and bias of a convolution, with the BatchNorm after it where there is one."""
        weight, bias, norm = (self.spell(module + end)
                              for end in (".conv.weight", ".conv.bias", ".bn"))
        if norm not in self.source.groups:
            return self.source.take(weight), self.source.take(bias)
        norm = [self.source.take(f"{norm}.{part}")
                for part in ("weight", "bias", "running_mean", "running_var")]
        weight = self.source.take(weight)
        for part in norm:
            if part.shape != weight.shape[:1]:
                raise Refused(f"{part.origin} has shape {list(part.shape)} where {weight.origin} "
                              f"has {list(weight.shape)}")
        return fold_batch_norm(weight, self.source.take(bias) if bias in self.source else None,
                               *norm, self.told.batch_norm_eps)

    def fine_to_coarse(self, weight):
        """GLAM's fusion reads the coarsest level first."""
        levels = self.count("head.lateral{}")
        if len(weight.shape) != 4 or weight.shape[1] % levels:
            raise Refused(f"{weight.origin} has shape {list(weight.shape)} for {levels} levels")
        return weight.map(weight.shape, lambda x: x.reshape(
            len(x), levels, -1, *x.shape[2:])[:, ::-1].reshape(x.shape))


# mmseg's class, what it is here, how it is described, what only its checkpoints have, and its
# names; the first that fits counts, and FCNHead's fits every decode head
HEADS = tuple((name, kind, describe, group, renamer(rules + REST))
              for name, kind, describe, group, rules in (
    ("SegFormerHead", Head.GLAM_SEGFORMER, DecodeHead.describe_glam_segformer,
     "decode_head.linear_c1", [
         (r"^head\.lateral(\d+)", lambda m: f"decode_head.linear_c{int(m[1]) + 1}.proj"),
         (r"^head\.fuse", r"decode_head.linear_fuse"),
         (r"^head\.classify", r"decode_head.linear_pred")]),
    ("SegformerHead", Head.SEGFORMER, DecodeHead.describe_segformer, "decode_head.fusion_conv", [
        (r"^head\.lateral(\d+)", r"decode_head.convs.\1"),
        (r"^head\.fuse", r"decode_head.fusion_conv")]),
    ("FPNHead", Head.FPN, DecodeHead.describe_fpn, "decode_head.scale_heads", [
        (r"^neck\.lateral(\d+)", r"neck.lateral_convs.\1"),
        (r"^neck\.fpn(\d+)", r"neck.fpn_convs.\1"),
        (r"^head\.scale(\d+)\.conv(\d+)",
         lambda m: f"decode_head.scale_heads.{m[1]}.{2 * int(m[2])}"),
        (r"^head\.scale(\d+)", r"decode_head.scale_heads.\1")]),
    ("UPerHead", Head.UPER, DecodeHead.describe_uper, "decode_head.fpn_bottleneck", POOLS + [
        (r"^head\.lateral(\d+)", r"decode_head.lateral_convs.\1"),
        (r"^head\.fpn(\d+)", r"decode_head.fpn_convs.\1"),
        (r"^head\.fuse", r"decode_head.fpn_bottleneck")]),
    ("PSPHead", Head.PSP, DecodeHead.describe_psp, "decode_head.psp_modules", POOLS),
    ("FCNHead", Head.FCN, DecodeHead.describe_fcn, "decode_head", [
        (r"^head\.conv(\d+)", r"decode_head.convs.\1"),
        (r"^head\.cat", r"decode_head.conv_cat")]),
))


def read(reader, told, spell=lambda name: name):
    DecodeHead(reader, told, spell).read()
