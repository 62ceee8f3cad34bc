"""Checkpoints of segmentation_models_pytorch: decoders, wrappers, configs, what is refused."""

import re

import numpy as np
import pytest

from checkpoints.convert import canonical, convert_state, families
from checkpoints.families import official_state, smp_state
from swinblob.canonical import Refused
from swinblob.records import Corners, Head, Input

# The grid of 16 patches has windows of 3, 3, 3 and 2 on sides of 16, 8, 4 and 2
V1 = official_state(depths=(2, 2, 1, 1), heads=(1, 2, 4, 4), grid=16)
V2 = official_state(version=2, depths=(2, 2, 1, 1), heads=(1, 2, 4, 4), grid=16)
SHORT = official_state(depths=(2, 2, 1), heads=(1, 2, 4), grid=16, window=4)
STATES = {
    "upernet": smp_state("UPerNet", V1), "segformer": smp_state("Segformer", V1),
    "fpn": smp_state("FPN", V1), "fpn-concat": smp_state("FPN", V1, concat=True),
    "unet": smp_state("Unet", V1, channels=(9, 8, 7, 6, 5)),
    "unet-scse": smp_state("Unet", V1, channels=(20, 18, 17, 16, 19), scse=True),
    "unet-short": smp_state("Unet", SHORT),
    "segformer-short": smp_state("Segformer", SHORT),
}
KINDS = {"upernet": Head.UPER, "segformer": Head.GLAM_SEGFORMER, "fpn": Head.SMP_FPN,
         "unet": Head.SMP_UNET}


def said(model):
    return " ".join(model.remarks)


def config(state="upernet", **more):
    """config.json as save_pretrained writes it."""
    name = {"fpn": "FPN", "unet": "Unet", "upernet": "UPerNet"}.get(state, "Segformer")
    return {"_model_class": name, "activation": None, "aux_params": None, "classes": 3,
            "encoder_depth": 5, "encoder_name": "tu-swin_tiny_patch4_window7_224",
            "encoder_weights": None, "in_channels": 3, "img_size": 64, **more}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("prefix", ["", "model.", "net.inner.", "model._orig_mod."])
def test_every_decoder_under_every_prefix(name, prefix):
    plain, state = convert_state(STATES[name]), {prefix + n: a for n, a in STATES[name].items()}
    assert "segmentation_models_pytorch" in families.recognised(state)
    model = convert_state(state)
    assert model.description == plain.description
    d = model.description
    assert d["head"] == KINDS[name.partition("-")[0]] and d["classes"] == 3
    for spec in canonical.tensors(d):
        assert np.array_equal(model.weights[spec.name].load(), plain.weights[spec.name].load())


def test_upernets_layers_arrive():
    state, model = STATES["upernet"], convert_state(STATES["upernet"])

    def folded(name):
        gamma, beta, mean, variance = (state[f"{name}.1.{part}"].astype("f8") for part in (
            "weight", "bias", "running_mean", "running_var"))
        factor = gamma / np.sqrt(variance + 1e-5)
        return state[name + ".0.weight"] * factor.reshape(-1, 1, 1, 1), beta - mean * factor

    for ours, theirs in (("head.lateral0", "decoder.fpn_lateral_blocks.2.conv_norm_relu"),
                         ("head.lateral2", "decoder.fpn_lateral_blocks.0.conv_norm_relu"),
                         ("head.fpn1", "decoder.fpn_conv_blocks.1"),
                         ("head.pool3", "decoder.psp.blocks.3.1"),
                         ("head.bottleneck", "decoder.psp.out_conv"),
                         ("head.fuse", "decoder.fusion_block")):
        for part, wanted in zip(("weight", "bias"), folded(theirs)):
            assert np.allclose(model.weights[f"{ours}.{part}"].load(), wanted, rtol=1e-6), ours
    d = model.description
    assert d["feature_eps"] == 1e-6 and d["feature_norms"] == 15 and not d["align_corners"]
    assert d["corner_rule"] == Corners.ALIGNED and d["pool_scale"][:4] == [1, 2, 3, 6]
    assert (model.weights["stage2.norm.bias"].load() == state["decoder.feature_norms.2.bias"]).all()


def test_segformer_reads_coarse_to_fine():
    state, model = STATES["segformer"], convert_state(STATES["segformer"])
    factor = state["decoder.fuse_stage.1.weight"] / np.sqrt(
        state["decoder.fuse_stage.1.running_var"] + 1e-5)
    fuse = state["decoder.fuse_stage.0.weight"] * factor.reshape(-1, 1, 1, 1)
    got = model.weights["head.fuse.weight"].load()
    for l in range(4):
        assert np.allclose(got[:, 6 * l:6 * l + 6], fuse[:, 18 - 6 * l:24 - 6 * l], rtol=1e-6)
        assert (model.weights[f"head.lateral{l}.weight"].load()[:, :, 0, 0]
                == state[f"decoder.mlp_stage.{3 - l}.linear.weight"]).all()


