"""BiRefNet (bilateral reference) over Swin, by ZhengPeng7/BiRefNet, and BRIA's RMBG-2.0."""

import os
import re

import numpy as np

from . import pictures
from .names import AUTHORS, renamer
from .reader import Reader
from ..canonical import Weight, fold_batch_norm, stage_count, tensors
from ..heads import birefnet_widths
from ..records import Body, Filter, Head, Input, Refused

FAMILY = "BiRefNet over Swin"
SIDES = 32                      # inputs' sides are multiples of this
DEFAULT_SIZE = (1024, 1024)

# The order of the patches of what is published, by the names of the repositories, which folders and
# files keep
PUBLISHED = {
    "BiRefNet": "columns", "BiRefNet-portrait": "columns", "BiRefNet-matting": "columns",
    "BiRefNet-DIS5K": "columns", "BiRefNet-DIS5K-TR_TEs": "columns", "BiRefNet-HRSOD": "columns",
    "BiRefNet-COD": "columns", "BiRefNet-legacy": "columns", "BiRefNet_lite": "columns",
    "BiRefNet_lite-2K": "columns", "BiRefNet_512x512": "rows", "BiRefNet_HR": "rows",
    "BiRefNet_HR-matting": "rows", "BiRefNet_dynamic": "rows", "RMBG-2.0": "columns",
}
# Words of names that tell the size of the input
SIZES = {"HR": (2048, 2048), "2K": (1440, 2560), "512x512": (512, 512)}
DROPPED = (
    ("decoder.conv_ms_spvn_*", "serves training only"),
    ("decoder.gdt_convs_pred_*", "serves training only"),
)

backbone = renamer(AUTHORS)


def recognise(names):
    return any(re.match(r"decoder\.decoder_block\d\.dec_att\.aspp_deforms\.", name)
               for name in names)


