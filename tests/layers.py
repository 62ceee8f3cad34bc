"""Layer by layer against tools/models.py in float64: small models with random weights.

And tools/models.py itself against what the authors' code made of the golden cases.
A model is laid bare by silencing the layers that are not meant: weights of zero, so that a block
adds nothing and a convolution ignores an input. Errors are max |difference| / max |value|.
"""

import json
import re
import subprocess
import sys

import numpy
import pytest
import torch

from conftest import GOLDEN, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import models  # noqa: E402
from swinblob import checkpoint  # noqa: E402

TOLERANCE = 5e-6
ORIGINAL = sorted(path.parent.name for path in GOLDEN.glob("*/case.json")
                  if path.parent.name.startswith(("seg-", "fam-ms-"))
                  and "upstream" not in json.loads(path.read_text()).get("key_names", ""))

ATTENTION = (r"\.attn\.proj\.",)            # silent: no block adds its attention
MLP = (r"\.mlp\.fc2\.",)
BLOCKS = ATTENTION + MLP
SMALL = dict(embed_dim=12, depths=[1], num_heads=[2], window=3, mlp_ratio=2)
GLAM = dict(SMALL, tokens=3, pe_rows=[600], opti=True)
WIDE = dict(SMALL, embed_dim=32, depths=[1, 1, 1], num_heads=[1, 2, 4])
UPER = dict(type="UPerHead", channels=8, classes=7, pool_scales=[1, 2, 3, 6], in_index=[0, 1, 2])
FCN = dict(type="FCNHead", channels=8, classes=5, in_index=[0])

# name: backbone, head, silent layers, sizes (height, width)
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
                                [(64, 64), (67, 90)]),
    "convolutions by Winograd, with the input": (WIDE, dict(FCN, channels=32), (),
                                                 [(64, 68), (70, 131)]),
    "convolutions by Winograd in strips": (
        dict(SMALL, embed_dim=320), dict(FCN, channels=320), (), [(64, 68)]),
    "convolution by Winograd in strips and blocks": (
        dict(SMALL, embed_dim=448), dict(FCN, channels=448, num_convs=1, concat_input=False), (),
        [(180, 190)]),
    "pools": (SMALL, dict(UPER, in_index=[0]), (), [(32, 32), (50, 9), (1, 1)]),
    "pools by Winograd": (WIDE, dict(UPER, in_index=[0], channels=32), (),
                                   [(64, 64), (83, 66)]),
    "pyramid by taps": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]), UPER, (),
                        [(64, 64), (45, 70), (1, 9)]),
    "pyramid, other pools": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]),
                             dict(UPER, pool_scales=[1, 4, 5], in_index=[0, 2]), (),
                             [(64, 48), (33, 77)]),
    "pyramid, aligned corners": (dict(SMALL, depths=[1, 1, 1], num_heads=[1, 2, 2]),
                                 dict(UPER, align_corners=True), (), [(64, 64), (45, 70), (4, 4)]),
    "pyramid by Winograd and taps": (WIDE, dict(UPER, channels=32), (), [(64, 64), (99, 70)]),
    "pyramid by Winograd and taps, aligned": (WIDE, dict(UPER, channels=64, align_corners=True), (),
                                              [(96, 72), (65, 127)]),
    "all together": (dict(GLAM, embed_dim=32, depths=[2, 2, 3, 2], num_heads=[1, 2, 4, 8],
                          pe_rows=[900, 300, 150, 60]),
                     dict(UPER, channels=48, in_index=[0, 1, 2, 3]), (), [(96, 96), (75, 118)]),
}


def spread(model, silent):
    """Weights that keep the size of what passes through, silent layers of zero."""
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(("relative_position_index", "num_batches_tracked")):
            continue
        if any(re.search(pattern, name) for pattern in silent):
            x.data.zero_()
        elif x.ndim == 1 and "bias" not in name and "mean" not in name:
            x.data.uniform_(0.5, 1.5)               # norms' weights and variances
        elif x.ndim in (2, 4) and name.endswith("weight"):
            gain = 0.7 if "gt_attn" in name else 1.4    # nothing normalises tokens: keep them small
            x.data.normal_(0, gain / x[0].numel() ** 0.5)
        else:
            x.data.normal_(0, 0.5)                  # biases, tables, tokens, positions


@pytest.fixture(scope="module")
def make(convert, tmp_path_factory):
    """make(backbone, head, silent): the model in PyTorch, and its converted file."""
    def model(backbone, head, silent):
        torch.manual_seed(len(str((backbone, head))))
        outputs = backbone.get("out_indices", range(len(backbone["depths"])))
        reference = models.Segmentor(dict(backbone, out_indices=outputs), head).eval()
        spread(reference, silent)
        checkpoint = tmp_path_factory.mktemp("layers") / "checkpoint.pth"
        torch.save({"state_dict": reference.state_dict()}, checkpoint)
        options = ["--align-corners"] if head and head.get("align_corners") else []
        if head and "pool_scales" in head:
            options += ["--pool-scales", ",".join(map(str, head["pool_scales"]))]
        return reference.double(), convert(checkpoint, *options)

    return model


def error(got, expected):
    assert got.shape == expected.shape and numpy.isfinite(got).all()
    return abs(got - expected).max() / abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_layer(name, make, tmp_path):
    backbone, head, silent, sizes = CASES[name]
    reference, converted = make(backbone, head, silent)
    for height, width in sizes:
        image = torch.randn(1, 3, height, width)
        numpy.save(tmp_path / "in.npy", image[0].numpy())
        subprocess.run([ROOT / "build/tensor", converted, tmp_path / "in.npy", tmp_path / "out",
                        "--threads", "1"], check=True, capture_output=True, timeout=600)
        with torch.no_grad():
            features, logits = reference(image.double())
        expected = {f"feature{i}": x for i, x in zip(reference.backbone.out_indices, features)}
        if head:
            expected["logits"] = logits
        for output, x in expected.items():
            got = numpy.load(tmp_path / f"out.{output}.npy")
            assert error(got, x[0].numpy()) <= TOLERANCE, (output, height, width)


@pytest.mark.parametrize("name", ORIGINAL)
def test_models_are_the_originals(name):
    """Stored float32 outputs against the model in float64: the originals' own rounding remains."""
    case = GOLDEN / name
    about = json.loads((case / "case.json").read_text())
    options = {key: about["config"][key] for key in ("pool_scales", "align_corners")
               if key in about["config"] and about["config"]["head"] in ("UPerHead", "PSPHead")}
    tensors = checkpoint.read(str(case / about.get("checkpoint", "checkpoint.pth"))).tensors
    model = models.from_state_dict({key: torch.from_numpy(x.read().astype("float32"))
                                    for key, x in tensors.items()}, **options).double()
    for source in case.glob("input-*.npy"):
        number = source.stem.split("-")[1]
        with torch.no_grad():
            features, logits = model(torch.from_numpy(numpy.load(source))[None].double())
        got = {f"feature{i}": x for i, x in enumerate(features)}
        if logits is not None:
            got["logits"] = logits
        for output, x in got.items():
            expected = numpy.load(case / f"{output}-{number}.npy").astype(float)
            assert error(x[0].numpy(), expected) <= 4e-5, (output, source.name)
