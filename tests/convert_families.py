"""The converter on every source: names, windows, shifts, what is asked for, what is refused."""

import json
import re
import types

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from checkpoints import (GLAM, SMALL, backbone_state, fpn_state, glam_segformer_state, psp_state,
                         safetensors, segformer_state, uper_state, upstream_names)
from checkpoints.convert import (blob, canonical, checkpoint, convert_state, families, memory,
                                 options, run)
from checkpoints.families import (coordinates, glam_unet_state, hucao_state, hugging_face_state,
                                  moby_state, official_state, simmim_state, split_unet_state,
                                  timm_state, torchvision_state, uper_names, unet_state,
                                  without_buffers)
from swinblob.canonical import Refused
from swinblob.families import timm
from swinblob.records import Filter, Head, Input, Mode, Resize, Shift

V1, V2 = official_state(), official_state(version=2)
TIMM_V2 = {"architecture": "swinv2_own", "model_args": {
    "img_size": 48, "window_size": 3, "pretrained_window_sizes": [0, 0, 0]}}
HF_V2 = {"model_type": "swinv2", "image_size": 48, "window_size": 3, "depths": [2, 2, 1],
         "pretrained_window_sizes": [0, 0, 0]}
BACKBONE = hugging_face_state(V1, "backbone")
SEGMENTOR = {name.replace("backbone.", ""): a for name, a in backbone_state().items()}

# name: (tensors, config.json, words of what it is recognised as)
CASES = {
    "official": (V1, {}, "official code"),
    "official-v2": (V2, {}, "official code V2"),
    "official-prefix": ({"model." + n: a for n, a in V1.items()}, {}, "official code"),
    "simmim": (simmim_state(V2), {}, "SimMIM's encoder"),
    "moby": (moby_state(V1), {}, "MoBY's encoder"),
    "timm": (timm_state(V1), {}, "timm's Swin"),
    "timm-v2": (timm_state(V2), TIMM_V2, "timm's Swin V2"),
    "timm-features": (timm_state(V1, features=True), {}, "timm's Swin, features only"),
    "torchvision": (torchvision_state(V1), {}, "torchvision's Swin"),
    "torchvision-v2": (torchvision_state(V2), {}, "torchvision's Swin V2"),
    "hf": (hugging_face_state(V1), {}, "Hugging Face's Swin (classifier)"),
    "hf-model": (hugging_face_state(V1, "model"), {}, "Hugging Face's Swin"),
    "hf-modules": (hugging_face_state(V1, "model", modules=True), {}, "Hugging Face's Swin"),
    "hf-backbone": (BACKBONE, {}, "Hugging Face's Swin (backbone)"),
    "hf-modules-backbone": ({n if n.startswith(("hidden_states", "swin.")) else "swin." + n: a
                             for n, a in hugging_face_state(V1, "backbone", True).items()}, {},
                            "Hugging Face's Swin (backbone)"),
    "hf-v2": (hugging_face_state(V2), HF_V2, "Hugging Face's Swin V2 (classifier)"),
    "hf-v2-backbone": (hugging_face_state(V2, "backbone"), HF_V2, "Hugging Face's Swin V2"),
    "hf-upernet": ({**{"backbone." + n: a for n, a in BACKBONE.items()},
                    **uper_names(uper_state(features=(0, 1, 2)))}, {}, "with UperNet"),
    "hucao": (hucao_state(), {}, "Swin-Unet"),
    "glam-unet": (glam_unet_state(tokens=1), {}, "GLAM-Swin-Unet"),
    "glam-unet-cross": (glam_unet_state(tokens=2, cross=True), {}, "with cross-attention"),
    "split-unet": (split_unet_state(), {}, "Swin-Unet"),
    "psp": ({**backbone_state(), **psp_state()}, {}, "Swin-Transformer-Semantic"),
    "fpn": ({**backbone_state(), **fpn_state()}, {}, "Swin-Transformer-Semantic"),
    "segformer": ({**upstream_names(backbone_state()), **segformer_state()}, {}, "upstream"),
    "glam-segformer": ({**backbone_state(tokens=1), **glam_segformer_state()}, {}, "GLAM"),
    "headless": (SEGMENTOR, {}, "Swin-Transformer-Semantic"),
}


def convert_case(name, *arguments, **changes):
    state, config, _ = CASES[name]
    return convert_state({**state, **changes}, *arguments, config=config)


@pytest.fixture(scope="module")
def read_blob(tmp_path_factory):
    """read_blob(model) -> what a blob of it holds."""
    def read(model):
        path = tmp_path_factory.mktemp("blob") / "m.swin"
        blob.write(path, model)
        return blob.read(path)

    return read


# Recognising and mapping --------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_every_source_is_recognised_and_comes_back_from_a_blob(name, read_blob):
    state, _, what = CASES[name]
    assert what in families.recognised(state)
    model = convert_case(name)
    read = read_blob(model)
    assert read.description == blob.config_from_bytes(blob.config_bytes(model.description))
    for spec in read.specs:
        wanted = model.weights[spec.name].load()
        assert np.allclose(read.natural(spec.name), wanted, rtol=2e-7, atol=1e-30), spec.name


@pytest.mark.parametrize("reference,names", [
    ("official", ["official-prefix", "moby", "timm", "timm-features", "torchvision", "hf",
                  "hf-model", "hf-modules", "hf-backbone",
                  "hf-modules-backbone"]),
    ("official-v2", ["simmim", "timm-v2", "torchvision-v2", "hf-v2", "hf-v2-backbone"])])
