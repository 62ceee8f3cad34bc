"""Layer by layer against tools/models.py in float64: small models with random weights.

And tools/models.py itself against what the authors' code made of the golden cases.
A model is laid bare by silencing the layers that are not meant: weights of zero, so that a block
adds nothing and a convolution ignores an input. Errors are max |difference| / max |value|.
"""

import collections
import json
import re
import subprocess
import sys

import numpy
import pytest
import torch
from torch import nn

from conftest import BUILD, GOLDEN, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import models  # noqa: E402
from swinblob import checkpoint  # noqa: E402

TOLERANCE = 5e-6
COSINES = 5e-5                              # of Swin V2's attention: up to 100 times their rounding
WINOGRAD = 2e-5                             # its transforms magnify rounding
GATED = 1e-5                                # scSE's factors: PyTorch itself comes to 4e-6
DEFORMED = 3e-5                             # rounded offsets move what the next layers sample
ORIGINAL = sorted(path.parent.name for path in GOLDEN.glob("*/case.json")
                  if path.parent.name.startswith(("seg-", "fam-ms-"))
                  and not re.search("upstream|transformers|mmseg",
                                    json.loads(path.read_text()).get("key_names", ""))
                  and not re.search("former-(d2|hf)", path.parent.name)
                  and all(height == width for height, width in      # windows of models.py
                          json.loads(path.read_text())["config"].get("windows", [])))

ATTENTION = (r"\.attn\.proj\.",)            # silent: no block adds its attention
MLP = (r"\.mlp\.fc2\.",)
BLOCKS = ATTENTION + MLP
SMALL = dict(embed_dim=12, depths=[1], num_heads=[2], window=3, mlp_ratio=2)
GLAM = dict(SMALL, tokens=3, pe_rows=[600], opti=True)
WIDE = dict(SMALL, embed_dim=32, depths=[1, 1, 1], num_heads=[1, 2, 4])
UPER = dict(type="UPerHead", channels=8, classes=7, pool_scales=[1, 2, 3, 6], in_index=[0, 1, 2])
FCN = dict(type="FCNHead", channels=8, classes=5, in_index=[0])

PSP = dict(type="PSPHead", channels=8, classes=6, in_index=[0])
FOUR = dict(SMALL, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4])
LEVELS = dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2])
ALL = dict(channels=8, classes=6, in_index=[0, 1, 2])
MIT = dict(embed_dim=[12, 24, 36], depths=[1, 1, 1], num_heads=[1, 2, 3], reductions=[4, 2, 1],
           kernels=[7, 3, 5], strides=[4, 2, 2], hidden=[24, 30, 56], out_indices=[0, 1, 2])
WIDE_MIT = dict(MIT, embed_dim=[64, 128, 192], hidden=[256, 300, 520])
UNET = dict(SMALL, embed_dim=16, depths=[2, 1, 2], num_heads=[1, 2, 2])
GLAM_UNET = dict(UNET, tokens=3, pe_rows=[600, 400, 400])
OFFICIAL = dict(embed_dim=16, depths=[2, 2], num_heads=[2, 2], window=4, mlp_ratio=2)
VERSION_2 = dict(OFFICIAL, version=2)

