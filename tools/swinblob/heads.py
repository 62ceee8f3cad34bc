"""The kinds of heads: what each reads and gives, demands of a description, and has for tensors.

To add one: its name in records.Head, its fields in records.HEAD, and below a row in HEADS with a
function that yields its tensors, in the order of the blob, and one that checks its fields. A family
then reads its checkpoints (families/decode_heads.py has those of mmseg).
"""

from .forms import (ROWS, Convolution, ExactConvolution, FloatConvolution, Matrix, SplitConvolution,
                    Spec, Vector, convolution, gate, heads_in, heads_out, linear, norm)
from .records import MAX_STAGES, Body, Head, Mode, need

NOTHING, ONE, SOME, LAST = range(4)     # which features a head reads
SCSE_SHARE, GROUPS = 16, 32             # the share of channels inside scSE; groups of GroupNorm
PIXELS, SCORES = 1, 2                   # whose classes a head gives, or NOTHING


def head_features(d):
    """Indices of the features that the head reads."""
    return [i for i in range(len(d["width"])) if d["head_inputs"] >> i & 1]


def head_widths(d):
    """Channels of the features that the head reads."""
    return [d["width"][i] for i in head_features(d)]


# Tensors ------------------------------------------------------------------------------------------

def classify(d, inputs):
    yield from convolution("head.classify", d["classes"], inputs, 1)


def pyramid_top(d):
    ch, pools, C = d["head_channels"], d["pool_count"], head_widths(d)[-1]
    for p in range(pools):
        yield from convolution(f"head.pool{p}", ch, C, 1)
    yield from convolution("head.bottleneck", ch, C + pools * ch, 3)


def uper(d):
    ch, widths = d["head_channels"], head_widths(d)
    yield from pyramid_top(d)
    for l, C in enumerate(widths[:-1]):
        yield from convolution(f"head.lateral{l}", ch, C, 1)
    for l in range(len(widths) - 1):
        yield from convolution(f"head.fpn{l}", ch, ch, 3)
    yield from convolution("head.fuse", ch, len(widths) * ch, 3)
    yield from classify(d, ch)


def psp(d):
    yield from pyramid_top(d)
    yield from classify(d, d["head_channels"])


def fcn(d):
    ch, k, (C,) = d["head_channels"], d["conv_kernel"], head_widths(d)
    for n in range(d["convs"]):
        yield from convolution(f"head.conv{n}", ch, ch if n else C, k)
    if d["conv_concat"]:
        yield from convolution("head.cat", ch, C + ch, k)
    yield from classify(d, ch if d["convs"] else C)


def fpn(d):
    ch, neck, widths = d["head_channels"], d["neck_channels"], head_widths(d)
    for l, C in enumerate(widths):
        yield from convolution(f"neck.lateral{l}", neck, C, 1)
    for l in range(len(widths)):
        yield from convolution(f"neck.fpn{l}", neck, neck, 3)
    for l in range(len(widths)):
        for n in range(d["neck_convs"][l]):
            yield from convolution(f"head.scale{l}.conv{n}", ch, ch if n else neck, 3)
    yield from classify(d, ch)


def segformer(d):
    ch, widths = d["head_channels"], head_widths(d)
    for l, C in enumerate(widths):
        yield from convolution(f"head.lateral{l}", ch, C, 1)
    yield from convolution("head.fuse", ch, len(widths) * ch, 1)
    yield from classify(d, ch)


def merged_segformer(d):
    ch = d["head_channels"]
    for l, C in enumerate(head_widths(d)):
        yield Spec(f"head.lateral{l}.weight", Convolution(ch, C, 1))
        if l == 0:
            yield Spec("head.lateral0.bias", Vector(ch))
    yield from classify(d, ch)


def classifier(d):
    yield from linear("head.classify", d["classes"], d["width"][-1])