def test_the_same_weights_give_the_same_tensors(reference, names):
    expected = convert_case(reference)
    count = len(list(canonical.tensors(expected.description)))
    for name in names:
        model = convert_case(name)
        same = 0
        for spec in canonical.tensors(model.description):
            if spec.name in expected.weights:
                got = model.weights[spec.name].load()
                assert np.array_equal(got, expected.weights[spec.name].load()), (name, spec.name)
                same += 1
        assert same >= count - 4, name      # without norm or head


def test_every_weight_of_the_official_code_arrives():
    model, checked = convert_case("official"), set()

    def same(name, source):
        checked.add(name)
        assert (model.weights[name].load() == V1[source]).all(), name

    def pair(name, source):
        for part in (".weight", ".bias"):
            same(name + part, source + part)

    pair("embed", "patch_embed.proj")
    pair("embed.norm", "patch_embed.norm")
    for i, depth in enumerate((2, 2, 1)):
        for j in range(depth):
            ours, theirs = f"stage{i}.block{j}.", f"layers.{i}.blocks.{j}."
            for part in ("norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
                pair(ours + part, theirs + part)
            same(ours + "attn.bias", theirs + "attn.relative_position_bias_table")
        if i < 2:
            pair(f"stage{i}.merge.norm", f"layers.{i}.downsample.norm")
            same(f"stage{i}.merge.weight", f"layers.{i}.downsample.reduction.weight")
    pair("norm", "norm")
    pair("head.classify", "head")
    assert checked == {spec.name for spec in canonical.tensors(model.description)}


@pytest.mark.parametrize("pretrained", [0, 3, 5, 12])
def test_swin_v2s_positions_become_tables(pretrained):
    state = official_state(version=2, window=6, grid=12, pretrained=pretrained)
    model = convert_state(state)
    d = model.description
    assert (d["window_h"], d["shift_h"]) == ([6, 6, 3], [3, 0, 0])
    for i, w in enumerate((6, 6, 3)):
        attention = f"layers.{i}.blocks.0.attn."
        first, bias, second = (state[attention + "cpb_mlp." + part].astype("f8")
                               for part in ("0.weight", "0.bias", "2.weight"))
        table = model.weights[f"stage{i}.block0.attn.bias"].load()
        inputs = coordinates(w, pretrained or w)[0]
        for y, x in ((0, 0), (w - 1, w - 1), (1, 2 * w - 2), (w, 1)):
            hidden = np.maximum(first @ inputs[y, x] + bias, 0)
            entry = 16 / (1 + np.exp(-(second @ hidden)))
            assert np.allclose(table[y * (2 * w - 1) + x], entry, rtol=1e-5)
        scale = model.weights[f"stage{i}.block0.attn.scale"].load()
        logits = state[attention + "logit_scale"].reshape(-1)
        assert np.allclose(scale, np.exp(np.minimum(logits, np.log(100))), rtol=1e-6)
        C = 4 << i
        qkv = model.weights[f"stage{i}.block0.attn.qkv.bias"].load()
        assert (qkv[:C] == state[attention + "q_bias"]).all() and not qkv[C:2 * C].any()
        assert (qkv[2 * C:] == state[attention + "v_bias"]).all()
    assert max(model.weights["stage0.block0.attn.scale"].load()) <= 100.0001


def test_v2_keeps_its_queries_as_they_are():
    model = convert_case("official-v2")
    spec = next(s for s in canonical.tensors(model.description) if s.name.endswith("qkv.weight"))
    packed, weight = model.matrix(spec), V2["layers.0.blocks.0.attn.qkv.weight"]
    assert (packed[:4] == weight[:4]).all()
    d = model.description
    assert d["version"] == 2
    assert d["patch_norm"] == d["qkv_bias"] == d["merge_norm"] == d["final_norm"] == 1
    without = official_state(version=2, qkv_bias=False)
    assert not convert_state(without).description["qkv_bias"]


def test_unets_by_level():
    state = unet_state(tokens=2, cross=True)
    model = convert_state({"backbone.swin_unet." + n: a for n, a in state.items()})
    w, u = 3, 0
    for level, C in ((1, 8), (0, 4)):
        up, cross = f"up{level}.", f"layers_cross_attention_up.{u}.blocks.0."
        for ours, theirs in (
                ("expand.norm.weight", cross + "expand.norm.weight"),
                ("expand.weight", cross + "expand.expand.weight"),
                ("cross.norm1.bias", cross + "norm1.bias"),
                ("cross.q.weight", cross + "attn.proj_q.weight"),
                ("cross.kv.bias", cross + "attn.proj_kv.bias"),
                ("cross.proj.weight", cross + "attn.proj.weight"),
                ("cross.norm2.weight", cross + "norm2.weight"),
                ("cross.fc1.weight", cross + "mlp.fc1.weight"),
                ("cross.fc2.bias", cross + "mlp.fc2.bias"),
                ("concat.weight", f"concat_back_dim.{u}.weight"),
                ("tokens", f"layers_up.{u}.global_token"),
                ("block0.attn.qkv.bias", f"layers_up.{u}.blocks.0.attn.qkv.bias")):
            assert np.array_equal(model.weights[up + ours].load(), state[theirs]), ours
        table = state[cross + "attn.relative_position_bias_table"]
        assert (model.weights[up + "cross.bias"].load() == table[:(2 * w - 1) ** 2]).all()
        u += 1
    state = unet_state()
    model = convert_state(glam_unet_state())
    for ours, theirs in (("up1.expand.weight", "layers_up.0.expand.weight"),
                         ("up0.expand.norm.bias", "layers_up.1.upsample.norm.bias"),
                         ("up1.concat.bias", "concat_back_dim.1.bias"),
                         ("up0.block1.mlp.fc1.weight", "layers_up.2.blocks.1.mlp.fc1.weight"),
                         ("norm.weight", "norm.weight"), ("final.norm.bias", "norm_up.bias"),
                         ("final.expand.norm.weight", "up.norm.weight"),
                         ("final.expand.weight", "up.expand.weight"),
                         ("head.classify.weight", "output.weight")):
        assert np.array_equal(model.weights[ours].load(), state[theirs]), ours
    d = model.description
    assert (d["body"], d["head"], d["classes"], d["feature_norms"]) == (1, 8, 3, 0)


def test_unets_forms_take_the_scores_factor_once():
    model = convert_case("glam-unet-cross")
    matrix = {spec.name: model.matrix(spec) for spec in canonical.tensors(model.description)}
    q = model.weights["up0.cross.q.weight"].load()      # one head of 8 channels
    assert np.allclose(matrix["up0.cross.q.weight"][:8], q * 8 ** -0.5, rtol=1e-6)
    kv = model.weights["up0.cross.kv.weight"].load()
    assert np.array_equal(matrix["up0.cross.kv.weight"][:8], kv[:8])
    assert np.array_equal(matrix["up0.cross.kv.weight"][16:24], kv[8:])
    proj = model.weights["up0.cross.proj.weight"].load()
    assert np.array_equal(matrix["up0.cross.proj.weight"][:, :8], proj)
    expand = model.weights["up0.expand.weight"].load()
    assert np.array_equal(matrix["up0.expand.weight"], expand) and expand.shape == (16, 8)


def test_heads_of_mmseg():
    d = convert_case("psp").description
    assert (d["head"], d["head_inputs"], d["pool_count"]) == (Head.PSP, 2, 4)
    d = convert_case("fpn").description
    assert d["head"] == Head.FPN and d["neck_convs"][:2] == [1, 2]
    assert (d["neck_channels"], d["head_channels"], d["head_inputs"]) == (6, 5, 3)
    d = convert_case("segformer").description
    assert (d["head"], d["head_inputs"], d["classes"]) == (Head.SEGFORMER, 3, 3)
    model = convert_case("glam-segformer")
    d = model.description
    assert (d["head"], d["head_channels"], d["classes"]) == (Head.GLAM_SEGFORMER, 6, 3)
    state = CASES["glam-segformer"][0]
    fuse = state["decode_head.linear_fuse.conv.weight"][:, :, 0, 0]
    factor = state["decode_head.linear_fuse.bn.weight"] / np.sqrt(
        state["decode_head.linear_fuse.bn.running_var"] + 1e-5)
    got = model.weights["head.fuse.weight"].load()[:, :, 0, 0]
    assert np.allclose(got[:, :6], fuse[:, 6:] * factor[:, None], rtol=1e-5)    # fine to coarse
    assert np.allclose(got[:, 6:], fuse[:, :6] * factor[:, None], rtol=1e-5)
    dropped = {what for what, _, _ in model.dropped}
    assert "decode_head.conv_seg.*" in dropped
    model = convert_case("hf-upernet")
    assert model.description["head_inputs"] == 7 and model.description["feature_norms"] == 7


# Rules --------------------------------------------------------------------------------------------

def words(model, *names):
    return tuple(model.description[name][:3] if isinstance(model.description[name], list)
                 else model.description[name] for name in names)


@pytest.mark.parametrize("name,input_rule,input_h,shift_rule,roll,mask,shifts", [
    ("official", Input.EXACT, 48, 0, 0, -100, [1, 1, 0]),
    ("official-v2", Input.EXACT, 48, 0, 0, -100, [1, 1, 0]),
    ("timm", Input.EXACT, 0, 0, 1, -100, [1, 1, 0]),
    ("timm-v2", Input.EXACT, 0, 0, 1, -100, [1, 1, 0]),
    ("torchvision", Input.FLOOR, 0, Shift.PER_AXIS, 0, -100, [1, 1, 1]),
    ("hf", Input.PAD, 0, Shift.SQUARE, 0, -100, [1, 1, 1]),
    ("hf-backbone", Input.PAD, 0, 0, 0, -100, [1, 1, 1]),
    ("hf-v2", Input.PAD, 0, 0, 0, -200, [1, 1, 0]),
    ("hucao", Input.EXACT, 48, 0, 0, -100, [1, 1, 0]),
    ("glam-unet", Input.PAD, 0, 0, 0, -100, [1, 1, 1]),
    ("headless", Input.PAD, 0, 0, 0, -100, [1, 1])])
def test_rules_of_each_source(name, input_rule, input_h, shift_rule, roll, mask, shifts):
    d = convert_case(name).description
    assert (d["input_rule"], d["input_h"], d["input_w"]) == (input_rule, input_h, input_h)
    assert (d["shift_rule"], d["roll_before_pad"], d["mask"]) == (shift_rule, roll, mask)
    assert d["shift_h"] == shifts == d["shift_w"]


def test_image_size_of_the_official_code():
    with pytest.raises(Refused, match="--image-size"):
        convert_state(without_buffers(V1))
    told = convert_state(without_buffers(V1), "--image-size", "48x48").description
    assert told == convert_case("official").description
    with pytest.raises(Refused, match="attn_mask is there"):
        convert_state(V1, "--image-size", "12x12")
    with pytest.raises(Refused, match="whole patches"):
        convert_state(V1, "--image-size", "47x48")
    with pytest.raises(Refused, match="cannot be halved"):
        convert_state(V1, "--image-size", "40x40")
    mask = "layers.0.blocks.1.attn_mask"
    with pytest.raises(Refused, match="no square: give --image-size"):
        convert_state({**V1, mask: np.zeros((18, 9, 9), "f4")})
    wide = {**V1, mask: np.zeros((32, 9, 9), "f4"),
            "layers.1.blocks.1.attn_mask": np.zeros((8, 9, 9), "f4")}
    d = convert_state(wide, "--image-size", "48x96").description
    assert (d["input_h"], d["input_w"]) == (48, 96) and d["shift_w"] == [1, 1, 0]
    with pytest.raises(Refused, match="contradict each other"):
        convert_state({**V1, mask: np.zeros((4, 9, 9), "f4")})
    shallow = official_state(depths=(1, 1, 1))
    with pytest.raises(Refused, match="--image-size"):
        convert_state(shallow)
    assert convert_state(shallow, "--image-size", "48x48").description["shift_h"] == [1, 1, 0]
    shrunken = official_state(depths=(1, 1, 1), window=4)
    assert convert_state(shrunken).description["input_h"] == 48


def test_absolute_positions_fit_one_size():
    state = official_state(ape=True)
    for state in (state, hugging_face_state(state)):
        model = convert_state(state)
        assert words(model, "position_h", "position_w", "position_rule") == (12, 12, 1)
    name = "swin.embeddings.position_embeddings"
    with pytest.raises(Refused, match="position_embeddings has shape"):        # of version 4
        convert_state({**state, name: np.zeros((1, 145, 4), "f4")})
    with pytest.raises(Refused, match="grid of 9x15"):
        convert_state(state, config={"image_size": [36, 60]})


def test_pretrained_windows_of_v2():
    for state in (without_buffers(V2), {n: a for n, a in V2.items() if "coords" not in n}):
        with pytest.raises(Refused, match="--(window|pretrained-windows)"):
            convert_state(state)
    masks = {n: a for n, a in V2.items()        # as timm 0.6 stores it
             if not n.endswith(("coords_table", "position_index"))}
    model = convert_state(masks, "--pretrained-windows", "0,0,0")
    assert model.description == convert_case("official-v2").description
    first, other = (convert_state(masks, "--pretrained-windows", text).weights[
        "stage0.block0.attn.bias"].load() for text in ("3,3,3", "5,3,3"))
    assert np.array_equal(first, model.weights["stage0.block0.attn.bias"].load())
    assert not np.allclose(first, other)
    with pytest.raises(Refused, match="2 pretrained windows"):
        convert_state(masks, "--pretrained-windows", "3,3")
    name = "layers.0.blocks.0.attn.relative_coords_table"
    for factor in (0.9, 50, 0):
        with pytest.raises(Refused, match="relative_coords_table"):
            convert_state({**V2, name: V2[name] * factor})


def test_timms_windows_from_tables():
    model = convert_case("timm")
    assert any("48x48 is assumed, the last stage one window" in text for text in model.remarks)
    assert convert_state(timm_state(V1), "--image-size", "48x48").remarks == model.remarks[1:]
    d = convert_state(timm_state(V1), "--image-size", "64x48").description
    assert (d["shift_h"], d["shift_w"]) == ([1, 1, 1], [1, 1, 0])
    shrunken = convert_state(timm_state(official_state(window=4)))
    assert words(shrunken, "window_h", "shift_h") == ([4, 4, 3], [2, 2, 0])
    wide = timm_state(official_state(window=6, depths=(2, 2, 2)), features=True)
    for j in range(2):
        wide[f"layers_2.blocks.{j}.attn.relative_position_bias_table"] = np.ones((45, 4), "f4")
    model = convert_state(wide)
    assert words(model, "window_h", "window_w") == ([6, 6, 3], [6, 6, 5])
    assert words(model, "shift_h", "shift_w") == ([3, 0, 0], [3, 3, 0])
    assert any("landscape, 48x80, is assumed; --image-size" in text for text in model.remarks)
    model = convert_state(wide, "--image-size", "80x48")
    assert words(model, "window_h", "shift_h") == ([6, 6, 5], [3, 3, 0])
    assert not any("assumed" in text for text in model.remarks)
    with pytest.raises(Refused, match="45 rows, which no window on a grid of 6x6"):
        convert_state(wide, "--image-size", "96x96")
    name = "layers.0.blocks.0.attn.relative_position_bias_table"
    with pytest.raises(Refused, match="do not tell the sides"):
        convert_state({**timm_state(V1), name: np.ones((24, 1), "f4")})
    for j in range(2):
        wide[f"layers_1.blocks.{j}.attn.relative_position_bias_table"] = np.ones((169, 2), "f4")
    with pytest.raises(Refused, match="fit no image size together: give --image-size"):
        convert_state(wide)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(4, 60), st.integers(4, 60), st.integers(1, 4))
