"""The converter on SegFormer: all its sources give one model, and what each computes otherwise."""

import numpy as np
import pytest

from checkpoints.convert import blob, canonical, convert_state, families, memory, options
from checkpoints.segformer import (REDUCTIONS, WIDTHS, authors_state, hub_state, mit_classifier,
                                   mit_state, openmmlab_state)
from swinblob.records import Body, Head, Refused, Resize

HUB = {"model_type": "segformer", "hidden_sizes": list(WIDTHS), "sr_ratios": list(REDUCTIONS),
       "num_attention_heads": [1, 2, 3], "layer_norm_eps": 1e-6, "num_encoder_blocks": 3,
       "strides": [4, 2, 2], "patch_sizes": [7, 3, 3], "depths": [1, 2, 1]}
META = """
model = dict(backbone=dict(type='MixVisionTransformer', num_heads=[1, 2, 3], num_layers=[1, 2, 1],
                           sr_ratios=[4, 2, 1], patch_sizes=[7, 3, 3]{}),
             decode_head=dict(type='SegformerHead'))
"""
# name: tensors, config.json, words of what it is recognised as, eps of blocks, features, patches
SOURCES = {
    "authors": (authors_state(), {}, "the official code", (1e-6, 1e-6, 0)),
    "openmmlab": (openmmlab_state(), {}, "mmsegmentation", (1e-6, 1e-6, 1e-6)),
    "hub": (hub_state(), HUB, "Hugging Face's SegFormer", (1e-5, 0, 0)),
    "hub-modules": (hub_state(modules=True), HUB, "Hugging Face's SegFormer", (1e-5, 0, 0)),
    "classifier": (mit_classifier(), {}, "the official code (classifier)", (1e-6, 1e-6, 0)),
    "hub-classifier": (hub_state("classifier"), HUB, "SegFormer (classifier)", (1e-5, 0, 0)),
    "hub-body": ({n.replace("segformer.", ""): a for n, a in hub_state("body").items()}, HUB,
                 "SegFormer (backbone)", (1e-5, 0, 0)),
    "body": (mit_state(), {}, "the official code (backbone)", (1e-6, 1e-6, 0)),
}


def convert(name, *arguments, config=None, **changes):
    state, usual, *_ = SOURCES[name]
    state = {key: a for key, a in {**state, **changes}.items() if a is not None}
    return convert_state(state, *arguments, config=usual if config is None else config)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_recognised_and_comes_back_from_a_blob(name, tmp_path):
    state, _, what, eps = SOURCES[name]
    assert what in families.recognised(state)
    model = convert(name)
    d = model.description
    assert (d["body"], d["width"], d["depth"], d["heads"]) == (Body.MIT, list(WIDTHS), [1, 2, 1],
                                                               [1, 2, 3])
    assert d["reduction"] == [*REDUCTIONS] + [0] * 5 and d["patch_kernel"][:3] == [7, 3, 3]
    assert (d["eps"], d["feature_eps"], d["patch_eps"]) == eps
    assert d["straight"] == ("hub" in name and d["head"] == Head.MERGED_SEGFORMER)
    blob.write(tmp_path / "m.swin", model)
    read = blob.read(tmp_path / "m.swin")
    assert read.description == blob.config_from_bytes(blob.config_bytes(d))
    for spec in read.specs:
        wanted = model.weights[spec.name].load()
        assert np.allclose(read.natural(spec.name), wanted, rtol=2e-7, atol=1e-30), spec.name


@pytest.mark.parametrize("name", SOURCES)
def test_what_training_code_puts_before_names_comes_off(name):
    state, config, *_ = SOURCES[name]
    expected = convert(name)
    model = convert_state({"net.model." + n: a for n, a in state.items()}, config=config)
    assert model.description == expected.description


@pytest.mark.parametrize("name", SOURCES)
def test_no_other_source_takes_it(name):
    state, config, *_ = SOURCES[name]
    assert [f for f in families.FAMILIES if f.recognise(list(state))] == [families.segformer]
    for family in families.FAMILIES:
        if family is not families.segformer:
            with pytest.raises((Refused, IndexError)):
                family.read(memory(state, config=config), options()).check()


@pytest.mark.parametrize("name", ["openmmlab", "hub", "hub-modules", "classifier", "hub-classifier",
                                  "hub-body", "body"])
def test_the_same_weights_give_the_same_tensors(name):
    expected, model = convert("authors"), convert(name)
    for spec in canonical.tensors(model.description):
        if not spec.name.startswith("head."):
            assert np.array_equal(model.weights[spec.name].load(),
                                  expected.weights[spec.name].load()), spec.name