# silent: layers; sizes: (height, width)
Case = collections.namedtuple("Case", "backbone head silent sizes tolerance", defaults=[TOLERANCE])
CASES = {
    # the backbone
    "embed": (SMALL, None, BLOCKS, [(8, 8), (1, 1), (13, 30)]),
    "embed without norm": (dict(SMALL, patch_norm=False), None, BLOCKS, [(4, 9), (21, 2)]),
    "embed, patches of 2": (dict(SMALL, patch=2), None, BLOCKS, [(16, 16), (7, 5)]),
    "positions": (dict(SMALL, ape=6), None, BLOCKS, [(24, 24), (57, 33), (4, 4)]),
    "mlp": (SMALL, None, ATTENTION, [(16, 16), (5, 61)]),
    "mlp in chunks": (dict(SMALL, embed_dim=200, mlp_ratio=4.2), None, ATTENTION,
                      [(12, 12), (9, 1)]),
    "windows": (SMALL, None, MLP, [(24, 24), (30, 41), (4, 7)]),
    "windows, heads of 20": (dict(SMALL, embed_dim=40), None, MLP, [(36, 24), (25, 38)]),
    "windows without qkv bias": (dict(SMALL, qkv_bias=False), None, MLP, [(24, 24), (17, 5)]),
    "windows larger than the map": (dict(SMALL, window=7), None, MLP, [(9, 5), (1, 1), (28, 29)]),
    "shifted windows": (dict(SMALL, depths=[2]), None, MLP, [(24, 24), (30, 41), (8, 4)]),
    "shifted windows, even": (dict(SMALL, depths=[2], window=4), None, MLP, [(32, 32), (49, 70)]),
    "shifted windows larger than the map": (dict(SMALL, depths=[4], window=7), None, (),
                                            [(5, 9), (2, 2), (30, 27)]),
    "merging": (dict(SMALL, depths=[1, 1], num_heads=[2, 2]), None, BLOCKS,
                [(16, 16), (13, 20), (4, 3)]),
    "windows of each stage": (dict(SMALL, depths=[2, 2, 2], num_heads=[2, 3, 4], window=[5, 2, 3]),
                              None, (), [(64, 64), (45, 83), (7, 11)]),
    # so many that attention and MLP are one step each
    "many windows": (dict(SMALL, depths=[2], window=7), None, (), [(460, 472)]),
    "many windows with tokens": (dict(GLAM, depths=[3], window=7, pe_rows=[1800]), None, (),
                                 [(472, 460)]),
    "features 0 and 2": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 1, 2], out_indices=[0, 2]),
                         None, (), [(32, 40), (19, 6)]),
    # global tokens
    "tokens in windows": (GLAM, None, MLP, [(24, 24), (17, 38)]),
    "tokens mixed once": (dict(GLAM, depths=[2]), None, MLP, [(24, 24), (17, 38), (3, 3)]),
    "tokens mixed in blocks of keys": (dict(GLAM, depths=[3]), None, (), [(72, 84), (59, 131)]),
    "tokens, first layout": (dict(GLAM, depths=[2, 3], num_heads=[1, 2], pe_rows=[400, 300],
                                  opti=False), None, (), [(48, 48), (33, 70)]),
    "many tokens": (dict(GLAM, depths=[3], tokens=19, num_heads=[3]), None, (), [(20, 36), (5, 4)]),
    # heads: direct, taps and Winograd
    "classifier alone": (SMALL, dict(FCN, num_convs=0, channels=12, concat_input=False), (),
                         [(20, 20), (3, 50)]),
    "convolution": (SMALL, dict(FCN, num_convs=1, concat_input=False), (), [(32, 32), (9, 21)]),
    "convolutions of 5, with the input": (SMALL, dict(FCN, num_convs=3, kernel=5), (),
                                          [(32, 32), (2, 21)]),
    "convolution by Winograd": (WIDE, dict(FCN, channels=48, num_convs=1, concat_input=False), (),
                                [(64, 64), (67, 90), (72, 76), (80, 84), (12, 400), (1100, 4)],
                                WINOGRAD),
    "convolutions by Winograd, with the input": (WIDE, dict(FCN, channels=32), (),
                                                 [(64, 68), (70, 131)], WINOGRAD),
    "convolutions by Winograd in strips": (
        dict(SMALL, embed_dim=320), dict(FCN, channels=320), (), [(64, 68)], WINOGRAD),
    "convolution by Winograd in strips and blocks": (
        dict(SMALL, embed_dim=448), dict(FCN, channels=448, num_convs=1, concat_input=False), (),
        [(262, 270)], WINOGRAD),
    "pools": (SMALL, dict(UPER, in_index=[0]), (), [(32, 32), (50, 9), (1, 1)]),
    "pools by Winograd": (WIDE, dict(UPER, in_index=[0], channels=32), (),
                                   [(64, 64), (83, 66)], WINOGRAD),
    "pyramid by taps": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]), UPER, (),
                        [(64, 64), (45, 70), (1, 9)]),
    "pyramid, other pools": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]),
                             dict(UPER, pool_scales=[1, 4, 5], in_index=[0, 2]), (),
                             [(64, 48), (33, 77)]),
    "pyramid, aligned corners": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]),
                                 dict(UPER, align_corners=True), (), [(64, 64), (45, 70), (4, 4)]),
    "pyramid by Winograd and taps": (WIDE, dict(UPER, channels=32), (), [(64, 64), (99, 70)],
                                     WINOGRAD),
    "pyramid by Winograd, doubled": (WIDE, dict(UPER, channels=64, in_index=[0, 1]), (),
                                     [(64, 64), (72, 80), (88, 104), (16, 520), (8, 1032),
                                      (1032, 8), (120, 96)], WINOGRAD),
    "pyramid by Winograd, doubled in strips and blocks": (
        WIDE, dict(UPER, channels=448, in_index=[0, 1]), (), [(320, 960)], WINOGRAD),
    "pyramid by Winograd and taps, aligned": (WIDE, dict(UPER, channels=64, align_corners=True), (),
                                              [(96, 72), (65, 127)], WINOGRAD),
    "pooled alone": (SMALL, PSP, (), [(32, 32), (50, 9), (1, 1)]),
    "pooled alone, aligned corners": (LEVELS, dict(PSP, in_index=[2], pool_scales=[2, 3, 4, 7],
                                                   align_corners=True), (), [(64, 64), (45, 70)]),
    "neck and doublings": (LEVELS, dict(ALL, type="FPNHead", num_convs=[1, 1, 2], neck=12), (),
                           [(64, 64), (45, 83), (4, 4)]),
    "neck and doublings, aligned": (LEVELS, dict(ALL, type="FPNHead", num_convs=[1, 1, 2], neck=16,
                                                 align_corners=True), (), [(64, 48), (33, 77)]),
    "neck and doublings by Winograd": (WIDE, dict(ALL, type="FPNHead", num_convs=[1, 1, 2],
                                                  channels=32, neck=48), (),
                                       [(64, 64), (99, 70)], WINOGRAD),
    "levels fused": (LEVELS, dict(ALL, type="SegformerHead"), (), [(64, 64), (45, 70), (1, 9)]),
    "levels fused, aligned corners": (LEVELS, dict(ALL, type="SegformerHead", align_corners=True),
                                      (), [(64, 64), (45, 70)]),
    "levels fused, coarse to fine": (dict(LEVELS, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2]),
                                     dict(ALL, type="SegFormerHead", embedding=20,
                                          in_index=[0, 1, 2, 3]), (), [(64, 64), (45, 70), (4, 9)]),
    "all together": (dict(GLAM, embed_dim=32, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8],
                          pe_rows=[900, 300, 150, 60]),
                     dict(UPER, channels=48, in_index=[0, 1, 2, 3]), (), [(96, 96), (75, 118)]),
    # SegFormer's backbone and head
    "overlapping patches": (MIT, None, BLOCKS, [(32, 32), (17, 41), (13, 13)]),
    "overlapping patches, wide": (dict(WIDE_MIT, kernels=[11, 7, 3]), None,
                                  BLOCKS, [(64, 72), (29, 50), (13, 500)]),
    "reduced keys": (MIT, None, MLP, [(32, 32), (47, 53), (13, 90)]),
    "reduced keys, wide": (WIDE_MIT, None, MLP, [(64, 64), (300, 340)]),
    "keys of pixels": (dict(MIT, reductions=[1, 1, 1]), None, MLP, [(16, 16), (1, 1), (33, 50)]),
    "depthwise": (MIT, None, ATTENTION, [(32, 32), (13, 14), (45, 70)]),
    "depthwise by tiles": (WIDE_MIT, None, ATTENTION, [(260, 230), (500, 150)]),
    "levels merged": (MIT, dict(ALL, type="SegFormerHead", embedding=40), (),
                      [(64, 64), (45, 70)]),
    "SegFormer": (dict(WIDE_MIT, depths=[2, 1, 2]), dict(ALL, type="SegFormerHead", embedding=96),
                  (), [(64, 64), (45, 70), (260, 270)]),
    # stages as no released model has them
    "widths of their own": (dict(GLAM, embed_dim=[12, 20, 42], depths=[2, 1, 2],
                                 num_heads=[2, 1, 3], pe_rows=[900, 300, 150]),
                            UPER, (), [(64, 64), (45, 70)]),
    "widths that shrink": (dict(SMALL, embed_dim=[40, 24, 8], depths=[1, 2, 1],
                                num_heads=[2, 3, 1]), dict(ALL, type="SegformerHead"), (),
                           [(64, 64), (33, 50)]),
    "five stages": (dict(SMALL, depths=[1, 2, 1, 1, 2], num_heads=[1, 2, 2, 4, 4]),
                    dict(UPER, in_index=[0, 1, 2, 3, 4]), (), [(128, 96), (75, 118)]),
    "eight stages": (dict(SMALL, embed_dim=[8] * 7 + [12], depths=[1] * 8, num_heads=[1] * 8),
                     dict(FCN, in_index=[7]), (), [(96, 160), (512, 512)]),
}