def test_windows_of_a_known_grid_are_timms(window, rows, columns, stages):
    """Against the rule itself: the grid's side where it is smaller, no shift where it is not
    larger."""
    sides = []
    for i in range(stages):
        sides.append(((rows, columns), tuple(min(window, side) for side in (rows, columns))))
        rows, columns = (rows + 1) // 2, (columns + 1) // 2

    placed = []
    reader = types.SimpleNamespace(
        d={"width": [96] * stages},
        table_rows=lambda i: (2 * sides[i][1][0] - 1) * (2 * sides[i][1][1] - 1),
        set_window=lambda i, window, shift: placed.append((window, tuple(shift))))
    timm.describe_v1(reader, sides[0][0])
    assert placed == [
        (w, tuple(side_w // 2 if side > window else 0 for side_w, side in zip(w, grid)))
        for grid, w in sides]


def test_timms_swin_v2():
    state, config = timm_state(V2), json.loads(json.dumps(TIMM_V2))
    arguments = ("--image-size", "48x48", "--window", "3", "--pretrained-windows", "0,0,0")
    assert convert_state(state, *arguments).description == convert_case("timm-v2").description
    for n, option in ((0, "--image-size"), (2, "--window"), (4, "--pretrained-windows")):
        with pytest.raises(Refused, match=option):
            convert_state(state, *arguments[:n], *arguments[n + 2:])
    d = convert_state(state, "--image-size", "40x56", config=config).description
    assert (d["window_h"], d["window_w"]) == ([3, 3, 3], [3, 3, 3])
    assert (d["shift_h"], d["shift_w"]) == ([1, 1, 0], [1, 1, 1])
    for told in ([0, 0, 0, 0], [0]):
        config["model_args"]["pretrained_window_sizes"] = told
        d = convert_state(state, config=config).description
        assert d == convert_case("timm-v2").description
    config["model_args"]["window_size"] = [3, [2, 3], 1]
    d = convert_state(state, config=config).description
    assert (d["window_h"], d["window_w"]) == ([3, 2, 1], [3, 3, 1])
    config["model_args"]["window_size"] = [3, 3]
    with pytest.raises(Refused, match="2 windows"):
        convert_state(state, config=config)
    config["model_args"]["img_size"] = 50
    with pytest.raises(Refused, match="whole patches"):
        convert_state(state, config=config)


@pytest.mark.parametrize("architecture,size,window,pretrained", [
    ("swin_tiny_patch4_window7_224", 224, [7], [0, 0, 0, 0]),
    ("swin_large_patch4_window12_384", 384, [12], [0, 0, 0, 0]),
    ("swin_s3_small_224", 224, None, None),
    ("swinv2_base_window16_256", 256, [16], [0, 0, 0, 0]),
    ("swinv2_large_window12_192", 192, [12], [0, 0, 0, 0]),
    ("swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", 256, [16], [12, 12, 12, 6]),
    ("swinv2_base_window12to24_192to384_22kft1k", 384, [24], [12, 12, 12, 6])])
def test_timms_architectures(architecture, size, window, pretrained):
    config = timm.Config({"architecture": architecture})
    assert config.image_size == (size, size) and config.window == window
    assert config.pretrained_windows == pretrained
    told = timm.Config({"architecture": architecture,
                        "pretrained_cfg": {"input_size": [3, 64, 96]}})
    assert told.image_size == (64, 96)


@pytest.mark.parametrize("stages", [2, 5])
def test_every_family_has_as_many_stages_as_its_tensors_say(stages):
    sizes = dict(E=2, depths=(1,) * stages, heads=(1,) * stages, grid=16, window=1)
    first, second = official_state(**sizes), official_state(version=2, **sizes)
    size = ("--image-size", "64x64")
    for state, arguments in (
            (first, size), (second, size), (timm_state(first), size),
            (torchvision_state(first), ()), (torchvision_state(second), ()),
            (hugging_face_state(first, "model"), ()),
            (hugging_face_state(second, "model"),
             (*size, "--window", "1", "--pretrained-windows", "0"))):
        d = convert_state(state, *arguments).description
        assert d["width"] == [2 << i for i in range(stages)], list(state)[:3]


def test_hugging_faces_rules():
    state = hugging_face_state(V1, "model")
    assert convert_state(state, "--backbone").description["shift_rule"] == 0
    assert convert_state(BACKBONE, "--model").description["shift_rule"] == Shift.SQUARE
    config = {"architectures": ["SwinBackbone"], "layer_norm_eps": 1e-6}
    model = convert_state(state, config=config)
    assert words(model, "shift_rule", "eps", "final_norm") == (0, 1e-6, 0)
    for eps in (0, -1e-5, 1, "1e-5", float("nan"), float("inf")):
        with pytest.raises(Refused, match="layer_norm_eps"):
            convert_state(state, config={"layer_norm_eps": eps})
    with pytest.raises(Refused, match="lack embeddings.position_embeddings"):
        convert_state(state, config={"use_absolute_embeddings": True})
    with pytest.raises(Refused, match="layernorm.weight is missing"):
        convert_state({n: a for n, a in state.items() if n != "layernorm.weight"})
    v2 = hugging_face_state(V2)
    arguments = ("--image-size", "48x48", "--window", "3", "--pretrained-windows", "0,0,0")
    assert convert_state(v2, *arguments).description == convert_case("hf-v2").description
    for n, option in ((0, "--image-size"), (2, "--window"), (4, "--pretrained-windows")):
        with pytest.raises(Refused, match=option):
            convert_state(v2, *arguments[:n], *arguments[n + 2:])
    d = convert_state(v2, config={**HF_V2, "image_size": [16, 96]}).description
    assert (d["window_h"], d["shift_h"]) == ([3, 2, 1], [1, 0, 0])
    with pytest.raises(Refused, match="none left in stage"):
        convert_state(v2, config={**HF_V2, "image_size": 8})
    with pytest.raises(Refused, match="does not run with absolute positions"):
        convert_state({**v2, "swinv2.embeddings.position_embeddings": np.zeros((1, 145, 4), "f4")},
                      config=HF_V2)


def test_nominal_size_of_glams_unets():
    model = convert_case("split-unet")
    assert any("512 is assumed (--image-size" in text for text in model.remarks)
    text = "model = dict(backbone=dict(type='%sSwinUNetEncoder', pretrain_img_size=%d))"
    d = convert_state(split_unet_state(), config=text % ("", 48)).description
    assert d["shift_h"] == [1, 1, 0]
    assert convert_state(split_unet_state(), "--image-size", "48x48").description == d
    assert convert_state(split_unet_state(), config=text % ("No", 512)).description[
        "shift_h"] == [0] * 3
    with pytest.raises(Refused, match="nominal size of 24 makes"):
        convert_state(split_unet_state(), config=text % ("", 24))
    with pytest.raises(Refused, match="is square"):
        convert_state(split_unet_state(), "--image-size", "48x96")


# Refusing -----------------------------------------------------------------------------------------

UNUSED = ("relative_position_index", "num_batches_tracked", "auxiliary_head", "attn_mask",
          "encoder_k.", "projector", "predictor", "queue", "mask_token", "decoder.0",
          "swin.layernorm", "proj_shortcut", "layers_patch_expand", "decode_head.patch_embed",
          "relative_coords_table")


def unused(name, case):
    """Is it a tensor that makes no difference, or whose rows may be more?"""
    dead = ".gt_attn." in name and ".layers.0.blocks.0." not in name
    return (any(part in name for part in UNUSED) or dead or name.endswith(".pe")
            or ("unet" in case or case == "glam-segformer") and "conv_seg" in name)


@pytest.mark.parametrize("case", CASES)
def test_missing_extra_and_misshapen_tensors_are_named(case):
    state, config, _ = CASES[case]
    kinds = {}
    for name in state:
        if not unused(name, case):
            kinds.setdefault(re.sub(r"\d+", "", name), []).append(name)
    for n, name in enumerate(sorted({name for kind in kinds.values() for name in (
            kind[0], kind[-1])})):
        array = state[name]
        with pytest.raises(Refused) as refusal:
            convert_state({other: a for other, a in state.items() if other != name}, config=config)
        if not name.endswith(("classifier.weight", "head.weight", "head.fc.weight", "norm.bias",
                              "stage1.weight", "output.weight")):
            assert name.removeprefix("model.") in str(refusal.value), name
            assert not name.startswith("model.") or "begin with model." in str(refusal.value)
        damage = (array[..., None], array[:0], np.ones(array.shape, "i8"),
                  np.concatenate([array, array[:1]]))[n % (3 if "output" in name else 4)]
        with pytest.raises(Refused):
            convert_state({**state, name: damage}, config=config)
    for extra in ("more.weight", next(iter(state)) + ".more"):
        with pytest.raises(Refused) as refusal:
            convert_state({**state, extra: np.ones((3, 3), "f4")}, config=config)
        assert extra.removeprefix("model.") in str(refusal.value)


def test_no_source_is_taken_for_another():
    """Names of one family under the mapping of another: nothing converts."""
    for case, (state, config, _) in CASES.items():
        own = next(f for f in families.FAMILIES if f.recognise(list(state)))
        for family in families.FAMILIES:
            if family is own or case == "headless" or {own, family} <= {
                    families.glam, families.swin_seg, families.upstream}:
                continue
            with pytest.raises((Refused, IndexError)):
                family.read(memory(state, config=config), options()).check()


def test_refusals_by_name():
    def refuse(message, state, *arguments, **meta):
        with pytest.raises(Refused, match=message):
            convert_state(state, *arguments, **meta)

    glam, small = backbone_state(tokens=1), backbone_state()
    fpn = fpn_state()
    refuse("with a neck before its UPerHead", {**SMALL, **{
        n: a for n, a in fpn.items() if n.startswith("neck.")}})
    refuse("FPNHead without a neck", {**small, **{
        n: a for n, a in fpn.items() if not n.startswith("neck.")}})
    refuse("FPNHead reads 1", {**small, **{
        n: a for n, a in fpn.items() if "scale_heads.1" not in n}})
    refuse("makes 3", {**small, **fpn, "neck.fpn_convs.2.conv.weight": np.ones((6, 6, 3, 3), "f4"),
                       "neck.fpn_convs.2.conv.bias": np.ones(6, "f4")})
    text = "model = dict(neck=dict(%s), decode_head=dict(type='FPNHead', %s))"
    for message, neck, head in (("neck is a PAFPN", "type='PAFPN'", ""),
                                ("upsampling", "upsample_cfg=dict(mode='bilinear')", ""),
                                ("activation", "act_cfg=dict(type='ReLU')", ""),
                                ("feature_strides", "", "feature_strides=[4, 8]")):
        refuse(message, {**small, **fpn}, config=text % (neck, head))
    good = text % ("type='FPN'", "feature_strides=[4, 16]")
    assert convert_state({**small, **fpn}, config=good).description["neck_convs"][:2] == [1, 2]
    refuse("channels|levels", {**glam, **glam_segformer_state(), **{
        "decode_head.linear_fuse.conv.weight": np.ones((6, 13, 1, 1), "f4")}})
    refuse("do not run with absolute positions", {
        **glam_unet_state(), "backbone.swin_unet.absolute_pos_embed": np.ones((1, 9, 4), "f4")})
    cross = glam_unet_state(tokens=1, cross=True)
    text = "model = dict(backbone=dict(type='SwinUNetV2GTV8CrossAttentionUpsample', %s))"
    for change in ("residual_patch_expand=False", "cross_attention_weight=0.5",
                   "use_cross_attention_by_layer=[True, False]"):
        refuse("published code's defaults", cross, config=text % change)
    assert convert_state(cross, config=text % "cross_attention_weight=1.0").description["body"] == 2
    refuse("backbone is a SwinTransformer", cross,
           config="model = dict(backbone=dict(type='SwinTransformer'))")
    refuse("decode head is a UPerHead", cross,
           config="model = dict(decode_head=dict(type='UPerHead'))")
    refuse("3 stages down and 2 up", {n: a for n, a in hucao_state().items()
                                      if "concat_back_dim.2" not in n})
    refuse("2 models in one: '', 'swin.'",
           {**hugging_face_state(V1), **hugging_face_state(V1, "model")})
    for key, value in (("embed_dim", 96), ("depths", [2, 2, 6, 2]), ("num_heads", [1, 2]),
                       ("patch_size", 2)):
        refuse(f"config.json says that {key} is", hugging_face_state(V1), config={key: value})
        refuse(f"config.json says that {key} is", timm_state(V1),
               config={"architecture": "swin_own", "model_args": {key: value}})
    refuse("windows are 7", hugging_face_state(V1), config={"window_size": 7})
    refuse("hidden_act to relu", hugging_face_state(V1), config={"hidden_act": "relu"})
    refuse("that of a swinv2", hugging_face_state(V1), config={"model_type": "swinv2"})
    refuse("UperNet's head should be", {**{"backbone." + n: a for n, a in BACKBONE.items()},
                                        **uper_names(psp_state())})
    refuse("no square window", {**torchvision_state(V2),
                                "features.1.0.attn.relative_position_index": np.ones(80, "i8")})


def test_options_without_effect_are_remarked():
    model = convert_case("torchvision", "--image-size", "64x64", "--window", "7")
    assert sum("has no effect" in text for text in model.remarks) == 2


# Pictures, classes and modes ----------------------------------------------------------------------

def test_pictures_of_classifiers():
    def pictures(model):
        return words(model, "resize_rule", "resize_a", "resize_b", "mode", "crop_h", "crop_w",
                     "resize_filter", "resize_round")

    cubic = Filter.BICUBIC_ANTIALIASED
    shortest, exact = Resize.SHORTEST, Resize.EXACT
    assert pictures(convert_case("official")) == (shortest, 54, 0, Mode.CENTRE, 48, 48, cubic, 1)
    assert pictures(convert_case("timm")) == (shortest, 53, 0, Mode.CENTRE, 48, 48, cubic, 1)
    told = {"architecture": "x", "pretrained_cfg": {
        "crop_pct": 1.0, "interpolation": "bilinear", "input_size": [3, 48, 48],
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.5], "label_names": list("abcde")}}
    model = convert_state(timm_state(V1), config=told)
    assert pictures(model) == (shortest, 48, 0, Mode.CENTRE, 48, 48,
                               Filter.BILINEAR_ANTIALIASED, 1)
    assert model.class_names == list("abcde") and model.description["mean"] == [127.5] * 3
    assert model.description["scale"] == [1 / 127.5, 1 / 63.75, 1 / 127.5]
    tiny = torchvision_state(official_state(E=96, depths=(1, 1, 6, 1), heads=(1, 2, 4, 8), grid=24))
    assert pictures(convert_state(tiny))[1:6] == (232, 0, Mode.CENTRE, 224, 224)
    assert pictures(convert_case("torchvision-v2"))[1:6] == (260, 0, Mode.CENTRE, 256, 256)
    assert any("swin_v2_t" in text for text in convert_case("torchvision-v2").remarks)
    assert pictures(convert_case("hucao"))[:4] == (exact, 48, 48, Mode.WHOLE)
    assert convert_case("simmim").description["resize_rule"] == Resize.NONE


def test_hugging_faces_preprocessors():
    def told(**entries):
        config = {"id2label": {str(k): name for k, name in enumerate("abcde")}}
        return convert_state(hugging_face_state(V1), config=config, preprocessor={
            "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.5, 0.25], **entries})

    names = ("resize_rule", "resize_a", "resize_b", "mode", "crop_h", "crop_w", "resize_filter")
    model = told(size={"height": 48, "width": 64}, resample=2, rescale_factor=1 / 255)
    assert words(model, *names) == (Resize.EXACT, 48, 64, 0, 0, 0, 1)
    assert np.allclose(model.description["mean"], [127.5, 102, 76.5])
    assert np.allclose(model.description["scale"], [1 / 127.5, 1 / 127.5, 1 / 63.75])
    assert model.class_names == list("abcde")
    model = told(size={"shortest_edge": 60}, do_center_crop=True, crop_size=48, resample=3)
    assert words(model, *names) == (Resize.SHORTEST, 60, 0, Mode.CENTRE, 48, 48, 3)
    model = told(size=48, do_center_crop=True, crop_size={"height": 40, "width": 48})
    assert words(model, *names) == (Resize.EXACT, 48, 48, Mode.CENTRE, 40, 48, 1)
    model = told(size=48, resample=1)
    assert any("way of resizing (1)" in text for text in model.remarks)
    model = told(size=[1, 2, 3], do_normalize=False)
    assert model.description["mean"] == [0] * 3 and "no size that is known" in model.remarks[0]
    assert np.allclose(model.description["scale"], 1 / 255)
    assert words(told(do_resize=False, size=48), "resize_rule") == (Resize.NONE,)
    model = told(size=48, do_rescale=False, do_normalize=False)
    assert model.description["scale"] == [1] * 3
    plain = convert_state(hugging_face_state(V1), config={"id2label": {"0": "LABEL_0"}})
    assert plain.class_names[0] == "class 0"
    assert any("preprocessor_config.json" in text for text in plain.remarks)


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 600) | st.floats(width=32) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["height", "width", "shortest_edge", "longest_edge", "0", "1"]), inner), max_leaves=6)
HF_WORDS = ("model_type image_size window_size embed_dim depths num_heads patch_size hidden_act "
            "layer_norm_eps pretrained_window_sizes id2label architectures backbone_config "
            "pool_scales loss_ignore_index problem_type").split()
