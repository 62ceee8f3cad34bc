"""The converter: what it recognises and refuses, what meta and options tell, and the command."""

import ast
import json
import os
import subprocess
import sys
import time
import types
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from checkpoints import (DEEP, FCN, GLAM, ODD, SMALL, WIDTHS, File, backbone_state, fcn_state,
                         safetensors, uper_state, upstream_names)
from checkpoints.convert import (blob, canonical, checkpoint, convert_state, options, run, tool,
                                 write_small)
from checkpoints.families import hucao_state
from conftest import GOLDEN, ROOT, load_tool
from swinblob import heads
from swinblob.canonical import Refused
from swinblob.families import foreign, mmseg_config, mmseg_pictures
from swinblob.families.literals import UNKNOWN, parse
from swinblob.records import IMAGENET_MEAN, RECORDS, Body, Filter, Head, Mode, Resize


# Recognising and mapping --------------------------------------------------------------------------

def conv_bn(state, module, eps=1e-5):
    """Weight and bias of a folded convolution, straight from the definition, in float64."""
    part = {key: state[f"{module}.bn.{key}"].astype("f8")
            for key in ("weight", "bias", "running_mean", "running_var")}
    factor = part["weight"] / np.sqrt(part["running_var"] + eps)
    return (state[module + ".conv.weight"] * factor[:, None, None, None],
            part["bias"] - part["running_mean"] * factor)


def test_every_weight_of_upernet_arrives(tmp_path):
    write_small(tmp_path / "m.swin")
    read, checked = blob.read(tmp_path / "m.swin"), set()

    def same(name, value):
        checked.add(name)
        assert np.allclose(read.natural(name), value, rtol=3e-7, atol=1e-12), name

    def pair(name, source):
        for part in (".weight", ".bias"):
            same(name + part, SMALL[source + part])

    def folded(name, module):
        weight, bias = conv_bn(SMALL, module)
        same(name + ".weight", weight)
        same(name + ".bias", bias)

    pair("embed", "backbone.patch_embed.proj")
    pair("embed.norm", "backbone.patch_embed.norm")
    for i, depth in enumerate((2, 1)):
        for j in range(depth):
            ours, theirs = f"stage{i}.block{j}.", f"backbone.layers.{i}.blocks.{j}."
            for part in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                pair(ours + part, theirs + part)
            same(ours + "attn.bias", SMALL[theirs + "attn.relative_position_bias_table"])
        pair(f"stage{i}.norm", f"backbone.norm{i}")
    pair("stage0.merge.norm", "backbone.layers.0.downsample.norm")
    same("stage0.merge.weight", SMALL["backbone.layers.0.downsample.reduction.weight"])
    for p in range(4):
        folded(f"head.pool{p}", f"decode_head.psp_modules.{p}.1")
    folded("head.bottleneck", "decode_head.bottleneck")
    folded("head.lateral0", "decode_head.lateral_convs.0")
    folded("head.fpn0", "decode_head.fpn_convs.0")
    folded("head.fuse", "decode_head.fpn_bottleneck")
    pair("head.classify", "decode_head.conv_seg")
    assert checked == set(read.offsets)


def test_description_of_glam_and_fcn():
    d = convert_state(GLAM).description
    assert d["tokens"] == 1 and d["token_rows"] == [2025, 0]
    assert d["token_middle"] == [1012, 0] and d["head"] == Head.UPER
    assert d["depth"] == [2, 1] and d["shift_h"] == [1, 1] and d["window_w"] == [3, 3]
    d = convert_state(FCN).description
    assert d["head"] == Head.FCN and d["head_inputs"] == 2 and d["convs"] == 2
    assert d["conv_concat"] == 1 and d["conv_kernel"] == 3
    assert (d["position_h"], d["position_w"], d["position_rule"]) == (3, 4, 0)
    assert d["merge_norm"] and not d["patch_norm"] and not d["qkv_bias"]
    table = FCN["backbone.absolute_pos_embed"]
    position = convert_state(FCN).weights["embed.position"].load()
    assert (position[1 * 4 + 2] == table[0, :, 1, 2]).all()


@pytest.mark.parametrize("convs,concat,k", [(1, False, 3), (1, True, 1), (3, True, 5),
                                            (0, False, 3)])
def test_fcn_heads(convs, concat, k):
    ch = 8 if convs == 0 else 5
    model = convert_state({**backbone_state(), **fcn_state(ch=ch, convs=convs, concat=concat, k=k)})
    d = model.description
    assert (d["convs"], d["conv_concat"]) == (convs, int(concat))
    assert d["conv_kernel"] == (k if convs else 1) and d["head_inputs"] == 2


def test_convolutions_without_batch_norm():
    state = {name: a for name, a in SMALL.items() if ".bottleneck.bn." not in name}
    with pytest.raises(Refused, match="decode_head.bottleneck.conv.bias is missing"):
        convert_state(state)
    state["decode_head.bottleneck.conv.bias"] = np.arange(5, dtype="f4")
    model = convert_state(state)
    assert model.weights["head.bottleneck.bias"].load().tolist() == [0, 1, 2, 3, 4]
    both = {**SMALL, "decode_head.bottleneck.conv.bias": np.arange(5, dtype="f4")}
    weight, bias = conv_bn(SMALL, "decode_head.bottleneck")
    scale = weight[:, 0, 0, 0] / SMALL["decode_head.bottleneck.conv.weight"][:, 0, 0, 0]
    got = convert_state(both).weights["head.bottleneck.bias"].load()
    assert np.allclose(got, bias + np.arange(5) * scale, rtol=1e-6)


@pytest.mark.parametrize("features", [(0, 1), (1,), (0, 2), (0, 1, 2)])
def test_heads_on_any_features(features):
    state = {**backbone_state(depths=(1, 1, 1), heads=(1, 1, 1)), **uper_state(features=features)}
    for i in range(3):              # norms only of the features in use
        if i not in features:
            del state[f"backbone.norm{i}.weight"], state[f"backbone.norm{i}.bias"]
    d = convert_state(state).description
    assert heads.head_features(d) == list(features)
    assert d["feature_norms"] == d["head_inputs"] == sum(1 << i for i in features)