# name: Swin-Unet, where its tensors lie, silent layers, sizes
UNETS = {
    "unet": (UNET, "glam", (), [(64, 64), (45, 83), (4, 4)]),
    "unet without blocks": (UNET, "glam", BLOCKS, [(48, 64), (33, 70)]),
    "unet, encoder and decoder apart": (dict(UNET, window=5), "apart", (), [(64, 64), (37, 50)]),
    "unet of one size": (dict(UNET, window=4, image=64, fixed=True), "hucao", (), [(64, 64)]),
    "unet of one size, windows to the end": (dict(UNET, window=4, image=128, fixed=True,
                                                  depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]),
                                             "hucao", (), [(128, 128)]),
    "unet with tokens": (GLAM_UNET, "glam", (), [(48, 48), (33, 70)]),
    "unet with tokens, last layout": (dict(GLAM_UNET, opti=True, window=4), "glam", (),
                                      [(64, 32), (45, 50)]),
    "unet with cross-attention": (dict(GLAM_UNET, cross=True), "glam", (),
                                  [(48, 48), (33, 70), (61, 29)]),
    "cross-attention alone": (dict(GLAM_UNET, cross=True, window=4, num_heads=[2, 4, 2]), "glam",
                              (r"layers\w*\.\d+\.blocks\.\d+\.(attn\.proj|mlp\.fc2)\.",),
                              [(64, 64), (30, 49)]),
    "unet with cross-attention, windows of 7": (
        dict(GLAM_UNET, cross=True, window=7, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8],
             pe_rows=[600, 400, 400, 400]), "glam", (), [(64, 64), (120, 75)]),
}