def read(checkpoint, options):
    reader = Reader(checkpoint, options, FAMILY, lambda name: "bb." + backbone(name))
    d = reader.d
    reader.describe_layers()
    reader.describe_feature_norms()
    for i in range(stage_count(d)):
        window = reader.square_window(i)
        reader.set_window(i, (window,) * 2, (window // 2,) * 2)
    if stage_count(d) != 4:
        raise Refused(f"BiRefNet has a backbone of 4 stages, not {stage_count(d)}")
    Decoder(reader, *told(reader, checkpoint)).read()
    pictures.resize_exactly(d, size_of_input(reader, checkpoint), Filter.BILINEAR_ANTIALIASED)
    reader.model.class_names = ["background", "foreground"]
    return reader.finish(DROPPED)


def names_of(checkpoint):
    """Names of the files, without their endings, and of the folders that they lie in."""
    for path in map(os.path.abspath, checkpoint.files):
        yield os.path.basename(os.path.dirname(path))
        yield os.path.splitext(os.path.basename(path))[0]


def published(checkpoint):
    """The name in PUBLISHED that a folder or file has, or None.

    BiRefNet is what a clone of its code is called, too: then there is no config.json."""
    return next((name for name in names_of(checkpoint)
                 if name in PUBLISHED and (name != "BiRefNet" or checkpoint.config)), None)


def told(reader, checkpoint):
    """The order of the patches, and what tells it."""
    order, known = reader.option("patch_order"), published(checkpoint)
    if order:
        return order, "--patch-order"
    if known:
        return PUBLISHED[known], f"the name {known}"
    raise Refused("nothing tells in which order this BiRefNet stacks the patches of a picture, "
                  "which its code changed on 5 November 2024 and its weights do not show: give "
                  "--patch-order columns (trained before, and RMBG-2.0) or --patch-order rows "
                  "(trained since)")


def size_of_input(reader, checkpoint):
    size = reader.option("image_size")
    if not size:
        words = [word for name in names_of(checkpoint) if name.startswith("BiRefNet")
                 for word in re.split(r"[-_.]", name)]
        size = next((SIZES[word] for word in words if word in SIZES), DEFAULT_SIZE)
    if size[0] % SIDES or size[1] % SIDES:
        raise Refused(f"--image-size {size[0]}x{size[1]}: the sides of BiRefNet's input are "
                      f"multiples of {SIDES}")
    return size


class Decoder:
    """The decoder: described by the shapes of its weights, which are then taken.

    order: of the picture's patches, as `source` tells it. Levels have the numbers of the stages."""

    def __init__(self, reader, order, source):
        self.reader, self.source, self.order = reader, reader.source, order
        self.d, self.weights = reader.d, reader.model.weights
        reader.model.notes["patch_order"] = f"{order}, by {source}"

    def read(self):
        self.describe()
        taken = {}
        for spec in tensors(self.d):
            layer = spec.name.rpartition(".")[0]
            if not layer.startswith("head.") or layer in taken:
                continue
            taken[layer] = self.take(layer[len("head."):])
            self.weights[layer + ".weight"], self.weights[layer + ".bias"] = taken[layer]
        del self.weights["head.out.bias"]

    # Describing

    def side(self, name, axis, dimensions=4):
        return self.source.shape(name, dimensions)[axis]

    def describe(self):
        d, block = self.d, "decoder.decoder_block4."
        self.refuse_variants()
        kernels = [self.side(module + ".atrous_conv.regular_conv.weight", 2)
                   for module in self.branches(block)]
        if len(kernels) > len(d["birefnet_kernel"]):
            raise Refused(f"{block}dec_att.aspp_deforms has {len(kernels) - 1} branches, more than "
                          f"{len(d['birefnet_kernel']) - 1}")
        d["birefnet_kernel"][:len(kernels)] = self.kernels = kernels
        d.update(
            body=Body.BIREFNET, head=Head.BIREFNET, classes=2, align_corners=1,
            one_class=1, input_rule=Input.EXACT, input_multiple=SIDES,
            birefnet_inner=self.side(block + "conv_in.weight", 0),
            birefnet_branch=self.side(f"{block}dec_att.aspp1.atrous_conv.regular_conv.weight", 0),
            birefnet_patches=self.side("decoder.ipt_blk5.conv1.weight", 0),
            birefnet_gate=self.side("decoder.gdt_convs_4.0.weight", 0))

    def branches(self, block):
        """The modules of a block's deformable branches."""
        more = self.source.count(lambda n: f"{block}dec_att.aspp_deforms.{n}")
        return [block + "dec_att.aspp1"] + [f"{block}dec_att.aspp_deforms.{n}" for n in range(more)]

    def refuse_variants(self):
        """Refuses what its code can be configured to, but no published weights are."""
        def refuse(what):
            raise Refused(f"this is a BiRefNet {what}, which this version does not take")

        groups, widths = self.source.groups, self.d["width"]
        if "squeeze_module.0" not in groups or "squeeze_module.1" in groups:
            refuse("whose squeeze_block is not BasicDecBlk_x1")
        if "decoder.gdt_convs_4" not in groups:
            refuse("without gates (out_ref is off)")
        lateral = self.side("decoder.lateral_block4.conv.weight", 1)
        if lateral == widths[2]:
            refuse("whose mul_scl_ipt is not cat: its decoder reads features of one size of input")
        split = self.side("decoder.ipt_blk5.conv1.weight", 1)
        if split == 3:
            refuse("whose decoder reads pictures that are not cut into patches (dec_ipt_split is "
                   "off)")
        context = self.side("squeeze_module.0.conv_in.weight", 1)
        if context in (2 * widths[3], 2 * (widths[3] + widths[2]), 2 * sum(widths[1:])):
            refuse("whose cxt_num is not 3")

    # Taking

    def take(self, layer):
        """Weight and bias of a layer, which has that name after `head.`; no bias of `out`."""
        part, _, rest = layer.partition(".")
        name, level = re.fullmatch(r"([a-z]+)(\d?)", part).groups()
        number = int(level) + 1 if level else 0         # in the checkpoint
        if name == "squeeze":
            return self.block_layer("squeeze_module.0.", rest)
        if name == "block":
            return self.block_layer(f"decoder.decoder_block{number}.", rest)
        if name == "lateral":
            return self.layer(f"decoder.lateral_block{number + 1}.conv")
        if name == "patches":
            module = f"decoder.ipt_blk{number + 1}."
            return self.layer(module + "conv_out") if rest else self.patches(module + "conv1",
                                                                             4 << int(level))
        if name == "gate":
            if rest:
                return self.layer(f"decoder.gdt_convs_attn_{number}.0")
            return self.normed(f"decoder.gdt_convs_{number}.0", f"decoder.gdt_convs_{number}.1")
        return self.ends()[name]

    def layer(self, module):
        return self.source.take(module + ".weight"), self.source.take(module + ".bias")

    def normed(self, module, norm, bias=True):
        """A convolution with the BatchNorm after it."""
        weight = self.expect(self.source.take(module + ".weight"), None)
        outputs = weight.shape[:1]
        start = self.expect(self.source.take(module + ".bias"), outputs) if bias else None
        parts = [self.expect(self.source.take(f"{norm}.{part}"), outputs)
                 for part in ("weight", "bias", "running_mean", "running_var")]
        return fold_batch_norm(weight, start, *parts)

    def expect(self, weight, shape):
        """A weight, which has this shape or, if that is None, four dimensions."""
        if shape is None and len(weight.shape) != 4:
            raise Refused(f"{weight.origin} has shape {list(weight.shape)}, not 4 dimensions")
        if shape is not None:
            self.reader.expect_shape(weight, shape)
        return weight

    def block_layer(self, block, layer):
        """A layer of a block of the decoder."""
        found = re.fullmatch(r"branch(\d)(\.offset)?", layer)
        if found:
            modules = self.branches(block)
            if int(found[1]) >= len(modules):
                raise Refused(f"{block}dec_att.aspp_deforms.{int(found[1]) - 1} is missing")
            module = modules[int(found[1])]
            if found[2]:
                return self.offsets(module + ".atrous_conv.", self.kernels[int(found[1])])
            return self.normed(module + ".atrous_conv.regular_conv", module + ".bn", bias=False)
        return {
            "conv_in": lambda: self.normed(block + "conv_in", block + "bn_in"),
            "conv_out": lambda: self.normed(block + "conv_out", block + "bn_out"),
            "mean": lambda: self.normed(block + "dec_att.global_avg_pool.1",
                                        block + "dec_att.global_avg_pool.2", bias=False),
            "fuse": lambda: self.normed(block + "dec_att.conv1", block + "dec_att.bn1",
                                        bias=False)}[layer]()

    def offsets(self, module, kernel):
        """The offsets and the factors of a deformable convolution in one."""
        outputs, inner = (2 * kernel ** 2, kernel ** 2), self.d["birefnet_inner"]
        parts = [[self.expect(self.source.take(f"{module}{name}.{part}"), (n, *rest))
                  for name, n in zip(("offset_conv", "modulator_conv"), outputs)]
                 for part, rest in (("weight", (inner, kernel, kernel)), ("bias", ()))]
        return tuple(
            Weight((sum(outputs), *pair[0].shape[1:]),
                   lambda pair=pair: np.concatenate([one.load() for one in pair]), pair[0].origin)
            for pair in parts)

    def patches(self, module, grid):
        """A convolution of grid x grid patches as channels, in this version's order: patch by patch
        of a row, each with its planes."""
        weight, bias = self.layer(module)
        self.expect(weight, (self.d["birefnet_patches"], 3 * grid * grid, 3, 3))

        def reorder(x):
            if self.order == "rows":            # plane, row, column
                x = x.reshape(len(x), 3, grid, grid, 9).transpose(0, 2, 3, 1, 4)
            else:                               # column, row, plane
                x = x.reshape(len(x), grid, grid, 3, 9).transpose(0, 2, 1, 3, 4)
            return x.reshape(weight.shape)

        return weight.map(weight.shape, reorder), bias

    def ends(self):
        """The last layers, each in one with the linear layers before it: a tap of a convolution is
        an output. Constants belong to the middle tap of the image's, which no pixel lacks."""
        d = self.d
        c, inner = birefnet_widths(d)[0], d["birefnet_inner"]
        width, planes = c // 2, c // 8
        share = self.expect(self.source.take("decoder.conv_out1.0.weight"),
                            (1, width + planes, 1, 1))
        constant = self.expect(self.source.take("decoder.conv_out1.0.bias"), (1,))
        last = self.normed("decoder.decoder_block1.conv_out", "decoder.decoder_block1.bn_out")
        self.expect(last[0], (width, inner, 3, 3))
        first = self.layer("decoder.ipt_blk1.conv1")
        second = self.layer("decoder.ipt_blk1.conv_out")
        self.expect(first[0], (d["birefnet_patches"], 3, 3, 3))
        self.expect(first[1], (d["birefnet_patches"],))
        self.expect(second[0], (planes, d["birefnet_patches"], 3, 3))
        self.expect(second[1], (planes,))

        def double(weight):
            return weight.load().astype(np.float64)

        def shares():
            whole = double(share).reshape(-1)
            return whole[:width], whole[width:]

        def out():
            return np.einsum("o,oiyx->yxi", shares()[0], double(last[0])).reshape(9, inner, 1, 1)

        def taps():
            return np.einsum("o,ojyx->yxj", shares()[1], double(second[0])).reshape(9, -1)

        def image():
            return np.einsum("tj,jcyx->tcyx", taps(), double(first[0]))

        def bias():
            sums = taps() @ double(first[1])
            sums[4] += (shares()[0] @ double(last[1]) + shares()[1] @ double(second[1])
                        + double(constant)[0])
            return sums

        layers = {"out": (Weight((9, inner, 1, 1), out, share.origin), None),
                  "image": (Weight((9, 3, 3, 3), image, share.origin),
                            Weight((9,), bias, constant.origin))}
        self.ends = lambda: layers
        return layers