def test_upstream_names_are_the_same_model(tmp_path):
    for state in (SMALL, {**backbone_state(qkv_bias=False), **fcn_state()}):
        blobs = []
        for names in (state, upstream_names(state)):
            write_small(tmp_path / "m.swin", names)
            blobs.append((tmp_path / "m.swin").read_bytes())
        assert blobs[0] == blobs[1]


def test_upstream_positions_and_merging_without_norm():
    state = upstream_names(backbone_state(patch_norm=False))
    for part in ("weight", "bias"):
        del state[f"backbone.stages.0.downsample.norm.{part}"]
    table = np.arange(9 * 4, dtype="f4").reshape(1, 9, 4)
    model = convert_state({**state, "backbone.absolute_pos_embed": table})
    d = model.description
    assert d["qkv_bias"] and not d["patch_norm"] and not d["merge_norm"]
    assert (d["position_h"], d["position_w"], d["position_rule"]) == (3, 3, 1)
    assert (model.weights["embed.position"].load() == table[0]).all()
    for shape in ((1, 8, 4), (2, 9, 4)):
        with pytest.raises(Refused, match="absolute_pos_embed"):
            convert_state({**state, "backbone.absolute_pos_embed": np.zeros(shape, "f4")})


def test_backbones_alone_and_without_prefix():
    for state in (backbone_state(), backbone_state(tokens=2), upstream_names(backbone_state())):
        bare = {name[len("backbone."):]: a for name, a in state.items()}
        for names in (state, bare):
            d = convert_state(names).description
            assert d["head"] == Head.NONE and d["classes"] == 0 and d["feature_norms"] == 3


def test_both_layouts_of_glam_are_the_same_model(tmp_path):
    blobs = []
    for opti in (False, True):
        state = {**backbone_state(tokens=1), **uper_state()}
        if opti:
            state = {n: a for n, a in state.items()
                     if "0.blocks.1.gt_attn" not in n and "1.blocks.0.gt_attn" not in n}
        model = write_small(tmp_path / "m.swin", state)
        blobs.append((tmp_path / "m.swin").read_bytes())
        dropped = {what for what, _, _ in model.dropped}
        assert ("backbone.layers.0.blocks.1.gt_attn.*" in dropped) == (not opti)
        assert "backbone.layers.1.pe" in dropped
    assert blobs[0] == blobs[1]


def test_number_types_of_weights():
    half = {n: a.astype("f2") if a.dtype == "f4" else a for n, a in SMALL.items()}
    single = {n: a.astype("f4") if a.dtype == "f2" else a for n, a in half.items()}
    double = {n: a.astype("f8") if a.dtype == "f4" else a for n, a in single.items()}
    models = [convert_state(s) for s in (half, single, double)]
    for spec in canonical.tensors(models[0].description):
        first, *others = [m.matrix(spec) for m in models]
        assert first.dtype == np.float32 and all((first == other).all() for other in others)


# Refusing -----------------------------------------------------------------------------------------

OPTIONAL = ("relative_position_index", "num_batches_tracked", "auxiliary_head")


def broken(array, number):
    array = array.copy()
    array.reshape(-1)[-1] = number
    return array


DAMAGE = [
    lambda a: np.concatenate([a, a[:1]]), lambda a: a[..., None], lambda a: a[:0],
    lambda a: np.ones(a.shape, "i8"), lambda a: broken(a, np.nan), lambda a: broken(a, np.inf)]
ANY_LENGTH = "layers.0.pe"          # the only tensor of GLAM that may have more rows


@pytest.mark.parametrize("state", [SMALL, upstream_names(SMALL), GLAM, FCN],
                         ids=["swin", "upstream", "glam", "fcn"])