BIREFNET = dict(SMALL, embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4], inner=12,
                branch=20, patches=6, gate=5)

# name: BiRefNet, silent layers, sizes, tolerance
BIREFNETS = {
    "both passes": (BIREFNET, (), [(64, 96), (32, 32), (160, 64)], DEFORMED),
    "patches by columns, other kernels": (
        dict(BIREFNET, patch_order="columns", kernels=[3, 5], inner=16, window=4), (),
        [(96, 64), (32, 224)], DEFORMED),
    "offsets of zero": (BIREFNET, (r"\.offset_conv\.", r"\.modulator_conv\."), [(64, 64)],
                        TOLERANCE),
    "pictures alone": (BIREFNET, (r"lateral_block\d\.", r"squeeze_module\.0\.bn_out\."),
                       [(64, 64)], DEFORMED),
    "BiRefNet by Winograd": (dict(BIREFNET, embed_dim=64, inner=64, branch=48, patches=32, gate=16),
                             (), [(64, 96)], DEFORMED),
}

SMP = dict(FOUR, depths=[2, 2, 2, 1])
UNET_CHANNELS = dict(channels=(20, 18, 17, 16, 19))

# name: SMP's decoder, its options, the encoder, silent layers, sides, tolerance
SMP_MODELS = {
    "SMP's UPerNet": ("UPerNet", dict(channels=12), SMP, (), [64, 96]),
    "norms of features": ("UPerNet", dict(channels=12), SMP, BLOCKS, [64]),
    "rolled before padded": ("UPerNet", dict(channels=8), dict(SMP, window=5), MLP, [64, 96]),
    "SMP's UPerNet, three stages": (
        "UPerNet", dict(channels=12), dict(SMP, depths=[1, 2, 2], num_heads=[1, 2, 2]), (), [80]),
    "SMP's UPerNet by Winograd": ("UPerNet", dict(channels=64), dict(SMP, embed_dim=32), (), [96],
                                  WINOGRAD),
    "SMP's Segformer": ("Segformer", dict(channels=14), SMP, (), [64, 96]),
    "SMP's FPN": ("FPN", dict(pyramid=12, channels=64), SMP, (), [64, 96]),
    "SMP's FPN, levels side by side": (
        "FPN", dict(pyramid=32, channels=32, concat=True), dict(SMP, embed_dim=32), (), [96],
        WINOGRAD),
    "SMP's Unet": ("Unet", UNET_CHANNELS, SMP, (), [64, 72]),
    "SMP's Unet, scSE": ("Unet", dict(UNET_CHANNELS, scse=True), dict(SMP, embed_dim=16), (),
                         [64, 72], GATED),
}