def test_fpn_and_unet_are_described():
    d = convert_state(STATES["fpn"]).description
    assert d["neck_convs"][:4] == [1, 1, 2, 3] and d["head_channels"] == 32 and d["align_corners"]
    assert not d["decoder_concat"] and not d["decoder_bilinear"]
    d = convert_state(STATES["fpn-concat"], config=config(
        "fpn", decoder_interpolation="bilinear", decoder_merge_policy="cat")).description
    assert d["decoder_concat"] and d["decoder_bilinear"]
    model = convert_state(STATES["unet-scse"])
    d = model.description
    assert d["decoder_scse"] and d["decoder_width"] == [20, 18, 17, 16, 19, 0, 0, 0]
    assert [what for what, _, _ in model.dropped if "attention1" in what] == [
        "decoder.blocks.4.attention1.*"]
    assert convert_state(STATES["unet-short"]).description["decoder_width"][:4] == [20, 18, 17, 16]


# One class ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("decoder", ["UPerNet", "Segformer", "FPN", "Unet"])
def test_one_class_needs_no_option(decoder):
    more = {"channels": (9, 8, 7, 6, 5)} if decoder == "Unet" else {}
    state = smp_state(decoder, V1, K=1, **more)
    model = convert_state(state)
    weight, bias = (model.weights["head.classify." + part].load() for part in ("weight", "bias"))
    assert model.description["one_class"] and model.description["classes"] == 2
    assert not weight[0].any() and bias[0] == 0
    assert (weight[1] == state["segmentation_head.0.weight"][0]).all()
    bias = convert_state(state, "--threshold", "0.3").weights["head.classify.bias"].load()
    assert bias[0] == pytest.approx(np.log(0.3 / 0.7))


def test_classes_that_do_not_exclude_each_other():
    with pytest.raises(Refused, match="sigmoid for 3 classes"):
        convert_state(STATES["unet"], config=config("unet", activation="sigmoid"))
    convert_state(smp_state("Segformer", V1, K=1), config=config(activation="sigmoid", classes=1))


# Sizes and windows --------------------------------------------------------------------------------

def test_sizes():
    d = convert_state(STATES["upernet"]).description          # nothing tells: the size of its grid
    assert (d["input_h"], d["input_w"], d["input_multiple"]) == (64, 64, 32)
    assert d["input_rule"] == Input.EXACT and d["roll_before_pad"]
    for told in ({"dynamic_img_size": True}, {"strict_img_size": False}):
        d = convert_state(STATES["upernet"], config=config(**told)).description
        assert (d["input_h"], d["input_w"], d["input_multiple"]) == (0, 0, 32)
    d = convert_state(STATES["unet"], config=config("unet", dynamic_img_size=True)).description
    assert (d["input_h"], d["input_multiple"]) == (0, 0)
    d = convert_state(STATES["segformer-short"], "--image-size", "64x64").description
    assert d["input_multiple"] == 16
    with pytest.raises(Refused, match="72x72.*multiples of 32"):
        convert_state(STATES["upernet"], config=config(img_size=72))
    assert convert_state(STATES["unet"], config=config("unet", img_size=72)
                         ).description["input_h"] == 72


def test_windows_of_a_config():
    d = convert_state(STATES["upernet"], config=config()).description
    assert (d["window_h"], d["shift_h"]) == ([3, 3, 3, 2], [1, 1, 1, 0])
    with pytest.raises(Refused, match="image_size|image size"):
        convert_state(smp_state("UPerNet", V2))
    v2 = config(encoder_name="tu-swinv2_tiny_window8_256", window_size=4, depths=[2, 2, 1, 1],
                pretrained_window_sizes=[0, 0, 0, 0])
    d = convert_state(smp_state("UPerNet", V2), config=v2).description
    assert d["window_h"] == [4, 4, 4, 2] and d["version"] == 2
    d = convert_state(smp_state("UPerNet", V2), config={**v2, "window_size": [4, 3]}).description
    assert (d["window_h"], d["window_w"]) == ([4, 4, 4, 2], [3, 3, 3, 2])
    d = convert_state(smp_state("UPerNet", V2), config={**v2, "always_partition": True}).description
    assert (d["window_h"], d["shift_h"]) == ([4, 4, 4, 4], [2, 2, 2, 2])
    del v2["window_size"], v2["img_size"], v2["pretrained_window_sizes"]
    d = convert_state(smp_state("UPerNet", V2), config=v2).description     # by the name
    assert (d["window_h"], d["input_h"]) == ([8, 8, 8, 8], 256)


# What a config changes ----------------------------------------------------------------------------

def test_upsampling():
    model = convert_state(STATES["segformer"], config=config(upsampling=1))
    assert model.description["corner_rule"] == Corners.HALF_PIXEL and "upsampling" in said(model)
    with pytest.raises(Refused, match="upsampling is '?8"):
        convert_state(STATES["segformer"], config=config(upsampling=8))