def test_every_missing_extra_or_damaged_tensor_is_refused(state):
    dead = ("layers.0.blocks.1.gt_attn", "layers.1.blocks.0.gt_attn", "layers.1.pe")
    for n, (name, array) in enumerate(state.items()):
        if any(part in name for part in (*OPTIONAL, *dead)):
            continue
        rest = {other: a for other, a in state.items() if other != name}
        if "absolute_pos_embed" not in name:
            with pytest.raises(Refused) as refusal:
                convert_state(rest)
            assert name in str(refusal.value)
        damages = [n % len(DAMAGE), (n + n // len(DAMAGE) + 1) % len(DAMAGE)]
        for damage in damages:
            if damage == 0 and name.endswith(ANY_LENGTH):
                continue
            with pytest.raises(Refused) as refusal:
                convert_state({**state, name: DAMAGE[damage](array)})
            assert damage < 3 or name in str(refusal.value)
        with pytest.raises(Refused) as refusal:
            convert_state({**rest, name + ".more": array, name: array})
        assert name + ".more" in str(refusal.value)


def test_refusals_name_the_tensor():
    def refuse(state, message, *arguments, **meta):
        with pytest.raises(Refused, match=message):
            convert_state(state, *arguments, **meta)

    def changed(**arrays):
        return {**SMALL, **{name.replace("__", "."): a for name, a in arrays.items()}}

    table = "backbone.layers.0.blocks.1.attn.relative_position_bias_table"
    refuse({**SMALL, table: np.ones((9, 1), "f4")}, table.replace(".", r"\."))
    table = table.replace("blocks.1", "blocks.0")
    for rows in (24, 36):
        refuse({**SMALL, table: np.ones((rows, 1), "f4")}, f"{rows} rows, which is no square")
    refuse({**SMALL, table: np.ones((25, 3), "f4")}, "3 heads do not divide 4 channels")
    refuse({**SMALL, "backbone.layers.0.blocks.7.norm1.weight": np.ones(4, "f4")}, "blocks.7.norm1")
    refuse(changed(backbone__patch_embed__proj__weight=np.ones((4, 1, 4, 4), "f4")), "1 planes")
    refuse(changed(backbone__patch_embed__proj__weight=np.ones((4, 3, 4, 2), "f4")), "4x2")
    refuse(changed(decode_head__bottleneck__bn__running_var=np.full(5, -1, "f4")),
           "running_var.*negative")
    refuse(changed(decode_head__bottleneck__bn__weight=np.ones(4, "f4")), "bn.weight has shape")
    refuse(changed(decode_head__conv_seg__weight=np.full((3, 5, 1, 1), 1e300)), "float32's range")
    refuse(changed(decode_head__lateral_convs__0__conv__weight=np.ones((5, 7, 1, 1), "f4")),
           "reads 7 channels")
    refuse({**backbone_state(), **uper_state(K=1)}, "one output")
    refuse({**backbone_state(), **fcn_state(ch=8, convs=0, concat=True)}, "conv_cat")
    refuse({**backbone_state(), **uper_state(features=(1, 0))}, "in the order")
    without = {n: a for n, a in backbone_state().items() if ".norm0" not in n and ".norm1." not in n
               or "blocks" in n}
    refuse(without, r"backbone\.norm\.weight is missing")
    refuse({**without, **uper_state()}, "norm0.weight and its like are missing")
    refuse({"x": np.ones(1, "f4")}, "no Swin or GLAM model")
    refuse(SMALL, "2 class names, but the model has 3 classes", CLASSES=["a", "b"])
    refuse(SMALL, "--heads", "--heads", "3,6")
    assert convert_state(SMALL, "--heads", "1,2").description["heads"][:2] == [1, 2]


PLAIN = "layers.0.blocks.0.attn.qkv.weight "
SEGMENTOR = "backbone." + PLAIN
UPSTREAM = "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight "
BIREFNET = "bb.layers.0.blocks.0.attn.qkv.weight decoder.decoder_block4.conv_in.weight "
REFINED = BIREFNET + "decoder.ipt_blk5.conv1.weight "
PIXELS = "sem_seg_head.pixel_decoder."
KNOWN = {                           # words of the refusal: names that call for it
    "swinv2_cr": "stages.0.blocks.0.attn.meta_mlp.fc1.weight",
    "Swin-MoE": "layers.2.blocks.1.mlp._moe_layer.experts.w1",
    "Swin-MLP": "layers.0.blocks.0.spatial_mlp.weight",
    "BiRefNet over another backbone": "decoder.decoder_block4.conv_in.weight",
    "early BiRefNet": BIREFNET,
    "ResBlk": REFINED + "decoder.decoder_block4.conv_resi.weight",
    "plain ASPP": REFINED + "decoder.decoder_block4.dec_att.aspp2.weight",
    "without a deformable ASPP": REFINED,
    "with a refiner": REFINED + "decoder.decoder_block4.dec_att.aspp_deforms.0.weight "
                      "refiner.conv.weight",
    "MaskDINO": PIXELS + "mask_features.weight sem_seg_head.predictor.label_enc.weight",
    "TransformerEncoderPixelDecoder":
        PIXELS + "transformer.encoder.layers.0.self_attn.in_proj_weight",
    "ENC_LAYERS": "sem_seg_head.predictor.transformer.encoder.layers.0.linear1.weight",
    "more than one level": PIXELS + "adapter_2.weight " + PIXELS + "transformer.level_embed",
    "features only": "pixel_level_module.encoder.embeddings.patch_embeddings.projection.weight",
    "over a timm backbone": "backbone._backbone.layers_0.blocks.0.attn.qkv.weight",
    "SwinUNETR": "swinViT.layers1.0.blocks.0.attn.qkv.weight",
    "MoBY variant": "encoder." + PLAIN + "encoder.layers.0.blocks.0.norm2.running_mean",
    "over Swin V2": SEGMENTOR + "backbone.norm0.weight "
                    "backbone.layers.0.blocks.0.attn.cpb_mlp.0.weight",
    "of a kind of its own": SEGMENTOR + "backbone.norm0.weight decode_head.pixel_decoder.mask_feature.weight",
    "K-Net": SEGMENTOR + "decode_head.kernel_update_head.0.attention.weight",
    "detector": SEGMENTOR + "roi_head.bbox_head.0.fc_cls.weight",
    "cascade": SEGMENTOR + "decode_head.0.conv_seg.weight",
    "DeepLab": SEGMENTOR + "decode_head.aspp_modules.0.conv.weight",
    "GroupNorm": SEGMENTOR + "decode_head.convs.0.gn.weight",
    "mmpretrain": UPSTREAM + "head.fc.weight",
}


@pytest.mark.parametrize("what", KNOWN)
def test_other_models_are_refused_by_name(what):
    with pytest.raises(Refused, match=what) as refusal:
        convert_state({name: np.ones(2, "f4") for name in KNOWN[what].split()})
    assert "this version does not take" in str(refusal.value)


def test_every_known_model_has_a_test():
    assert len(KNOWN) == len(foreign.FOREIGN)


def test_unknown_heads():
    with pytest.raises(Refused, match="decode_head.attention.query.weight"):
        convert_state({**FCN, "decode_head.attention.query.weight": np.ones(3, "f4")})
    with pytest.raises(Refused, match="decode_head.fpn_bottleneck"):
        convert_state({n: a for n, a in SMALL.items()
                       if not n.startswith("decode_head.fpn_bottleneck.conv")})


# What meta and options tell -----------------------------------------------------------------------

quick = settings(max_examples=60, deadline=None)

literals = st.recursive(
    st.none() | st.booleans() | st.integers(-10 ** 12, 10 ** 12)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(st.text(max_size=5) | st.integers(0, 99), inner, max_size=4), max_leaves=12)


@settings(quick, max_examples=30)
@given(literals)
def test_literals_are_read_as_python_reads_them(value):
    text = (f"# comment\nx = {value!r}\n"
            f"y = dict(\n    inner=x,  # 'quote\n    other=({value!r}, ),\n)\n")
    if ast.literal_eval(repr(value)) == value:
        assert parse(text) == {"x": value, "y": {"inner": value, "other": (value,)}}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="x=()[]{}'\",:1.e-+ndict*_\n\\#r ", max_size=80))
def test_no_text_upsets_the_parser(text):
    parse("x = " + text)
    mmseg_config.Told({"config": "model = dict(" + text + ")\nimg_norm_cfg = " + text})