PICTURE_WORDS = ("do_resize size resample do_rescale rescale_factor do_normalize image_mean "
                 "image_std do_center_crop crop_size crop_pct image_processor_type do_pad "
                 "size_divisor").split()
TIMM_WORDS = ("img_size window_size pretrained_window_sizes embed_dim input_size crop_pct "
              "crop_mode interpolation mean std label_names num_classes global_pool").split()


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(HF_WORDS), odd, max_size=3),
       st.dictionaries(st.sampled_from(PICTURE_WORDS), odd),
       st.dictionaries(st.sampled_from(TIMM_WORDS), odd, max_size=3),
       st.dictionaries(st.sampled_from(TIMM_WORDS), odd))
def test_no_config_upsets_the_converter(hugging_face, pictures, arguments, told):
    hub = {"model_args": arguments, "pretrained_cfg": told}
    for name, config in (("hf", hugging_face), ("hf-v2", hugging_face),
                         ("hf-upernet", hugging_face), ("timm", hub), ("timm-v2", hub)):
        state, usual, _ = CASES[name]
        try:
            model = convert_state(state, config={**usual, **config}, preprocessor=pictures)
            blob.config_bytes(model.description)
        except Refused:
            pass


def mode_words(d):
    return [d[word] for word in ("mode", "crop_h", "crop_w", "stride_h", "stride_w")]