def test_the_head_is_merged():
    """One product a level gives what a layer, its share of the next one and BatchNorm give."""
    state, model = authors_state(), convert("authors")
    rng, ch = np.random.default_rng(1), 6
    inputs = [rng.normal(size=C) for C in WIDTHS]
    levels = [state[f"decode_head.linear_c{l}.proj.weight"].astype("f8") @ x
              + state[f"decode_head.linear_c{l}.proj.bias"] for l, x in enumerate(inputs, 1)]
    fused = (state["decode_head.linear_fuse.conv.weight"][:, :, 0, 0].astype("f8")
             @ np.concatenate(levels[::-1]))
    gamma, beta, mean, variance = (state[f"decode_head.linear_fuse.bn.{part}"].astype("f8")
                                   for part in ("weight", "bias", "running_mean", "running_var"))
    fused = (fused - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    got = model.weights["head.lateral0.bias"].load() + sum(
        model.weights[f"head.lateral{l}.weight"].load()[:, :, 0, 0] @ x
        for l, x in enumerate(inputs))
    assert got.shape == (ch,) and np.allclose(got, fused, rtol=1e-9)
    assert any(what == "decode_head.conv_seg.*" for what, _, _ in model.dropped)
    same = convert("hub")
    assert all(np.allclose(same.weights[name].load(), model.weights[name].load(), rtol=1e-9)
               for name in model.weights if name.startswith("head."))


def test_heads_are_as_wide_as_the_first_unless_something_tells():
    assert convert("hub", config={}).description["heads"] == [1, 2, 3]
    assert convert("hub", "--heads", "2,2,4").description["heads"] == [2, 2, 4]
    config = {**HUB, "num_attention_heads": [2, 4, 6]}
    assert convert("hub", config=config).description["heads"] == [2, 4, 6]
    model = convert_state(openmmlab_state(), config=META.format(""))
    assert model.description["heads"] == [1, 2, 3]
    with pytest.raises(Refused, match="do not divide"):
        convert("authors", "--heads", "3,3,3")


def test_strides_are_told_or_the_authors():
    assert convert("authors").description["patch_stride"][:3] == [4, 2, 2]
    d = convert("hub", config={**HUB, "strides": [2, 3, 4]}).description
    assert d["patch_stride"][:3] == [2, 3, 4] and d["patch"] == 2


def test_the_processor_makes_pictures_of_one_size():
    model = convert_state(hub_state(), config=HUB, preprocessor={
        "feature_extractor_type": "SegformerFeatureExtractor", "size": 640})
    d = model.description
    assert (d["resize_rule"], d["resize_a"], d["resize_b"]) == (Resize.EXACT, 640, 640)


def test_the_authors_raise_sides_to_multiples():
    text = """
test_pipeline = [dict(type='LoadImageFromFile'), dict(
    type='MultiScaleFlipAug', img_scale=(2048, 512), flip=False, transforms=[
        dict(type='AlignedResize', keep_ratio=True, size_divisor={}), dict(type='RandomFlip'),
        dict(type='Normalize', mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)])]
data = dict(test=dict(pipeline=test_pipeline))
"""
    for divisor, multiple in ((32, 32), (1, 0), ("'a'", 0)):
        model = convert_state(authors_state(), config=text.format(divisor))
        d = model.description
        assert (d["resize_rule"], d["resize_a"], d["resize_b"]) == (Resize.WITHIN, 2048, 512)
        assert d["mean"] == [1, 2, 3] and d["sides_multiple"] == multiple
        assert any("size_divisor" in text for text in model.remarks) == (divisor == "'a'")


def test_mmseg_tells_the_eps_of_all_norms():
    text = META.format(", norm_cfg=dict(type='LN', eps=1e-4)")
    d = convert_state(openmmlab_state(), config=text).description
    assert (d["eps"], d["feature_eps"], d["patch_eps"]) == (1e-4,) * 3


@pytest.mark.parametrize("name,config,text", [
    ("hub", {**HUB, "sr_ratios": [8, 4, 2]}, "sr_ratios"),
    ("hub", {**HUB, "hidden_sizes": [32, 64, 160]}, "hidden_sizes"),
    ("hub", {**HUB, "hidden_act": "relu"}, "hidden_act"),
    ("hub", {**HUB, "model_type": "swin"}, "model_type|is that of a swin"),
    ("hub", {**HUB, "num_encoder_blocks": 4}, "num_encoder_blocks"),
    ("hub", {**HUB, "strides": [4, 2]}, "strides"),
    ("hub", {**HUB, "strides": [4, 1, 2]}, "1 pixels apart"),
    ("hub-classifier", {**HUB, "problem_type": "multi_label_classification"}, "problem_type"),
    ("openmmlab", META.format(", act_cfg=dict(type='ReLU')"), "activation"),
    ("openmmlab", META.format(", out_indices=(0, 1)"), "out_indices"),
    ("openmmlab", META.format(", qk_scale=0.5"), "qk_scale"),
    ("openmmlab", META.replace("MixVisionTransformer", "ResNetV1c").format(""), "ResNetV1c"),
    ("openmmlab", META.replace("[4, 2, 1]", "[8, 4, 2]").format(""), "sr_ratios"),
])
def test_a_config_of_another_model_is_refused(name, config, text):
    with pytest.raises(Refused, match=text):
        convert(name, config=config)


@pytest.mark.parametrize("name,change,text", [
    ("authors", {"backbone.block2.1.attn.sr.weight": None}, "block2.1.attn.sr.weight is missing"),
    ("authors", {"backbone.block1.0.attn.sr.weight": np.zeros((4, 4, 1, 1), "f4")}, "reduces"),
    ("authors", {"backbone.patch_embed1.proj.weight": np.zeros((4, 3, 4, 4), "f4")}, "odd sides"),
    ("authors", {"decode_head.linear_fuse.conv.weight": np.zeros((6, 12, 1, 1), "f4")},
     "linear_fuse.conv.weight has shape"),
    ("authors", {"backbone.block1.0.attn.pool.weight": np.zeros((4, 4), "f4")}, "does not have"),
    ("authors", {"decoder.block.weight": np.zeros((4, 4), "f4")}, "does not have"),
    ("openmmlab", {"backbone.layers.0.1.0.ffn.layers.0.weight": np.zeros((8, 4, 3, 3), "f4")},
     "3x3"),
    ("openmmlab", {"backbone.layers.0.1.0.attn.attn.in_proj_bias": np.zeros(13, "f4")}, "no q, k"),
    ("hub", {"segformer.encoder.block.0.0.attention.self.value.weight": np.zeros((3, 4), "f4")},
     "value.weight has shape"),
])
def test_tensors_that_do_not_fit_are_named(name, change, text):
    with pytest.raises(Refused, match=text):
        convert(name, **change).check()