def test_config_texts_are_never_evaluated(tmp_path):
    mark = tmp_path / "ran"
    text = f"""
a = open({str(mark)!r}, 'w')
b = [x for x in (1, 2)]
c = __import__('os').system('x')
d = dict(**a)
e = 'one' "two" '''three
''' r'\\d'
f = -(3)
g = f  # again
h = dict(a=1, **dict(b=2))
i = 1 + 1
j = {{'k': (1,), 2: [None]}}
k = lambda: 0
l == 3
m = [1 2]
n = torch.float
"""
    told = parse(text)
    assert not mark.exists()
    assert told["e"] == "onetwothree\n\\d" and told["g"] == -3 and told["h"] == {"a": 1, "b": 2}
    assert told["j"] == {"k": (1,), 2: [None]} and "l" not in told
    assert all(told[name] is UNKNOWN for name in "abcdikmn")
    assert parse("x = " + "[" * 100000)["x"] is UNKNOWN
    assert parse("x = " + "-" * 100000 + "1")["x"] is UNKNOWN


@pytest.mark.parametrize("text", ["#" * 60 + "@", "# " * 40 + "\n" * 60 + "@", "\\\n" * 60 + "@",
                                  "'''" + "\\a" * 60, "'" + "\\'" * 60, "1" * 25 + "e" * 60,
                                  "dict(" + "a=(" * 60])
def test_no_text_takes_the_parser_long(text):
    start = time.process_time()
    for repeat in (1, 100):
        parse("x = " + text * repeat)
    assert time.process_time() - start < 2


MODEL_TEXT = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='SwinTransformer', window_size=3),
    decode_head=dict(type='UPerHead', pool_scales=(1, 2, 4, 8), align_corners=True,
                     norm_cfg=dict(type='SyncBN', requires_grad=True)),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 8.0], to_rgb=%s)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(2048, 512), flip=%s,
         transforms=[dict(type='Resize', keep_ratio=%s), dict(type='RandomFlip'),
                     dict(type='Normalize', **img_norm_cfg), dict(type='Collect', keys=['img'])])]
data = dict(test=dict(type='ADE20KDataset', pipeline=test_pipeline))
"""


def test_meta_of_mmseg_0(tmp_path):
    meta = {"CLASSES": ("a", "b", "c"), "PALETTE": [[1, 2, 3], [4, 5, 6], [255, 0, 9]],
            "config": MODEL_TEXT % (True, False, True)}
    model = convert_state(SMALL, **meta)
    d = model.description
    assert model.class_names == ["a", "b", "c"] and model.class_colors[2] == (255, 0, 9)
    assert d["pool_scale"][:4] == [1, 2, 4, 8] and d["align_corners"] == 1
    assert d["mean"] == [1, 2, 3] and d["scale"] == [0.25, 0.2, 0.125] and d["bgr"] == 0
    assert (d["resize_rule"], d["resize_a"], d["resize_b"]) == (Resize.WITHIN, 2048, 512)
    assert d["mode"] == Mode.SLIDE
    assert (d["crop_h"], d["crop_w"], d["stride_h"], d["stride_w"]) == (512, 512, 341, 341)
    meta["config"] = MODEL_TEXT % (False, True, False)
    d = convert_state(SMALL, **meta).description
    assert d["mean"] == [3, 2, 1] and d["scale"] == [0.125, 0.2, 0.25] and d["bgr"] == 1
    assert (d["resize_rule"], d["resize_a"], d["resize_b"]) == (Resize.EXACT, 512, 2048)
    assert any("flips" in remark for remark in convert_state(SMALL, **meta).remarks)
    assert not any("flips" in remark for remark in model.remarks)


def test_meta_of_mmseg_1():
    text = """
data_preprocessor = dict(type='SegDataPreProcessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 8.0],
                         bgr_to_rgb=False, size=(512, 512))
model = dict(type='EncoderDecoder', data_preprocessor=data_preprocessor,
             backbone=dict(type='mmseg.SwinTransformer'), decode_head=dict(type='UPerHead'))
test_pipeline = [dict(type='LoadImageFromFile'),
                 dict(type='Resize', scale=(1024, 2048), keep_ratio=True),
                 dict(type='LoadAnnotations'), dict(type='Quirk'), dict(type='PackSegInputs')]