def test_norms_of_a_config():
    """An eps holds for all of UPerNet's norms but that of psp.out_conv."""
    state = STATES["upernet"]
    model = convert_state(state, config=config(decoder_use_norm={"type": "batchnorm", "eps": 0.5}))
    for ours, theirs, eps in (("head.fuse", "decoder.fusion_block", 0.5),
                              ("head.pool1", "decoder.psp.blocks.1.1", 0.5),
                              ("head.bottleneck", "decoder.psp.out_conv", 1e-5)):
        factor = state[theirs + ".1.weight"] / np.sqrt(state[theirs + ".1.running_var"] + eps)
        assert np.allclose(model.weights[ours + ".weight"].load(),
                           state[theirs + ".0.weight"] * factor.reshape(-1, 1, 1, 1)), ours
    state = STATES["segformer"]
    bare = {n: a for n, a in state.items() if not n.startswith("decoder.fuse_stage.1.")}
    bare["decoder.fuse_stage.0.bias"] = np.ones(6, "f4")
    assert (convert_state(bare).weights["head.fuse.bias"].load() == 1).all()
    for told in ("inplace", {"type": "instancenorm", "affine": True}):
        with pytest.raises(Refused, match="batchnorm and identity"):
            convert_state(STATES["unet"], config=config(decoder_use_norm=told))
    instance = {n: a for n, a in state.items() if "running" not in n}
    with pytest.raises(Refused, match="running statistics"):
        convert_state(instance)


def test_interpolations():
    for told in ("bicubic", "area", "nearest-exact"):
        with pytest.raises(Refused, match=f"decoder_interpolation is '{told}'"):
            convert_state(STATES["unet"], config=config("unet", decoder_interpolation=told))


# Beside the model ---------------------------------------------------------------------------------

def test_buffers_of_a_lightning_module():
    state = {"model." + n: a for n, a in STATES["segformer"].items()}
    state.update({"mean": np.float32([.485, .456, .406]).reshape(1, 3, 1, 1),
                  "std": np.float32([.229, .224, .225]).reshape(1, 3, 1, 1),
                  "loss_fn.weight": np.ones(3, "f4")})
    model = convert_state(state)
    assert np.allclose(model.description["mean"], [123.675, 116.28, 103.53])
    assert np.allclose(model.description["scale"], [1 / 58.395, 1 / 57.12, 1 / 57.375])
    assert "--mean 0.485,0.456,0.406" in said(model) and "--std" in said(model)
    state["mean"] = np.float32([100, 110, 120]).reshape(1, 3, 1, 1)
    assert convert_state(state).description["mean"] == [100, 110, 120]
    model = convert_state(state, "--mean", "1,2,3")
    assert model.description["mean"] == [1, 2, 3]


def test_an_output_on_the_side_is_left_out():
    model = convert_state({**STATES["unet"], "classification_head.3.weight": np.ones((4, 32), "f4"),
                           "classification_head.3.bias": np.ones(4, "f4")})
    assert any("classification_head" in what for what, _, _ in model.dropped)


# What is not taken --------------------------------------------------------------------------------

OTHERS = {"UPerNet of SMP 0.4": "fpn_stages.0.skip_conv.0.weight",
          "MAnet": "center.top_conv.weight", "PSPNet": "psp.blocks.0.pool.1.0.weight",
          "PAN": "fpa.branch1.1.conv.weight", "Unet[+][+]": "blocks.x_0_0.conv1.0.weight",
          "Linknet": "blocks.0.block.1.0.weight", "DPT": "reassemble_blocks.0.projection.weight",
          "DeepLabV3": "aspp.0.convs.0.0.weight", "unknown decoder": "something.weight"}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_other_decoders_are_refused_by_name(name, prefix):
    state = {n: a for n, a in STATES["unet"].items() if not n.startswith("decoder.")}
    state["decoder." + OTHERS[name]] = np.ones((2, 2, 1, 1), "f4")
    if name == "DPT":
        state["segmentation_head.head.0.weight"] = state.pop("segmentation_head.0.weight")
    with pytest.raises(Refused, match=name + ".*segmentation_models_pytorch"):
        convert_state({prefix + n: a for n, a in state.items()})


def test_other_encoders_are_refused():
    state = {n: a for n, a in STATES["unet"].items() if not n.startswith("encoder.")}
    state["encoder.layer1.0.conv1.weight"] = np.ones((4, 4, 3, 3), "f4")
    with pytest.raises(Refused, match="no Swin of timm"):
        convert_state(state)
    grey = dict(STATES["unet"])
    grey["encoder.model.patch_embed.proj.weight"] = np.ones((4, 1, 4, 4), "f4")
    with pytest.raises(Refused, match="1 planes"):
        convert_state(grey)


@pytest.mark.parametrize("name", STATES)
def test_a_tensor_more_or_less_is_named(name):
    state = dict(STATES[name])
    with pytest.raises(Refused, match="decoder.extra.weight"):
        convert_state({**state, "decoder.extra.weight": np.ones(3, "f4")})
    layer = [n for n in state if n.startswith("decoder.") and state[n].ndim > 1][-1]
    for changed in (None, np.ones((*state[layer].shape[:-1], state[layer].shape[-1] + 1), "f4")):
        other = {n: a for n, a in state.items() if n != layer or changed is not None}
        if changed is not None:
            other[layer] = changed
        with pytest.raises(Refused, match=re.escape(layer)):
            convert_state(other)