# name: classifier, silent layers, sides
CLASSIFIERS = {
    "classifier": (OFFICIAL, (), [32, 64]),
    "classifier, windows larger than the map": (dict(OFFICIAL, window=7), (), [16, 24]),
    "classifier with positions, without biases": (
        dict(OFFICIAL, ape=16, qkv_bias=False, patch_norm=False), (), [64]),
    "classifier, three stages": (
        dict(OFFICIAL, embed_dim=24, depths=[2, 1, 2], num_heads=[2, 3, 4], window=5), (), [80]),
    "cosine attention": (dict(VERSION_2, depths=[2, 1]), (r"\.norm2\.",), [32, 64]),
    "cosine attention, shifted": (dict(VERSION_2, num_heads=[1, 4]), (r"\.norm2\.",), [64, 96]),
    "norms after layers": (VERSION_2, (r"\.norm1\.",), [32, 64]),
    "norm after merging": (VERSION_2, (r"\.norm[12]\.",), [16, 32]),
    "cosine attention without biases": (dict(VERSION_2, qkv_bias=False), (), [64]),
    "cosine attention in many windows": (
        dict(VERSION_2, window=7, depths=[2], num_heads=[2]), (), [448]),
    "norm after merging, widths of their own": (
        dict(VERSION_2, embed_dim=[16, 24, 20], depths=[1, 2, 1], num_heads=[1, 2, 4]), (), [64]),
    "other windows than before": (
        dict(VERSION_2, window=8, depths=[2, 2, 1], num_heads=[1, 2, 4], pretrained=[6, 6, 3]), (),
        [64, 128]),
}


def spread(model, silent):
    """Weights that keep the size of what passes through, silent layers of zero."""
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(models.DERIVED):
            continue
        if any(re.search(pattern, name) for pattern in silent):
            x.data.zero_()
        elif x.ndim == 1 and "bias" not in name and "mean" not in name:
            x.data.uniform_(0.5, 1.5)               # norms' weights and variances
        elif name.endswith("logit_scale"):
            x.data.uniform_(2, 4)
            x.data[0] = 5.2                         # beyond the clamp at ln 100
        elif x.ndim in (2, 4) and name.endswith("weight"):
            gain = 0.7 if "gt_attn" in name else 1.4    # nothing normalises tokens: keep them small
            x.data.normal_(0, gain / x[0].numel() ** 0.5)
        else:
            x.data.normal_(0, 0.5)                  # biases, tables, tokens, positions


@pytest.fixture(scope="module")
def make(convert, tmp_path_factory):
    """make(model, silent, names of its state, options...): in float64, and converted."""
    def made(model, silent, named=nn.Module.state_dict, *options):
        torch.manual_seed(sum(x.numel() for x in model.parameters()))
        spread(model.eval(), silent)
        checkpoint = tmp_path_factory.mktemp("layers") / "checkpoint.pth"
        torch.save({"state_dict": named(model)}, checkpoint)
        return model.double(), convert(checkpoint, *options)

    return made


def unet_names(style):
    """The names that HuCaoFighting/Swin-Unet and both kinds of GLAM's give the tensors."""
    def named(model):
        if style == "hucao":
            return model.state_dict(prefix="swin_unet.")
        if style == "glam":         # with mmsegmentation's own classifier, which nothing uses
            return {**model.state_dict(prefix="backbone.swin_unet."),
                    "decode_head.conv_seg.weight": torch.zeros(30, 8, 1, 1),
                    "decode_head.conv_seg.bias": torch.zeros(30)}
        decoder = ("layers_up.", "concat_back_dim.", "norm_up.", "up.", "output.")
        return {("decode_head." if name.startswith(decoder) else "backbone.") + name: x
                for name, x in model.state_dict().items()}

    return named