test_dataloader = dict(batch_size=1, dataset=dict(type='X', pipeline=test_pipeline))
"""
    dataset = {"classes": ["a", "b", "c"], "palette": None}
    model = convert_state(SMALL, cfg=text, dataset_meta=dataset)
    d = model.description
    assert d["mean"] == [3, 2, 1] and d["bgr"] == 1 and model.class_names == ["a", "b", "c"]
    assert (d["resize_rule"], d["resize_a"], d["resize_b"]) == (Resize.WITHIN, 2048, 1024)
    assert any("Quirk" in remark for remark in model.remarks)


def test_settings_of_our_own_training():
    text = json.dumps({"mean": [1, 2, 3], "std": [4, 5, 8], "model": {"head": {
        "type": "UPerHead", "pool_scales": [1, 2, 3, 4], "align_corners": True}}})
    d = convert_state(SMALL, config=text).description
    assert d["mean"] == [1, 2, 3] and d["align_corners"] == 1
    assert d["pool_scale"][:4] == [1, 2, 3, 4]
    assert convert_state(SMALL, config="{").description["mean"] == list(IMAGENET_MEAN)


def test_config_texts_that_contradict_the_names():
    def refuse(message, backbone="", head="", state=SMALL):
        text = f"model = dict(backbone=dict({backbone}), decode_head=dict({head}))"
        with pytest.raises(Refused, match=message):
            convert_state(state, config=text)

    refuse("backbone is a MixVisionTransformer", backbone="type='MixVisionTransformer'")
    refuse("qk_scale", backbone="type='SwinTransformer', qk_scale=0.3")
    refuse("strides", backbone="strides=(2, 2, 2, 2)")
    refuse("activation to ReLU", backbone="act_cfg=dict(type='ReLU')")
    refuse("norm eps", backbone="norm_cfg=dict(type='LN', eps=1e-6)")
    refuse("head is a CrossAttentionUPerHead", head="type='CrossAttentionUPerHead'")
    refuse("head is a UPerHead", head="type='UPerHead'", state=FCN)
    refuse("dilation", head="type='FCNHead', dilation=2", state=FCN)
    refuse("activation to Mish", head="act_cfg=dict(type='Mish')")
    refuse("interpolate_mode to nearest", head="interpolate_mode='nearest'")
    refuse("3 pool scales", head="pool_scales=(1, 2, 3)")
    usual = "model = dict(backbone=dict(type='SwinTransformer', strides=(4, 2, 2, 2)))"
    assert convert_state(SMALL, config=usual).description["shift_h"][:2] == [1, 1]
    no_shift = "model = dict(backbone=dict(type='NoSwinTransformerGTV8'))"
    assert convert_state(GLAM, config=no_shift).description["shift_h"] == [0, 0]
    text = "model = dict(decode_head=dict(norm_cfg=dict(type='BN', eps=0.001)))"
    got = convert_state(SMALL, config=text).weights["head.bottleneck.bias"].load()
    assert np.allclose(got, conv_bn(SMALL, "decode_head.bottleneck", eps=1e-3)[1], rtol=1e-6)


WORDS = ("model backbone decode_head type test_cfg mode slide crop_size pipeline transforms mean "
         "std to_rgb img_norm_cfg test_pipeline data test img_scale scale keep_ratio img_ratios "
         "flip norm_cfg eps act_cfg pool_scales align_corners ignore_index dilation strides "
         "qk_scale data_preprocessor test_dataloader dataset Normalize Resize UPerHead "
         "dataset_meta classes palette CLASSES PALETTE config cfg transforms scale_factor min_size "
         "interpolation backend to_float32 color_type size size_divisor bgr_to_rgb prob pad_val "
         "loss_decode use_sigmoid LoadImageFromFile Pad ResizeShortestEdge max_size RandomFlip "
         "PackSegInputs TestTimeAug MultiScaleFlipAug ImgDataPreprocessor").split()
odd_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 600) | st.floats(width=32) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=25)


odd_steps = odd_values | st.lists(st.builds(
    lambda kind, entries: {**entries, "type": kind}, st.sampled_from(sorted(mmseg_pictures.STEPS)),
    st.dictionaries(st.sampled_from([*mmseg_pictures.TELLING, "mean", "std", "transforms"]),
                    odd_values, max_size=4)), max_size=4)


DESCRIPTION = convert_state(SMALL).description


@settings(quick, max_examples=100)
@given(odd_values, odd_values, odd_values, odd_steps, st.none() | odd_values)
def test_no_meta_upsets_the_converter(classes, backbone, head, pipeline, preprocessor):
    text = (f"model = dict(backbone={backbone!r}, decode_head={head!r}, test_cfg={pipeline!r})\n"
            f"test_pipeline = [{pipeline!r}, {head!r}]\nimg_norm_cfg = {backbone!r}\n"
            + f"data_preprocessor = {preprocessor!r}\n" * (preprocessor is not None))
    for meta in ({"CLASSES": classes, "PALETTE": head, "config": text}, {"dataset_meta": classes}):
        told, model = mmseg_config.Told(meta), canonical.Model(dict(DESCRIPTION), "a test")
        try:
            told.check_backbone(model, mmseg_config.SWIN)
            told.check_cross_attention()
            told.check_head("UPerHead")
            told.apply(model, options())
        except Refused:
            continue
        assert 0 < told.batch_norm_eps < 1 and all(n > 0 for n in told.pool_scales or [])
        canonical.check(model.description)


def test_strange_metas_tell_nothing():
    text = """