def test_modes():
    d = convert_state(SMALL, "--mode", "slide", "--crop", "60x90").description
    assert mode_words(d) == [1, 60, 90, 40, 60]
    d = convert_state(SMALL, "--mode", "slide", "--crop", "60x90", "--stride", "60x10").description
    assert (d["stride_h"], d["stride_w"]) == (60, 10)
    text = "model = dict(test_cfg=dict(mode='slide', crop_size=(64, 32), stride=(40, 30)))"
    d = convert_state(SMALL, config=text).description
    assert mode_words(d) == [1, 64, 32, 40, 30]
    d = convert_state(SMALL, "--mode", "whole", config=text).description
    assert mode_words(d) == [0] * 5
    d = convert_state(SMALL, "--stride", "9x9", config=text).description
    assert (d["crop_h"], d["stride_h"]) == (64, 9)
    strange = text.replace("(40, 30)", "(40, 33)")
    model = convert_state(SMALL, config=strange)
    assert model.description["mode"] == 0 and "no proper crop_size" in " ".join(model.remarks)
    d = convert_case("official", "--crop", "40x48").description
    assert (d["mode"], d["crop_h"], d["crop_w"]) == (Mode.CENTRE, 40, 48)
    d = convert_case("official", "--mode", "whole").description
    assert (d["mode"], d["crop_h"]) == (0, 0)
    assert convert_case("official", "--size", "48").description["mode"] == 0
    for case, wanted in (("official", Filter.BICUBIC_ANTIALIASED),
                         ("hucao", Filter.BICUBIC_ANTIALIASED),
                         ("psp", Filter.BILINEAR_ANTIALIASED)):
        assert convert_case(case, "--antialias").description["resize_filter"] == wanted
    for message, case, arguments in (
            ("wants --crop", "psp", ("--mode", "slide")),
            ("no meaning in mode whole", "psp", ("--crop", "9x9")),
            ("no meaning in mode centre", "official", ("--stride", "9x9")),
            ("stride_h is 70", "psp", ("--mode", "slide", "--crop", "60x60", "--stride", "70x9")),
            ("only a classifier", "psp", ("--mode", "centre", "--crop", "9x9")),
            ("only a map of classes", "official", ("--mode", "slide", "--crop", "9x9")),
            ("larger than the resized", "official", ("--crop", "55x9"))):
        with pytest.raises(Refused, match=message):
            convert_case(case, *arguments)