def compare(reference, converted, names, sizes, folder, tolerance=TOLERANCE):
    """`names`: what build/tensor calls the features and the logits."""
    for height, width in sizes:
        image = torch.randn(1, 3, height, width)
        numpy.save(folder / "in.npy", image[0].numpy())
        subprocess.run([BUILD / "tensor", converted, folder / "in.npy", folder / "out",
                        "--threads", "1"], check=True, capture_output=True, timeout=600)
        with torch.no_grad():
            features, logits = reference(image.double())
        outputs = features if logits is None else [*features, logits]
        for output, x in zip(names, outputs, strict=True):
            got = numpy.load(folder / f"out.{output}.npy")
            assert error(got, x[0].numpy()) <= tolerance, (output, height, width)


def error(got, expected):
    assert got.shape == expected.shape and numpy.isfinite(got).all()
    return abs(got - expected).max() / abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_layer(name, make, tmp_path):
    backbone, head, silent, sizes, tolerance = Case(*CASES[name])
    outputs = backbone.get("out_indices", range(len(backbone["depths"])))
    head, options = dict(head or {}), []
    if head.get("align_corners"):
        options += ["--align-corners"]
    if "pool_scales" in head:
        options += ["--pool-scales", ",".join(map(str, head["pool_scales"]))]
    model = models.Segmentor(dict(backbone, out_indices=outputs), neck=head.pop("neck", 0),
                             head=head)
    reference, converted = make(model, silent, nn.Module.state_dict, *options)
    names = [f"feature{i}" for i in outputs] + ["logits"] * bool(head)
    compare(reference, converted, names, sizes, tmp_path, tolerance)


# Heads with queries. In detectron2's files nothing tells their heads: MaskFormer has 8, the others
# as many as the pixel decoder.
DECODER = dict(queries=9, classes=5, heads=4, layers=4, hidden=20)
PIXELS = dict(heads=4, layers=2, hidden=40)
QUERIES = {
    "MaskFormer": dict(channels=32, masks=20, width=64, **{**DECODER, "heads": 8, "layers": 2}),
    "MaskFormer, projected": dict(channels=64, masks=20, width=24,
                                  **{**DECODER, "heads": 8, "layers": 2}),
    "Mask2Former": dict(channels=32, masks=24, width=32, pixels=PIXELS, **DECODER),
    "Mask2Former, projected": dict(channels=64, masks=24, width=20, pixels=PIXELS, **DECODER),
    "Mask2Former, 100 queries": dict(channels=32, masks=16, width=32, pixels=PIXELS,
                                     **{**DECODER, "queries": 100}),
    "OneFormer": dict(channels=32, masks=32, width=32, pixels=PIXELS, **DECODER),
}


@pytest.mark.parametrize("name", QUERIES)
def test_queries(name, make, tmp_path):
    """From float64 they differ by 1e-4 at most where no mask turns that guides the attention."""
    model = models.QuerySegmentor(name.split(",")[0], FOUR, **QUERIES[name])
    reference, converted = make(model, ())
    names = [f"feature{i}" for i in range(4)] + ["logits"]
    compare(reference, converted, names, [(64, 96), (45, 70)], tmp_path, 1e-4)


@pytest.mark.parametrize("name", UNETS)
def test_unet(name, make, tmp_path):
    backbone, style, silent, sizes = UNETS[name]
    reference, converted = make(models.SwinUnet(5, **backbone), silent, unet_names(style))
    names = [f"feature{i}" for i in range(len(backbone["depths"]))] + ["logits"]
    compare(reference, converted, names, sizes, tmp_path)


@pytest.mark.parametrize("name", BIREFNETS)
def test_birefnet(name, make, tmp_path):
    arguments, silent, sizes, tolerance = BIREFNETS[name]
    model = models.BiRefNet(**arguments)
    order = ["--patch-order", arguments.get("patch_order", "rows")]
    reference, converted = make(model, silent, nn.Module.state_dict, *order)
    compare(reference, converted, [f"feature{i}" for i in range(4)] + ["logits"], sizes, tmp_path,
            tolerance)