model = dict(backbone=dict(type=3), decode_head=[dict(type='X')], test_cfg=1)
img_norm_cfg = dict(mean='x', std=[0, 0, 0])
test_pipeline = [1, dict(), [[]]]
"""
    for meta in ({"CLASSES": 7}, {"CLASSES": [1, 2, 3]}, {"PALETTE": [[1, 2], [3, 4], [5, 6]]},
                 {"PALETTE": [[1, 2, 300]] * 3}, {"config": 5}, {"dataset_meta": []},
                 {"cfg": "model = 3"}, {"config": text}):
        model = convert_state(SMALL, **meta)
        assert model.class_names == ["class 0", "class 1", "class 2"]
        assert model.description["mean"] == list(IMAGENET_MEAN)


def test_pool_scales():
    five = {**backbone_state(), **uper_state(pools=5)}
    with pytest.raises(Refused, match="--pool-scales"):
        convert_state(five)
    d = convert_state(five, "--pool-scales", "1,3,5,8,2").description
    assert d["pool_count"] == 5 and d["pool_scale"] == [1, 3, 5, 8, 2, 0, 0, 0]
    for scales in ("1,2,3", "1,2,3,65"):
        with pytest.raises(Refused, match="pool"):
            convert_state(SMALL, "--pool-scales", scales)
    with pytest.raises(Refused, match="at most 8"):
        nine = {**backbone_state(), **uper_state(pools=9)}
        convert_state(nine, "--pool-scales", "1,1,1,1,1,1,1,1,1")
    text = "model = dict(decode_head=dict(pool_scales=[1, 2, 3, 4]))"
    d = convert_state(SMALL, "--pool-scales", "1,2,3,5", config=text).description
    assert d["pool_scale"][3] == 5


def test_trimming_the_tokens_positions():
    pe = GLAM["backbone.layers.0.pe"]
    model = convert_state(GLAM, "--max-size", "50x30")
    d = model.description           # maps of 13x8 and 7x4, windows of 3: 5x3 and 3x2
    assert canonical.window_counts(d, 50, 30) == [15, 6]
    assert d["token_rows"][:2] == [15, 0] and d["token_middle"][:2] == [7, 0]
    kept, rows = model.weights["stage0.token_position"].load(), len(pe)
    for N in range(1, 16):          # the slice of the reference, out of the kept rows
        first, middle = rows // 2 - N // 2, d["token_middle"][0] - N // 2
        assert (kept[middle:middle + N] == pe[first:first + N]).all()
    assert any("2010 of 2025 rows" in what for what, _, _ in model.dropped)
    with pytest.raises(Refused, match="layers.0.pe has 2025 rows.* needs"):
        convert_state(GLAM, "--max-size", "2048x2048")
    deep = {**backbone_state(tokens=2, depths=(2, 3), opti=True), **uper_state()}
    d = convert_state(deep, "--max-size", "64x61").description
    assert d["token_rows"][:2] == [2 * 36, 2 * 9] and d["token_middle"][:2] == [36, 9]
    assert convert_state(deep).description["token_rows"][:2] == [90 ** 2, 45 ** 2]
    assert "no effect" in " ".join(convert_state(SMALL, "--max-size", "64x64").remarks)


def test_default_size_trims_long_tables():
    backbone = backbone_state(E=2, tokens=40, window=7, depths=(2, 1), heads=(1, 1))
    d = convert_state({**backbone, **uper_state(E=2)}).description
    assert d["token_rows"][0] == (-(-512 // 7)) ** 2 * 40 < (45 * 40) ** 2


def test_classes_and_palettes(tmp_path):
    names, full = tmp_path / "names.txt", tmp_path / "full.txt"
    names.write_text("one\n two words \n\nthree\n", encoding="utf-8")
    full.write_text("\ufeff#FF0001 rot\r\n#00ff00 grün\r\n#0000ff\tblau\r\n", encoding="utf-8")
    model = convert_state(SMALL, "--classes", names)
    assert model.class_names == ["one", "two words", "three"]
    assert len({tuple(c) for c in model.class_colors}) == 3
    model = convert_state(SMALL, "--classes", full)
    assert model.class_names == ["rot", "grün", "blau"] and model.class_colors[0] == (255, 0, 1)
    model = convert_state(SMALL, "--classes", names, "--palette", full, CLASSES=["x", "y", "z"])
    assert model.class_names[0] == "one" and model.class_colors[1] == (0, 255, 0)
    model = convert_state(SMALL, "--palette", full, CLASSES=["x", "y", "z"])
    assert model.class_names == ["x", "y", "z"]
    model = convert_state(SMALL, PALETTE=[[1, 2, 3]])
    assert len(model.class_colors) == 3 and "1 colours for 3" in " ".join(model.remarks)
    for bad in ("#ff0000\nname\n", "#ff0000 a\nb\n"):
        full.write_text(bad)
        with pytest.raises(Refused, match="lines have"):
            convert_state(SMALL, "--palette", full)
    with pytest.raises(Refused, match="no colours"):
        convert_state(SMALL, "--palette", names)
    names.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="UTF-8"):
        convert_state(SMALL, "--classes", names)
    with pytest.raises(Refused, match="19 .*3 classes"):
        convert_state(SMALL, "--palette", "cityscapes")
    for palette, count, name in (("ade20k", 150, "wall"), ("cityscapes", 19, "road"),
                                 ("voc", 21, "background")):
        model = convert_state({**backbone_state(), **uper_state(K=count)}, "--palette", palette)
        assert len(model.class_names) == count and model.class_names[0] == name
        assert len(set(model.class_names)) == count
    thousand = {**backbone_state(), **uper_state(K=1000)}
    model = convert_state(thousand, "--classes", "imagenet1k")
    assert model.class_names[0] == "tench" and len(set(model.class_names)) == 1000
    with pytest.raises(Refused, match="no colours"):
        convert_state(thousand, "--palette", "imagenet1k")


def test_preprocessing_options():
    d = convert_state(SMALL, "--mean", "1,2,3", "--std", "4,5,8", "--bgr", "--size", "640",
                      "--antialias", "--align-corners").description
    assert d["mean"] == [1, 2, 3] and d["scale"] == [0.25, 0.2, 0.125] and d["bgr"] == 1
    assert (d["resize_rule"], d["resize_a"]) == (Resize.LONGEST, 640)
    assert d["resize_filter"] == Filter.BILINEAR_ANTIALIASED
    assert d["align_corners"] == 1
    d = convert_state(SMALL, "--no-align-corners", "--no-bgr",
                      config=MODEL_TEXT % (False, False, True)).description
    assert d["align_corners"] == 0 and d["bgr"] == 0


# Stages -------------------------------------------------------------------------------------------

def test_stages_are_as_wide_as_their_tensors(tmp_path):
    for state in (ODD, upstream_names(ODD)):
        write_small(tmp_path / "m.swin", state)
        read = blob.read(tmp_path / "m.swin")
        assert read.description["width"] == list(WIDTHS) and read.description["head_inputs"] == 7
        for i in (0, 1):
            name = f"backbone.layers.{i}.downsample.reduction.weight"
            assert ODD[name].shape == (WIDTHS[i + 1], 4 * WIDTHS[i])
            assert (read.natural(f"stage{i}.merge.weight") == ODD[name]).all()
        assert read.natural("stage2.block0.mlp.fc2.weight").shape == (15, 30)


@pytest.mark.parametrize("name,shape", [
    ("layers.0.downsample.reduction.weight", (7, 16)), ("patch_embed.proj.weight", (5, 3, 4, 4)),
    ("layers.1.blocks.1.mlp.fc1.weight", (12, 7)), ("norm2.weight", (16,))])
def test_tensors_of_another_width_are_refused_by_name(name, shape):
    with pytest.raises(Refused, match=name):
        convert_state({**ODD, "backbone." + name: np.ones(shape, "f4")})


def test_any_number_of_stages_up_to_eight(tmp_path):
    for stages in (1, 5, 8):
        state = backbone_state(E=2, depths=(1,) * stages, heads=(1,) * stages)
        write_small(tmp_path / "m.swin", state)
        d = blob.read(tmp_path / "m.swin").description
        assert d["width"] == [2 << i for i in range(stages)] and len(d["token_rows"]) == stages
        assert d["feature_norms"] == (1 << stages) - 1
    d = convert_state(DEEP).description
    assert d["head_inputs"] == 17 and d["token_rows"][1] > 0 and d["neck_convs"] == [0] * 8
    with pytest.raises(Refused, match="9 stages, not 1 to 8"):
        convert_state(backbone_state(E=1, depths=(1,) * 9, heads=(1,) * 9))


def test_features_that_widths_do_not_tell_are_not_guessed():
    equal = dict(widths=(4, 4, 8), depths=(1, 1, 1), heads=(1, 1, 1))
    d = convert_state({**backbone_state(**equal), **uper_state(widths=(4, 4, 8))}).description
    assert d["head_inputs"] == 7
    assert convert_state({**backbone_state(**equal), **fcn_state(E=8, feature=0)}).description[
        "head_inputs"] == 4
    for head in (fcn_state(E=4, feature=0), uper_state(widths=(4, 8))):
        with pytest.raises(Refused, match="several"):
            convert_state({**backbone_state(**equal), **head})


def test_relations_between_widths():
    d = convert_state(hucao_state()).description
    d["width"][1] += 4
    with pytest.raises(Refused, match=r"width\[1\] is 12, but the widths of a Unet double"):
        canonical.check(d)
    d = convert_state(ODD).description
    d["width"][0] = 4098
    with pytest.raises(Refused, match=r"width\[0\] is 4098, not 1..4096"):
        canonical.check(d)


# The command --------------------------------------------------------------------------------------

@pytest.fixture
def small_file(tmp_path):
    file = File()
    meta = {"CLASSES": ("a", "b\u202ec", "c"), "seed": None, "iter": 3}
    root = {"meta": meta, "state_dict": file.state({"module." + n: a for n, a in SMALL.items()})}
    return file.zip(root, tmp_path / "small.pth")


def test_converting_and_its_summary(tmp_path, small_file, capsys):
    out = tmp_path / "m.swin"
    notes = ("--licence", "MIT", "--note", "training=three days", "--name", "N")
    assert run(small_file, "-o", out, *notes) == 0
    text = capsys.readouterr().out
    for words in ("zip archive in module. in state_dict", "widths 4 8, depths 2 1",
                  "UPerHead, features 0 1, head channels 5, pool count 4, "
                  "pool scale 1 2 3 6, 3 classes", "*.relative_position_index (3 tensors)",
                  "auxiliary_head.*: serves training", "pictures keep their size",
                  f"wrote      {out}"):
        assert words in text, words
    notes = blob.read(out).notes
    assert notes["licence"] == "MIT" and notes["training"] == "three days" and notes["name"] == "N"
    parameters = sum(int(np.prod(spec.form.natural)) for spec in blob.read(out).specs)
    assert f"{parameters:,} parameters" in text
    assert os.stat(out).st_mode & 0o777 == 0o666 & ~umask()
    assert run("--info", out) == 0
    text = capsys.readouterr().out
    for record in RECORDS:
        for field in record.fields:
            assert f"  {record.name:<10} {field.name} " in text
    for spec in blob.read(out).specs:
        assert spec.name + "\n" in text
    assert "licence: MIT" in text and "sound" in text and "\u202e" not in text
    assert run("--info", small_file) == 0
    text = capsys.readouterr().out
    for words in ("PyTorch zip archive", "state_dict module.",
                  "Swin-Transformer-Semantic-Segmentation", "CLASSES: 3 entries",
                  "float32  4x3x4x4", "backbone.norm0.weight", "iter: 3"):
        assert words in text, words


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_writing_is_all_or_nothing(tmp_path, capsys):
    out = tmp_path / "m.swin"
    out.write_text("the old one")
    broken = {**SMALL, "decode_head.conv_seg.bias": np.array([0, np.nan, 0], "f4")}
    path = safetensors({n: a for n, a in broken.items()}, tmp_path / "c.safetensors")
    assert run(path, "-o", out) == 1
    assert "decode_head.conv_seg.bias holds numbers that are not finite" in capsys.readouterr().err
    assert out.read_text() == "the old one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.safetensors", "m.swin"]
    good = safetensors(SMALL, tmp_path / "c.safetensors")
    assert run(good, "-o", out) == 0 and blob.read(out).description["classes"] == 3
    assert run(good, "-o", tmp_path / "no" / "m.swin") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.safetensors", "m.swin"]


def test_exit_codes(tmp_path, small_file, capsys):
    assert run() == 2
    assert run(small_file) == 2
    assert run(small_file, "-o", "x", "--pool-scales", "1,x") == 2
    for option, value in (("--max-size", "9"), ("--max-size", "0x4"), ("--mean", "1,2"),
                          ("--std", "1,2,0"), ("--size", "0"), ("--size", "99999"), ("--note", "x"),
                          ("--mean", "1,2,nan"), ("--heads", "0"), ("--pool-scales", "")):
        assert run(small_file, "-o", "x", option, value) == 2, option
    assert run(tmp_path / "none.pth", "-o", "x") == 1
    assert run("--info", tmp_path / "none.pth") == 1
    assert run(small_file, "-o", small_file) == 1 and zipfile.is_zipfile(small_file)
    assert run(tmp_path, "-o", tmp_path) == 1
    (tmp_path / "junk").write_bytes(b"junk")
    assert run("--info", tmp_path / "junk") == 1
    assert "junk: neither a PyTorch checkpoint" in capsys.readouterr().err
    assert run("--help") == 0
    done = subprocess.run([sys.executable, ROOT / "tools/convert.py", tmp_path / "junk", "-o", "x"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1


def test_progress_is_for_terminals(monkeypatch):
    specs = [1, 2]
    module = types.SimpleNamespace(tqdm=lambda items, **_: ["bar", *items])
    monkeypatch.setitem(sys.modules, "tqdm", module)
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: False))
    assert tool.progress(specs) is specs
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
    assert tool.progress(specs) == ["bar", 1, 2]
    monkeypatch.setitem(sys.modules, "tqdm", None)          # not installed
    assert tool.progress(specs) is specs


def test_a_reader_that_has_had_enough(small_file):
    command = [sys.executable, ROOT / "tools/convert.py", "--info", small_file]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=buffered)
    os.close(write)
    assert (process.returncode, process.stderr) == (1, b"")


def test_a_damaged_blob_in_info(tmp_path, small_file, capsys):
    out = tmp_path / "m.swin"
    assert run(small_file, "-o", out) == 0
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    assert run("--info", out) == 1
    assert "checksum" in capsys.readouterr().err


MADE = {                            # family cases: windows, shifts
    "fam-hf-swinv2-cls": ([(4, 4), (4, 4), (4, 4), (2, 2)], [(2, 2), (2, 2), (0, 0), (0, 0)]),
    "fam-ms-swinv2-cls": ([(8, 8), (8, 8), (4, 4)], [(4, 4), (0, 0), (0, 0)]),
    "fam-timm-swin-features": ([(6, 6), (6, 6), (3, 5)], [(3, 3), (0, 3), (0, 0)]),
    "fam-tv-swin-cls": ([(4, 4)] * 4, [(2, 2)] * 4),
    "seg-swin-unet": ([(4, 4), (4, 4), (4, 4), (2, 2)], [(2, 2), (2, 2), (0, 0), (0, 0)])}
HEADS = {"UPerHead": Head.UPER, "FCNHead": Head.FCN,
         "PSPHead": Head.PSP, "FPNHead": Head.FPN,
         "SegformerHead": Head.SEGFORMER, "(inside)": Head.UNET,
         "SwinUNetDV2": Head.UNET,
         "UPerNet": Head.UPER, "Segformer": Head.GLAM_SEGFORMER, "FPN": Head.SMP_FPN,
         "Unet": Head.SMP_UNET,     # SMP's
         "SegformerDecodeHead": Head.MERGED_SEGFORMER, "SegFormerHead": Head.MERGED_SEGFORMER,
         "classifier": Head.CLASSIFIER}


@pytest.mark.parametrize("case", sorted(p.parent.name for p in GOLDEN.glob("*/case.json")))
def test_golden_cases_are_described_as_they_were_made(case, convert):
    config = json.loads((GOLDEN / case / "case.json").read_text()).get("config", {})
    config.update(config.get("backbone", {}))
    d = blob.read(convert(case)).description
    stages = len(d["width"])
    if case in MADE:
        windows, shifts = MADE[case]
    elif "windows" in config:
        windows, shifts = (list(map(tuple, config[name])) for name in ("windows", "shifts"))
    elif d["body"] == Body.MIT:
        windows, shifts = (list(zip(d[n + "_h"], d[n + "_w"])) for n in ("window", "shift"))
    else:
        windows, shifts = ([(n, n)] * stages for n in (config["window"], config["window"] // 2))
    for name, pairs in (("window", windows), ("shift", shifts)):
        for i, found in enumerate(zip(d[name + "_h"], d[name + "_w"])):
            if name == "window" or d["depth"][i] > 1:       # a stage's first block never shifts
                assert found == pairs[i], (name, i)
    for key, word in (("embed_dim", d["width"][0]), ("widths", d["width"]), ("depths", d["depth"]),
                      ("sr_ratios", d["reduction"][:stages]), ("queries", d["query_count"]),
                      ("num_heads", d["heads"]), ("head_channels", d["head_channels"]),
                      ("classes", d["classes"] - d["one_class"]), ("num_classes", d["classes"]),
                      ("tokens", d["tokens"]),
                      ("align_corners", bool(d["align_corners"] or d["corner_rule"])),
                      ("dynamic", not d["input_h"]), ("binary", bool(d["one_class"])),
                      ("decoder_channels", d["decoder_width"][:5] if d["decoder_width"][0]
                       else d["head_channels"]),
                      ("pyramid_channels", d["neck_channels"]),
                      ("qkv_bias", bool(d["qkv_bias"])),
                      ("patch_norm", bool(d["patch_norm"])),
                      ("ape", bool(d["position_h"]))):
        if key != "head_channels" or d["head"] != Head.UNET:
            assert config.get(key) in (None, word), key
    if "mlp_ratio" in config:
        assert d["hidden"] == [int(config["mlp_ratio"] * width) for width in d["width"]]
    if "head" in config:
        assert d["head"] == HEADS[config["head"]]
    if d["head"] in (Head.UPER, Head.PSP):
        assert d["pool_scale"][:d["pool_count"]] == config.get("pool_scales", [1, 2, 3, 6])
    if "in_index" in config:
        assert heads.head_features(d) == [config["in_index"]]
    if d["head"] == Head.FCN:
        assert (d["convs"], d["conv_kernel"]) == (config["num_convs"], config["kernel_size"])
    if d["head"] == Head.FPN:
        assert d["neck_channels"] == config["neck_channels"]
        assert d["neck_convs"] == [1, 1, 2, 3, 0, 0, 0, 0]


def test_the_tool_is_python_3_9():
    for path in [ROOT / "tools/convert.py", *(ROOT / "tools/swinblob").rglob("*.py")]:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 100, path


def test_nothing_but_numpy_is_imported():
    script = ("import sys; sys.path.insert(0, sys.argv[1]); import convert; "
              "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'tqdm'})")
    done = subprocess.run([sys.executable, "-c", script, ROOT / "tools"], capture_output=True,
                          text=True)
    assert done.returncode == 0 and done.stdout == "\n"


# With PyTorch -------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_pytorch_saves(torch, tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    state = {"plain": base, "transposed": base.t(), "slice": base[1:, ::2], "row": base[2],
             "expanded": torch.ones(1).expand(3), "half": base.half(), "double": base.double(),
             "bfloat16": base.bfloat16(), "long": torch.tensor(2 ** 40),
             "bool": torch.tensor([True, False]), "parameter": torch.nn.Parameter(base),
             "empty": torch.zeros(0, 3)}
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    state.update(module.state_dict())
    root = {"state_dict": state, "optimizer": {"state": {0: {"step": base[0, 0]}}}}
    for protocol in (2, 4):
        torch.save(root, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped,
                   pickle_protocol=protocol)
        read = checkpoint.read(str(tmp_path / "c.pth"))
        assert set(read.tensors) == set(state)
        for name, tensor in state.items():
            got = read.tensors[name].read()
            assert got.shape == tuple(tensor.shape), name
            assert (got == tensor.detach().to(torch.float64).numpy()).all(), name


def test_models_of_our_own_training(torch, tmp_path):
    models = load_tool("models")
    backbone = dict(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 2, 2, 4), window=7, tokens=3,
                    opti=True)
    segmentor = models.Segmentor(backbone, dict(type="UPerHead", channels=12, classes=11),
                                 dict(type="FCNHead", channels=8, classes=11, in_index=(2,)))
    root = {"meta": {"CLASSES": [f"c{k}" for k in range(11)]}, "state_dict": segmentor.state_dict()}
    torch.save(root, tmp_path / "street.pth")
    assert run(tmp_path / "street.pth", "-o", tmp_path / "m.swin") == 0
    read = blob.read(tmp_path / "m.swin")
    assert read.description["tokens"] == 3 and read.description["classes"] == 11
    weight = segmentor.state_dict()["backbone.layers.2.downsample.reduction.weight"].numpy()
    assert (read.natural("stage2.merge.weight") == weight).all()