def unet(d):
    E = d["width"][0]
    yield from norm("final.norm", E)
    yield from norm("final.expand.norm", E)
    yield from linear("final.expand", 16 * E, E, bias=False)
    yield Spec("head.classify.weight", Convolution(d["classes"], E, 1))


def smp_inputs(d, i):
    """Channels that block i of SMP's Unet reads."""
    skip = len(d["width"]) - 2 - i
    return ((d["decoder_width"][i - 1] if i else d["width"][-1])
            + (d["width"][skip] if skip >= 0 else 0))


def scse(name, C):
    yield from convolution(name + ".reduce", C // SCSE_SHARE, C, 1)
    yield from convolution(name + ".restore", C, C // SCSE_SHARE, 1)
    yield from gate(name + ".pixel", C)


def smp_unet(d):
    stages = len(d["width"])
    for i in range(stages + 1):
        block, ch, inputs = f"head.block{i}", d["decoder_width"][i], smp_inputs(d, i)
        if d["decoder_scse"] and i < stages:
            yield from scse(block + ".attend1", inputs)
        yield from convolution(block + ".conv1", ch, inputs, 3)
        yield from convolution(block + ".conv2", ch, ch, 3)
        if d["decoder_scse"]:
            yield from scse(block + ".attend2", ch)
    yield from convolution("head.classify", d["classes"], d["head_channels"], 3)


def smp_fpn(d):
    ch, neck, widths = d["head_channels"], d["neck_channels"], head_widths(d)
    for l, C in enumerate(widths):
        yield from convolution(f"neck.lateral{l}", neck, C, 1)
    for l in range(len(widths)):
        for n in range(d["neck_convs"][l]):
            yield from convolution(f"head.scale{l}.conv{n}", ch, ch if n else neck, 3)
            yield from norm(f"head.scale{l}.norm{n}", ch)
    yield from classify(d, len(widths) * ch if d["decoder_concat"] else ch)


# Tensors of heads with queries: MaskFormer, Mask2Former, OneFormer

LEVELS = range(3)                       # that queries attend to, coarse to fine
POINTS = 4                              # that a head of deformable attention samples in a level


def normed_convolution(name, outputs, inputs, k, bias=False):
    """A convolution and the GroupNorm after it."""
    yield Spec(name + ".weight", Convolution(outputs, inputs, k))
    if bias:
        yield from [*convolution(name, outputs, inputs, k)][1:]
    yield from norm(name + ".norm", outputs)


def rows(name, count, n):
    yield Spec(name, Matrix(count, n, ROWS))


def attention(name, width, heads):
    for part in ("q", "k", "v"):
        yield from heads_in(f"{name}.{part}", 1, width, width, heads, query=part == "q")
    yield from heads_out(name + ".proj", width, width, heads)


def feed_forward(name, width, hidden, number):
    """A feed-forward network and the norm after it, number `number` of its layer."""
    yield from linear(name + ".fc1", hidden, width)
    yield from linear(name + ".fc2", width, hidden)
    yield from norm(f"{name}.norm{number}", width)


def query_layers(name, count, d, hidden, order):
    """Layers of a decoder, with attentions in this order."""
    for i in range(count):
        layer = f"{name}.layer{i}"
        for number, part in enumerate(order, 1):
            yield from attention(f"{layer}.{part}", d["query_width"], d["query_heads"])
            yield from norm(f"{layer}.norm{number}", d["query_width"])
        yield from feed_forward(layer, d["query_width"], hidden, 3)


def query_results(d):
    D = d["query_width"]
    yield from norm("head.decoder.norm", D)
    yield from linear("head.mask_embed.fc1", D, D)
    yield from linear("head.mask_embed.fc2", D, D)
    yield from linear("head.mask_embed.fc3", d["query_masks"], D)
    yield from linear("head.classify", d["classes"] + 1, D)


def pixel_level(d, level):
    """The lateral and the output convolution of a level that is the sum of two."""
    Cf = d["head_channels"]
    yield from normed_convolution(f"head.pixel.lateral{level}", Cf, head_widths(d)[level], 1)
    yield from normed_convolution(f"head.pixel.out{level}", Cf, Cf, 3)


def maskformer(d):
    Cf, D, widths = d["head_channels"], d["query_width"], head_widths(d)
    yield from normed_convolution("head.pixel.stem", Cf, widths[-1], 3)
    for level in reversed(range(len(widths) - 1)):
        yield from pixel_level(d, level)
    yield from convolution("head.pixel.mask", d["query_masks"], Cf, 3)
    yield from rows("head.query.embed", d["query_count"], D)
    if d["query_projected"]:
        yield from convolution("head.query.project", D, widths[-1], 1)
    yield from query_layers("head.decoder", d["query_layers"], d, d["query_hidden"],
                            ("self", "cross"))
    yield from query_results(d)


def deformable_pixels(d):
    """Multi-scale deformable attention over three levels, and the fourth beside it."""
    Cf, heads = d["head_channels"], d["query_pixel_heads"]
    samples = len(LEVELS) * POINTS
    for level in LEVELS:
        yield from normed_convolution(f"head.pixel.project{level}", Cf,
                                      head_widths(d)[-1 - level], 1, bias=True)
    yield from rows("head.pixel.levels", len(LEVELS), Cf)
    for i in range(d["query_pixel_layers"]):
        layer = f"head.pixel.layer{i}"
        yield from linear(layer + ".offsets", 2 * samples * heads, Cf)
        yield from heads_in(layer + ".weights", 1, samples * heads, Cf, heads, query=False)
        yield from heads_in(layer + ".value", 1, Cf, Cf, heads, query=False)
        yield from heads_out(layer + ".proj", Cf, Cf, heads)
        yield from norm(layer + ".norm1", Cf)
        yield from feed_forward(layer, Cf, d["query_pixel_hidden"], 2)
    yield from pixel_level(d, 0)
    yield from convolution("head.pixel.mask", d["query_masks"], Cf, 1)


def masked_decoder(d):
    D = d["query_width"]
    for level in LEVELS if d["query_projected"] else ():
        yield from convolution(f"head.query.project{level}", D, d["head_channels"], 1)
    yield from rows("head.query.levels", len(LEVELS), D)
    yield from query_layers("head.decoder", d["query_layers"], d, d["query_hidden"],
                            ("cross", "self"))
    yield from query_results(d)


def mask2former(d):
    yield from deformable_pixels(d)
    yield from rows("head.query.embed", d["query_count"], d["query_width"])
    yield from rows("head.query.start", d["query_count"], d["query_width"])
    yield from masked_decoder(d)


def oneformer(d):
    D = d["query_width"]
    yield from deformable_pixels(d)
    yield from rows("head.query.embed", d["query_count"], D)
    yield from rows("head.query.task", 1, D)
    yield from convolution("head.query.input", D, d["head_channels"], 1)
    yield from query_layers("head.start", d["query_start_layers"], d, d["query_start_hidden"],
                            ("self", "cross"))
    yield from norm("head.start.norm", D)
    yield from masked_decoder(d)


def birefnet_widths(d):
    """Channels of BiRefNet's features: those of both passes of the backbone."""
    return [2 * C for C in d["width"]]


def birefnet_kernels(d):
    """Sides of the kernels of a pyramid's branches."""
    return [k for k in d["birefnet_kernel"] if k]


def birefnet_block(name, d, inputs, outputs):
    """A block of the decoder; outputs 0: without the convolution at its end."""
    inner, branch, kernels = d["birefnet_inner"], d["birefnet_branch"], birefnet_kernels(d)
    yield from convolution(name + ".conv_in", inner, inputs, 3)
    for b, k in enumerate(kernels):
        yield from convolution(f"{name}.branch{b}.offset", 3 * k * k, inner, k,
                               SplitConvolution if k > 3 else FloatConvolution)
        yield from convolution(f"{name}.branch{b}", branch, inner, k, FloatConvolution)
    yield from convolution(name + ".mean", branch, inner, 1, FloatConvolution)
    yield from convolution(name + ".fuse", inner, (len(kernels) + 1) * branch, 1, FloatConvolution)
    if outputs:
        yield from convolution(name + ".conv_out", outputs, inner, 3)


def birefnet(d):
    widths, last = birefnet_widths(d), len(d["width"]) - 1
    yield from birefnet_block("head.squeeze", d, sum(widths), widths[last])
    for l in range(last, -1, -1):
        grid, patches = 4 << l, widths[min(l + 1, last)] // 8
        if l < last:
            yield from convolution(f"head.lateral{l}", widths[l], widths[l], 1)
        yield from convolution(f"head.patches{l}", d["birefnet_patches"], 3 * grid * grid, 3)
        yield from convolution(f"head.patches{l}.out", patches, d["birefnet_patches"], 3)
        yield from birefnet_block(f"head.block{l}", d, widths[l] + patches,
                                  widths[l - 1] if l else 0)
        if l:
            yield from convolution(f"head.gate{l}", d["birefnet_gate"], widths[l - 1], 3)
            yield from gate(f"head.gate{l}.out", d["birefnet_gate"])
    yield Spec("head.out.weight", ExactConvolution(9, d["birefnet_inner"], 1))
    yield from convolution("head.image", 9, 3, 3, ExactConvolution)


# Checks -------------------------------------------------------------------------------------------

def check_pools(d):
    need(d["pool_count"], "pool_count is 0")
    need(all(d["pool_scale"][:d["pool_count"]]), "a pool_scale is 0")


def check_fcn(d):
    need(d["convs"] or not d["conv_concat"], "conv_concat without convs")
    need(d["conv_kernel"] % 2, f"conv_kernel is {d['conv_kernel']}, not odd")


def check_fpn(d):
    need(d["neck_channels"], "neck_channels is 0")
    need(all(d["neck_convs"][:len(head_features(d))]), "a level's neck_convs is 0")
    need(d["neck_convs"][0] == 1, "the finest level of FPNHead has one convolution")


def check_unet(d):
    need(d["body"] in (Body.UNET, Body.CROSS_UNET), "a Unet's head without a Unet")


def check_birefnet(d):
    need(d["body"] == Body.BIREFNET, "BiRefNet's decoder without its backbone")
    need(d["one_class"] and d["align_corners"],
         "BiRefNet has one class and keeps corners in resizes")
    for name in ("inner", "branch", "patches", "gate"):
        need(d["birefnet_" + name], f"{name} is 0 for BiRefNet's decoder")
    kernels = birefnet_kernels(d)
    need(kernels and kernels == d["birefnet_kernel"][:len(kernels)] and all(k % 2 for k in kernels),
         f"birefnet_kernel is {d['birefnet_kernel']}: odd sides, then zeros")


def check_smp_unet(d):
    stages, least = len(d["width"]), SCSE_SHARE if d["decoder_scse"] else 1
    need(d["head_inputs"] == (1 << stages) - 1, "SMP's Unet reads the features of all stages")
    need(stages < MAX_STAGES, f"{stages} stages are too many for SMP's Unet")
    need(min(d["decoder_width"][:stages + 1]) >= least,
         f"a block of SMP's Unet has fewer than {least} channels")
    need(not d["decoder_scse"] or d["width"][-1] >= SCSE_SHARE,
         f"scSE of fewer than {SCSE_SHARE} channels")
    need(d["head_channels"] == d["decoder_width"][stages],
         "head_channels are not those of the last block of SMP's Unet")


def check_smp_fpn(d):
    check_fpn(d)
    need(d["head_channels"] % GROUPS == 0,
         f"{d['head_channels']} channels do not make {GROUPS} groups")


def check_queries(d, deformable):
    """Refuses what a head with queries does not compute; deformable: its pixel decoder's kind."""
    D, Cf, heads = d["query_width"], d["head_channels"], d["query_heads"]
    need(len(head_features(d)) == 4, "a head with queries reads four features")
    for name in ("count", "width", "masks", "heads", "layers", "hidden"):
        need(d["query_" + name], f"query_{name} is 0")
    for name in ("heads", "layers", "hidden"):
        need(not d["query_pixel_" + name] == (not deformable),
             f"query_pixel_{name} is {d['query_pixel_' + name]}")
    need(D % 4 == 0, f"query_width is {D}, not a multiple of 4")
    need(D % heads == 0, f"{heads} heads do not divide queries of {D}")
    need(Cf % GROUPS == 0, f"head_channels is {Cf}, not a multiple of {GROUPS}")
    need(not deformable or Cf % d["query_pixel_heads"] == 0,
         f"{d['query_pixel_heads']} heads do not divide pixels of {Cf}")
    attended = Cf if deformable else head_widths(d)[-1]
    need(d["query_projected"] or attended == D,
         f"queries of {D} attend to pixels of {attended}, and nothing projects them")
    need(d["mode"] != Mode.SLIDE, "a head with queries does not slide")


def check_no_start(d):
    need(not d["query_start_layers"] and not d["query_start_hidden"],
         "layers that make queries without OneFormer")


def check_maskformer(d):
    check_queries(d, deformable=False)
    check_no_start(d)


def check_mask2former(d):
    check_queries(d, deformable=True)
    check_no_start(d)


def check_oneformer(d):
    check_queries(d, deformable=True)
    need(d["query_start_layers"] and d["query_start_hidden"], "no layers that make the queries")
    need(d["query_masks"] == d["head_channels"],
         f"query_masks is {d['query_masks']}, not {d['head_channels']}, for OneFormer")
    need(d["query_count"] > 1, "no query beside the task token")


# The kinds ----------------------------------------------------------------------------------------

class HeadKind:
    """name: for users; reads, gives: of the above; tensors, check: functions of a description."""

    def __init__(self, name, reads, gives, tensors=lambda d: (), check=lambda d: None):
        self.name, self.reads, self.gives = name, reads, gives
        self.tensors, self.check = tensors, check


HEADS = {
    Head.NONE: HeadKind("no head", NOTHING, NOTHING),
    Head.UPER: HeadKind("UPerHead", SOME, PIXELS, uper, check_pools),
    Head.FCN: HeadKind("FCNHead", ONE, PIXELS, fcn, check_fcn),
    Head.PSP: HeadKind("PSPHead", ONE, PIXELS, psp, check_pools),
    Head.FPN: HeadKind("FPNHead over an FPN neck", SOME, PIXELS, fpn, check_fpn),
    Head.SEGFORMER: HeadKind("SegformerHead", SOME, PIXELS, segformer),
    Head.GLAM_SEGFORMER: HeadKind("GLAM's SegFormerHead", SOME, PIXELS, segformer),
    Head.CLASSIFIER: HeadKind("a classifier", LAST, SCORES, classifier),
    Head.UNET: HeadKind("the Unet's own head", NOTHING, PIXELS, unet, check_unet),
    Head.SMP_UNET: HeadKind("SMP's Unet", SOME, PIXELS, smp_unet, check_smp_unet),
    Head.SMP_FPN: HeadKind("SMP's FPN", SOME, PIXELS, smp_fpn, check_smp_fpn),
    Head.MERGED_SEGFORMER: HeadKind("the SegFormer authors' head", SOME, PIXELS,
                                    merged_segformer),
    Head.MASKFORMER: HeadKind("MaskFormer", SOME, PIXELS, maskformer, check_maskformer),
    Head.MASK2FORMER: HeadKind("Mask2Former", SOME, PIXELS, mask2former, check_mask2former),
    Head.ONEFORMER: HeadKind("OneFormer", SOME, PIXELS, oneformer, check_oneformer),
    Head.BIREFNET: HeadKind("BiRefNet's decoder", NOTHING, PIXELS, birefnet, check_birefnet)}