# Files --------------------------------------------------------------------------------------------

def test_folders_of_hubs(tmp_path, capsys):
    folder, out = tmp_path / "hub", tmp_path / "m.swin"
    folder.mkdir()
    safetensors(hugging_face_state(V2), folder / "model.safetensors")
    assert run(folder, "-o", out) == 1
    assert "image size" in capsys.readouterr().err
    (folder / "config.json").write_text(json.dumps(HF_V2))
    (folder / "preprocessor_config.json").write_text('{"size": 48}')
    assert run(folder, "-o", out) == 0 and blob.read(out).description["mask"] == -200
    assert blob.read(out).description["resize_a"] == 48
    assert run(folder / "model.safetensors", "-o", out) == 0
    assert run("--info", out) == 0 and run("--info", folder) == 0
    text = capsys.readouterr().out
    for said in ("rules      mask -200", "a classifier, features 2, 5 classes",
                 "bilinear, antialiased",
                 "config     image_size: 48", "pictures   size: 48"):
        assert said in text, said
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert checkpoint.read(str(folder / "other.safetensors")).config == {}
    for bad in ("[1]", "{", '{"a": 1, "a": 2}'):
        (folder / "config.json").write_text(bad)
        assert run(folder, "-o", out) == 1
        assert "config.json is no" in capsys.readouterr().err


@pytest.mark.parametrize("case", CASES)
def test_summaries_of_every_source(case, tmp_path, capsys):
    state, config, _ = CASES[case]
    safetensors(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = tmp_path / "m.swin"
    assert run(tmp_path, "-o", out) == 0 and run("--info", out) == 0
    text = capsys.readouterr().out
    model = convert_case(case)
    assert model.family in text
    for what, _, _ in model.dropped:
        assert what in text
    for remark in model.remarks:
        assert remark in text


def test_glam_with_other_heads_keeps_its_tokens():
    for head in (psp_state(), fpn_state(), segformer_state(), glam_segformer_state()):
        d = convert_state({**backbone_state(tokens=1), **head}).description
        assert d["tokens"] == 1 and d["token_rows"] == convert_state(GLAM).description["token_rows"]
    d = convert_case("glam-unet", "--max-size", "50x30").description
    assert d["token_rows"] == [15, 0, 2] and d["token_middle"] == [7, 0, 1]