@pytest.mark.parametrize("name", SMP_MODELS)
def test_smp(name, make, tmp_path):
    decoder, head, encoder, silent, sides, *tolerance = SMP_MODELS[name]
    names = [f"feature{i}" for i in range(len(encoder["depths"]))] + ["logits"]
    for side in sides:
        model = models.SmpModel(5, decoder, head, image=side, **encoder)
        reference, converted = make(model, silent, nn.Module.state_dict,
                                    "--image-size", f"{side}x{side}")
        compare(reference, converted, names, [(side, side)], tmp_path, *tolerance)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name, make, tmp_path):
    backbone, silent, sides = CLASSIFIERS[name]
    for side in sides:
        backbone = dict(backbone, ape=side // 4 if backbone.get("ape") else 0)
        reference, converted = make(models.Classifier(7, side, **backbone), silent)
        names = [f"feature{i}" for i in range(len(backbone["depths"]))] + ["scores"]
        compare(reference, converted, names, [(side, side)], tmp_path,
                COSINES if backbone.get("version") == 2 else TOLERANCE)


@pytest.mark.parametrize("name", ORIGINAL)
def test_models_are_the_originals(name):
    """Stored float32 outputs against the model in float64: the originals' own rounding remains."""
    case = GOLDEN / name
    about = json.loads((case / "case.json").read_text())
    options = {key: about["config"][key] for key in ("pool_scales", "align_corners")
               if key in about["config"] and about["config"].get("head") in ("UPerHead", "PSPHead")}
    options |= {key: about["config"][key] for key in ("patch_order", "upsampling")
                if key in about["config"]}
    if name.startswith("seg-smp-"):
        options["image"] = about["config"]["img_size"][0]
    file = "" if (case / "config.json").exists() else about.get("checkpoint", "checkpoint.pth")
    tensors = checkpoint.read(str(case / file)).tensors
    model = models.from_state_dict({key: torch.from_numpy(x.read().astype("float32"))
                                    for key, x in tensors.items()}, **options).double()
    sources = sorted(case.glob("input-*.npy"))
    assert sources
    for source in sources:
        number = source.stem.split("-")[1]
        with torch.no_grad():
            features, logits = model(torch.from_numpy(numpy.load(source))[None].double())
        got = {f"feature{i}": x for i, x in enumerate(features)}
        if logits is not None:
            got["logits"] = logits
        for output, x in got.items():
            expected = numpy.load(case / f"{output}-{number}.npy").astype(float)
            assert error(x[0].numpy(), expected) <= 4e-5, (output, source.name)


@pytest.mark.parametrize("at", [(0, 0), (17, 9), (30, 25)])
@pytest.mark.parametrize("depth", [2, 3])
def test_attention_map(depth, at, make, tmp_path, monkeypatch):
    """The product of the three attentions, from the weights that the model in PyTorch computes."""
    calls = []

    def recorded(q, k, v, bias=None):
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = (scores if bias is None else scores + bias).softmax(-1)
        calls.append(weights[0].mean(-3))               # over the heads
        return weights @ v

    monkeypatch.setattr(models, "attention", recorded)
    backbone = dict(GLAM, depths=[depth], out_indices=[0])
    reference, converted = make(models.Segmentor(backbone, None), ())
    image = torch.randn(1, 3, 26, 31)
    with torch.no_grad():
        reference(image.double())
    mixed_from, mixed, last = calls[-3:]                # W-MSA, G-MSA, W-MSA

    rows, columns, window, tokens = 7, 8, SMALL["window"], GLAM["tokens"]
    pixels = torch.arange(rows * columns).reshape(1, rows, columns, 1)
    pixels = torch.nn.functional.pad(pixels, (0, 0, 0, -columns % window, 0, -rows % window),
                                     value=-1)

    def windows(block):
        shift = -(window // 2) * (block % 2)
        return models.partition(pixels.roll((shift, shift), (1, 2)), window)[0, :, :, 0]

    wanted = at[1] // 4 * columns + at[0] // 4
    k, i = (windows(depth - 1) == wanted).nonzero()[0].tolist()
    share = last[k, tokens + i, :tokens] @ mixed[k * tokens:(k + 1) * tokens]
    looks = torch.einsum("kt,ktn->kn", share.reshape(-1, tokens), mixed_from[:, :tokens, tokens:])
    expected = torch.zeros(rows * columns + 1).double()
    expected[windows(depth - 2)] = looks                # -1, the padding, goes to the last one

    numpy.save(tmp_path / "in.npy", image[0].numpy())
    subprocess.run([BUILD / "tensor", converted, tmp_path / "in.npy", tmp_path / "out",
                    "--attend", "%d,%d,0" % at], check=True, capture_output=True, timeout=600)
    got = numpy.load(tmp_path / "out.attention.npy")
    assert error(got, expected[:-1].reshape(1, rows, columns).numpy()) <= TOLERANCE
