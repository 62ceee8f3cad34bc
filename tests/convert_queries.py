"""The converter on MaskFormer, Mask2Former and OneFormer of every source."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from checkpoints.convert import (blob, canonical, convert_state, families, memory, options,
                                 run)
from checkpoints.families import hugging_face_state, official_state
from checkpoints.queries import (KINDS, body_state, detectron2_state, head_state,
                                 hugging_face_queries_state, mm_state)
from swinblob.canonical import Refused
from swinblob.records import Filter, Head, Resize, Scores, Segments

HEADS = dict(zip(KINDS, (Head.MASKFORMER, Head.MASK2FORMER, Head.ONEFORMER)))
# name: (tensors, options that it needs, words of what it is recognised as)
CASES = {f"{source}-{kind}": (make(kind), options, what)
         for kind in KINDS for source, make, options, what in (
             ("hf", hugging_face_queries_state, ["--decoder-heads", "2"], "Hugging Face's "),
             ("d2", detectron2_state, ["--decoder-heads", "2"], " of its authors (detectron2)"),
             ("mm", mm_state, ["--decoder-heads", "2"], " of mmsegmentation"))
         if (source, kind) != ("mm", "oneformer")}
OTHERS = {
    **{f"hf-modules-{kind}": hugging_face_queries_state(kind, modules=True) for kind in KINDS},
    **{f"d2-released-{kind}": detectron2_state(kind, old=True) for kind in KINDS},
    **{f"mmdet-{kind}": mm_state(kind, "panoptic_head.") for kind in KINDS[:2]},
    **{f"prefixed-{kind}": {"net." + name: a for name, a in state(kind).items()}
       for kind, state in zip(KINDS, (mm_state, detectron2_state, hugging_face_queries_state))},
}
M2F = CASES["hf-mask2former"][0]
UNUSED = ("relative_position_index", "criterion.", "layernorm.", "text_", "prompt_ctx")


def kind_of(name):
    return name.rpartition("-")[2]


def convert(name, *arguments, **meta):
    state, usual, _ = CASES[name]
    return convert_state(state, *({"--decoder-heads"} - {*arguments} and usual), *arguments, **meta)


def said(model):
    return "\n".join(model.remarks)


def numbers(model):
    return {name: weight.load() for name, weight in model.weights.items()}


# Mapping ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_every_weight_arrives_and_comes_back_from_a_blob(name, tmp_path):
    state, _, what = CASES[name]
    assert what in families.recognised(state)
    model, kind = convert(name), kind_of(name)
    got, D = numbers(model), len(model.weights["head.decoder.norm.bias"].load())
    for own, array in head_state(kind).items():
        if own.startswith("task."):
            continue
        if ".in." in own:
            parts = [got["head." + own.replace(".in.", f".{part}.")] for part in "qkv"]
            assert np.array_equal(np.concatenate(parts), array) and len(array) == 3 * D, own
        else:
            assert np.array_equal(got["head." + own], array), own
    body = body_state()
    for own, theirs in (("stage0.block1.attn.qkv.weight", "layers.0.blocks.1.attn.qkv.weight"),
                        ("stage2.merge.weight", "layers.2.downsample.reduction.weight"),
                        ("stage3.norm.bias", "norm3.bias"),
                        ("stage1.block0.mlp.fc2.bias", "layers.1.blocks.0.mlp.fc2.bias")):
        assert np.array_equal(got[own], body[theirs]), own
    blob.write(tmp_path / "m.swin", model)
    read = blob.read(tmp_path / "m.swin")
    assert read.description == blob.config_from_bytes(blob.config_bytes(model.description))
    for spec in read.specs:
        assert np.allclose(read.natural(spec.name), got[spec.name], rtol=2e-7,
                           atol=1e-30), spec.name


@pytest.mark.parametrize("name", OTHERS)
def test_other_names_give_the_same_weights(name):
    kind = kind_of(name)
    expected = numbers(convert(f"hf-{kind}"))
    got = numbers(convert_state(OTHERS[name], "--decoder-heads", "2"))
    assert got.keys() == expected.keys()
    for own in got:
        assert np.array_equal(got[own], expected[own]), own


@pytest.mark.parametrize("name", CASES)
def test_descriptions(name):
    d, kind = convert(name).description, kind_of(name)
    deformable = kind != "maskformer"
    assert (d["head"], d["classes"], d["head_channels"], d["head_inputs"]) == (
        HEADS[kind], 3, 32, 15)
    assert (d["feature_norms"], d["final_norm"]) == (15, 0)
    assert (d["window_h"], d["shift_h"]) == ([3] * 4, [1] * 4)
    assert [d["query_" + key] for key in (
        "count", "width", "masks", "heads", "layers", "hidden", "projected")] == [
            5, 32 if deformable else 24, 32, 2, 2, 12, int(not deformable)]
    assert [d["query_pixel_" + key] for key in ("heads", "layers", "hidden")] == (
        [2, 1, 20] if deformable else [0] * 3)
    assert [d["query_start_" + key] for key in ("layers", "hidden")] == (
        [1, 12] if kind == "oneformer" else [0] * 2)


def test_what_projects_or_not():
    for kind in KINDS[:2]:
        for make in (hugging_face_queries_state, detectron2_state, mm_state):
            for D in (16, 32):
                model = convert_state(make(kind, D=D, projected=True), "--decoder-heads", "2")
                assert model.description["query_projected"] == 1
            assert not convert_state(make(kind, D=32, projected=False),
                                     "--decoder-heads", "2").description["query_projected"]
            with pytest.raises(Refused, match="(input_proj|project).*missing.*16 channels"):
                convert_state(make(kind, D=16, projected=False))
    with pytest.raises(Refused, match="input_projections.*missing"):
        convert_state(hugging_face_queries_state("oneformer", D=16, projected=False))


# What weights do not tell -------------------------------------------------------------------------

def test_heads_of_the_decoder():
    assert convert("hf-mask2former", "--decoder-heads", "4").description["query_heads"] == 4
    for make in (hugging_face_queries_state, detectron2_state):
        for kind in KINDS[1:]:
            model = convert_state(make(kind, heads=4))
            assert model.description["query_heads"] == 4 and "heads" not in said(model)
    config = {"decoder_config": {"decoder_attention_heads": 3}}
    assert convert_state(CASES["hf-maskformer"][0],
                         config=config).description["query_heads"] == 3
    for name in ("hf-maskformer", "d2-maskformer", "mm-maskformer"):
        model = convert_state(CASES[name][0])
        assert model.description["query_heads"] == 8 and "--decoder-heads N" in said(model)
    assert convert_state(mm_state("mask2former", heads=8)).description["query_heads"] == 8
    for state in (CASES["mm-mask2former"][0], mm_state("maskformer", D=12),
                  detectron2_state("maskformer", D=20)):
        with pytest.raises(Refused, match="give --decoder-heads N"):
            convert_state(state)
    with pytest.raises(Refused, match="5 heads do not divide the 32 channels of .*query_embed"):
        convert("mm-mask2former", "--decoder-heads", "5")
    with pytest.raises(Refused, match="attentions have 4 heads, but .*attention_weights.* has 2"):
        convert_state(M2F, config={"num_attention_heads": 4})
    text = ("model = dict(decode_head=dict(transformer_decoder=dict(layer_cfg=dict("
            "self_attn_cfg=dict(num_heads=%d), cross_attn_cfg=dict(num_heads=%d)))))")
    state = CASES["mm-mask2former"][0]
    assert convert_state(state, config=text % (4, 4)).description["query_heads"] == 4
    with pytest.raises(Refused, match="only one number for all"):
        convert_state(state, config=text % (4, 8))


def test_where_scores_are_made():
    for name, usual in (("hf-maskformer", Scores.AT_MASKS), ("hf-mask2former", Scores.AT_384),
                        ("hf-oneformer", Scores.AT_MASKS), ("d2-maskformer", Scores.AT_INPUT),
                        ("d2-mask2former", Scores.AT_INPUT), ("d2-oneformer", Scores.AT_PICTURE),
                        ("mm-maskformer", Scores.AT_INPUT), ("mm-mask2former", Scores.AT_INPUT)):
        assert convert(name).description["query_scores"] == usual, name
        for option, rule in (("input", Scores.AT_INPUT), ("masks", Scores.AT_MASKS),
                             ("384", Scores.AT_384), ("picture", Scores.AT_PICTURE)):
            assert convert(name, "--scores", option).description["query_scores"] == rule
    coco = detectron2_state("mask2former", K=133)
    assert convert_state(coco).description["query_scores"] == Scores.AT_PICTURE


def test_task_tokens():
    state, sharp = CASES["hf-oneformer"][0], {}
    prefix = "model.task_encoder.task_mlp.layers."
    first, first_bias, second, second_bias = (state[f"{prefix}{n}.0.{part}"].astype("f8")
                                              for n in (0, 1) for part in ("weight", "bias"))
    norm = "model.transformer_module.decoder.decoder_norm."
    for task, ids in (("semantic", [49406, 518, 10549, 533, 29119, 1550, 49407]),
                      ("instance", [49406, 518, 10549, 533, 34572, 49407]),
                      ("panoptic", [49406, 518, 10549, 533, 1072, 24755, 49407])):
        x = second @ np.maximum(first @ np.pad(ids, (0, 77 - len(ids))) + first_bias, 0)
        x = (x + second_bias - (x + second_bias).mean()) / np.sqrt((x + second_bias).var() + 1e-5)
        wanted = x * state[norm + "weight"] + state[norm + "bias"]
        for name in ("hf-oneformer", "d2-oneformer"):
            model = convert(name, "--task", task)
            sharp[task] = model.weights["head.query.task"].load()
            assert np.allclose(sharp[task], wanted[None], rtol=1e-12, atol=1e-12)
            assert model.notes["task"] == task
            assert any("text encoder" in reason for _, reason, _ in model.dropped)
    assert len({token.tobytes() for token in sharp.values()}) == 3
    assert np.array_equal(convert("hf-oneformer").weights["head.query.task"].load(),
                          sharp["semantic"])
    assert "--task has no effect" in said(convert("hf-mask2former", "--task", "panoptic"))
    with pytest.raises(Refused, match=f"{prefix}0.0.weight has shape .32, 76."):
        convert_state({**state, prefix + "0.0.weight": np.ones((32, 76), "f4")})


def test_panoptic_results():
    """From what tells of them: the number of classes, names, OneFormer's task, or --things."""
    none = convert("hf-mask2former").description
    assert none["segment_rule"] == Segments.NONE and not any(none["segment_things"])
    for name, rule, score in (
            ("hf-maskformer", Segments.HUGGING_FACE, 500), ("d2-maskformer", Segments.MASKFORMER, 800),
            ("hf-mask2former", Segments.HUGGING_FACE, 500),
            ("d2-mask2former", Segments.MASK2FORMER, 800),
            ("hf-oneformer", Segments.HUGGING_FACE, 500),
            ("d2-oneformer", Segments.MASK2FORMER, 800)):
        task = ["--task", "panoptic"] * name.endswith("oneformer")
        d = convert(name, *task, "--things", "0,2-2").description
        assert (d["segment_rule"], d["segment_object_score"]) == (rule, score), name
        assert d["segment_overlap_share"] == 800 and d["segment_things"] == [0b101] + 15 * [0]
        d = convert(name, *task, "--things", "none", "--object-score", "0.25", "--overlap-share",
                    "0").description
        assert d["segment_object_score"] == 250 and d["segment_overlap_share"] == 0
        assert d["segment_rule"] == rule and not any(d["segment_things"])
        K = d["classes"]
        assert convert(name, *task, "--things", "all").description["segment_things"][0] == 2**K - 1
        if name.startswith("d2"):
            assert d["query_scores"] == Scores.AT_PICTURE
    coco = convert_state(detectron2_state("mask2former", K=133))
    assert coco.description["segment_things"][:5] == [2**32 - 1] * 2 + [0xffff, 0, 0]
    assert "133 classes are taken for those of coco, 80 of them things" in said(coco)


def named(path, K, *arguments):
    """A Mask2Former of K classes in a file of that name."""
    chosen = options(*arguments)
    chosen.checkpoint = path
    state = hugging_face_queries_state("mask2former", K=K)
    return families.read(memory(state), chosen)


def test_panoptic_results_of_names_and_processors():
    for path in ("mask2former-panoptic.pth", "mask2former-swin-tiny-Panoptic/model.safetensors"):
        d = named(path, 19).description
        assert d["segment_rule"] == Segments.HUGGING_FACE
        assert d["segment_things"][0] == sum(1 << k for k in range(11, 19))
        model = named(path, 6)
        assert not model.description["segment_rule"]
        assert "nothing tells which of the 6 classes are things (--things)" in said(model)
    assert not named("mask2former-semantic.pth", 19).description["segment_rule"]
    told = {"metadata": {"thing_ids": [0, 2]}}
    model = convert("hf-oneformer", "--task", "panoptic", preprocessor=told)
    assert model.description["segment_things"][0] == 0b101
    assert not convert("hf-oneformer", preprocessor=told).description["segment_rule"]


def test_instances():
    """As an option or a task says; of all classes, of things where the data set tells them."""
    for name, rule, score, share in (
            ("hf-maskformer", Segments.INSTANCES_HUGGING_FACE, 500, 0),
            ("hf-mask2former", Segments.INSTANCES_HUGGING_FACE, 500, 0),
            ("d2-mask2former", Segments.INSTANCES, 0, 0),
            ("hf-oneformer", Segments.INSTANCES_ONEFORMER, 500, 800),
            ("d2-oneformer", Segments.INSTANCES, 0, 0)):
        asked = ["--task" if name.endswith("oneformer") else "--segments", "instance"]
        d = convert(name, *asked).description
        assert (d["segment_rule"], d["segment_object_score"]) == (rule, score), name
        assert d["segment_overlap_share"] == share
        assert d["segment_things"] == [2 ** d["classes"] - 1] + 15 * [0]
        assert d["instance_most"] == (100 if name == "d2-mask2former" else 0)
        assert d["query_scores"] == (Scores.AT_PICTURE if name.startswith("d2") else
                                     Scores.AT_384 if name == "hf-mask2former" else
                                     Scores.AT_MASKS)
        d = convert(name, *asked, "--things", "1", "--object-score", "0.25").description
        assert d["segment_object_score"] == 250 and d["segment_things"][0] == 0b10
    d = convert("hf-oneformer", "--task", "instance", "--overlap-share", "0.3").description
    assert d["segment_overlap_share"] == 300
    for K, things in ((133, 2 ** 80 - 1), (80, 2 ** 80 - 1), (19, 0xff << 11)):
        d = convert_state(detectron2_state("mask2former", K=K), "--segments",
                          "instance").description
        assert sum(word << 32 * i for i, word in enumerate(d["segment_things"])) == things
    assert convert("hf-mask2former", "--segments", "panoptic", "--things",
                   "1").description["segment_rule"] == Segments.HUGGING_FACE


def test_instances_of_names_and_classes():
    for path in ("mask2former-swin-tiny-coco-instance/model.safetensors", "My_Instance_1.pth"):
        for K in (8, 6):
            d = named(path, K).description
            assert d["segment_rule"] == Segments.INSTANCES_HUGGING_FACE
            assert d["segment_things"][0] == 2 ** K - 1
    assert named("mask2former.pth", 80).description["segment_things"][:3] == [2 ** 32 - 1] * 2 + [
        0xffff]
    for path in ("mask2former.pth", "instances/mask2former.pth"):
        assert not named(path, 8).description["segment_rule"]
    assert named("panoptic/instance.pth", 19).description["segment_rule"] == Segments.HUGGING_FACE
    assert "its name says instance: it is taken for a model of such results (--segments)" in said(
        named("My_Instance_1.pth", 8))
    assert not named("My_Instance_1.pth", 8, "--segments", "none").description["segment_rule"]
    assert not named("coco.pth", 133, "--segments", "none").description["segment_rule"]
    d2 = detectron2_state("maskformer", K=80)
    assert not convert_state(d2).description["segment_rule"]
    assert convert_state(d2, "--things", "coco").description["segment_rule"] == Segments.MASKFORMER


def test_segments_of_mmdetection():
    """MaskFormerFusionHead's, whose settings are told, or else those of its configs."""
    def of(kind, *arguments, K=7, **meta):
        state = mm_state(kind, "panoptic_head.", K=K)
        return convert_state(state, "--decoder-heads", "2", *arguments, **meta).description

    for kind, rule in (("maskformer", Segments.MASKFORMER), ("mask2former", Segments.MASK2FORMER)):
        d = of(kind)
        assert not d["segment_rule"] and d["query_scores"] == Scores.AT_INPUT
        d = of(kind, "--things", "0,2")
        assert (d["segment_rule"], d["segment_object_score"]) == (rule, 800)
        assert d["segment_overlap_share"] == 800 and d["segment_things"][0] == 0b101
        assert d["query_scores"] == Scores.AT_PICTURE
        assert of(kind, K=133)["segment_things"][:3] == [2 ** 32 - 1] * 2 + [0xffff]
        d = of(kind, "--segments", "instance")
        assert (d["segment_rule"], d["segment_object_score"]) == (Segments.INSTANCES, 0)
        assert d["instance_most"] == 100 and d["segment_things"][0] == 2 ** 7 - 1
    text = ("model = dict(panoptic_fusion_head=dict(type='MaskFormerFusionHead', "
            "num_things_classes=3), test_cfg=dict(%s))")
    both = "panoptic_on=True, instance_on=True, object_mask_thr=0.7, iou_thr=0.6, max_per_image=50"
    d = of("mask2former", config=text % (both + ", filter_low_score=False"))
    assert (d["segment_rule"], d["segment_things"][0]) == (Segments.MASKFORMER, 0b111)
    assert (d["segment_object_score"], d["segment_overlap_share"]) == (700, 600)
    d = of("maskformer", config=text % (both + ", filter_low_score=True"))
    assert d["segment_rule"] == Segments.MASK2FORMER and d["instance_most"] == 0
    d = of("mask2former", config=text % "panoptic_on=False, instance_on=True, max_per_image=50")
    assert (d["segment_rule"], d["segment_things"][0]) == (Segments.INSTANCES, 0b111)
    assert (d["instance_most"], d["segment_overlap_share"]) == (50, 0)
    for odd in ("max_per_image=5000", "max_per_image='x'", "object_mask_thr=7, iou_thr=None"):
        d = of("mask2former", "--segments", "instance", config=text % odd)
        assert (d["instance_most"], d["segment_object_score"]) == (100, 0)
    with pytest.raises(Refused, match="class 8 is called one of things"):
        of("maskformer", config=(text % both).replace("=3", "=9"))


def test_panoptic_results_refused():
    for name, options, words in (
            ("hf-oneformer", ["--things", "all"], "--task panoptic"),
            ("hf-maskformer", ["--things", "4,99"], "class 99 is called one of things"),
            ("mm-mask2former", ["--things", "all"], "mmsegmentation does not compute"),
            ("mm-maskformer", ["--segments", "instance"], "--segments .* does not compute"),
            ("d2-maskformer", ["--segments", "instance"], "--segments instance: there is no rule"),
            ("d2-oneformer", ["--segments", "instance"], "--segments: OneFormer .* --task"),
            ("d2-mask2former", ["--segments", "instance", "--things", "none"], "--things none"),
            ("hf-mask2former", ["--segments", "instance", "--things", "7"], "class 7 is called"),
            ("hf-mask2former", ["--segments", "instance", "--overlap-share", "0.8"],
             "--overlap-share")):
        with pytest.raises(Refused, match=words):
            convert(name, *options)
    assert "--object-score has no effect" in said(convert("hf-maskformer", "--object-score", "0.5"))


def test_options_without_effect_are_remarked():
    model = convert_state(official_state(), "--decoder-heads", "2", "--task", "semantic",
                          "--scores", "input")
    assert said(model).count("has no effect") == 3


# Pictures -----------------------------------------------------------------------------------------

def pictures(model, *more):
    d = model.description
    return tuple(d[key] for key in ("resize_rule", "resize_a", "resize_b", "resize_filter",
                                    "sides_cut", "sides_multiple", "query_size_divisor", *more))


@pytest.mark.parametrize("told, wanted", [
    ({"image_processor_type": "Mask2FormerImageProcessor", "size": {"height": 384, "width": 400},
      "size_divisor": 32}, (Resize.EXACT, 384, 400, 1, 1, 32, 0)),
    ({"feature_extractor_type": "MaskFormerFeatureExtractor", "size": 640, "max_size": 2560,
      "size_divisibility": 32}, (Resize.WITHIN, 2560, 640, 1, 1, 32, 0)),
    ({"image_processor_type": "MaskFormerImageProcessor", "size_divisor": 0, "size": {
        "shortest_edge": 512, "longest_edge": 2048}}, (Resize.WITHIN, 2048, 512, 1, 1, 0, 0)),
    ({"image_processor_type": "OneFormerImageProcessor", "size": {
        "shortest_edge": 640, "longest_edge": 2560}}, (Resize.WITHIN, 2560, 640, 1, 1, 0, 0)),
    ({"image_processor_type": "OneFormerImageProcessorFast", "size": 600, "_max_size": 1000,
      "size_divisor": 32}, (Resize.WITHIN, 1000, 600, 1, 1, 0, 0)),
    ({"image_processor_type": "Mask2FormerImageProcessorFast"},
     (Resize.WITHIN, 1333, 800, 1, 1, 32, 0)),
    ({"do_resize": True, "size": 700}, (Resize.SHORTEST, 700, 0, 1, 1, 32, 0))])
def test_hugging_faces_processors(told, wanted):
    model = convert("hf-mask2former", preprocessor=told)
    assert pictures(model) == wanted
    assert not model.remarks[:-1] and "names" in said(model)
    assert np.allclose(model.description["mean"], [123.675, 116.28, 103.53])


def test_odd_processors_are_remarked():
    for divisor in (-1, "x", [32], 5000, 1.5):
        model = convert("hf-mask2former", preprocessor={"size": 64, "size_divisor": divisor})
        assert "size_divisor" in said(model) and pictures(model)[5] == 32
    model = convert("hf-mask2former", config={"is_training": True})
    assert "is_training" in said(model)
    assert "no preprocessor_config.json" in said(model)


@pytest.mark.parametrize("K, width, wanted", [
    (150, 4, (Resize.WITHIN, 2048, 512)), (19, 4, (Resize.WITHIN, 2048, 1024)),
    (65, 4, (Resize.WITHIN, 2048, 2048)), (133, 4, (Resize.WITHIN, 1333, 800)),
    (3, 4, (Resize.NONE, 0, 0))])
def test_sizes_of_the_authors_tests(K, width, wanted):
    model = convert_state(detectron2_state("mask2former", K=K))
    assert pictures(model)[:3] == wanted
    assert pictures(model)[4:] == (0, 0, 32)
    assert ("pictures keep their own" in said(model)) == (K == 3)
    assert model.description["resize_filter"] == (
        Filter.BILINEAR_ANTIALIASED if K != 3 else Filter.BILINEAR)
    padded = convert_state(detectron2_state("maskformer", K=K)).description["query_size_divisor"]
    assert padded == (0 if K == 133 else 32)


def test_means_of_the_authors_files():
    state = {**detectron2_state("mask2former"), "pixel_mean": np.full((3, 1, 1), 100, "f4"),
             "pixel_std": np.array([[[50]], [[60]], [[70]]], "f4")}
    d = convert_state(state).description
    assert d["mean"] == [100] * 3 and np.allclose(d["scale"], [1 / 50, 1 / 60, 1 / 70])
    for bad in (np.zeros((3, 1, 1), "f4"), np.ones((4, 1, 1), "f4"),
                np.full((3, 1, 1), np.nan, "f4")):
        with pytest.raises(Refused, match="pixel_std is no std"):
            convert_state({**state, "pixel_std": bad})


def test_padding_of_mmsegmentations_configs():
    state = CASES["mm-mask2former"][0]
    text = "model = dict(data_preprocessor=dict(type='%s', mean=[1, 2, 3], std=[4, 5, 6], %s))"
    for kind, words, wanted in (
            ("SegDataPreProcessor", "test_cfg=dict(size_divisor=16)", 16),
            ("SegDataPreProcessor", "size=(512, 512)", 0),
            ("mmdet.DetDataPreprocessor", "pad_size_divisor=32", 32),
            ("mmdet.DetDataPreprocessor", "pad_size_divisor=1", 0)):
        model = convert_state(state, "--decoder-heads", "2", config=text % (kind, words))
        assert model.description["query_size_divisor"] == wanted, words
        assert model.description["mean"] == [3, 2, 1] and "pads" not in said(model)
    for words in ("test_cfg=dict(size=(64, 64))", "test_cfg=dict(size_divisor=32), pad_val=3"):
        model = convert_state(state, "--decoder-heads", "2",
                              config=text % ("SegDataPreProcessor", words))
        assert "which a blob cannot say" in said(model)
    assert convert("mm-mask2former").description["query_size_divisor"] == 32
    assert convert("mm-maskformer").description["query_size_divisor"] == 0


def test_names_of_classes():
    config = {"id2label": {"0": "a", "1": "b", "2": "c"}}
    assert convert("hf-oneformer", config=config).class_names == list("abc")
    model = convert("mm-maskformer", dataset_meta={"classes": ("x", "y", "z")})
    assert model.class_names == list("xyz")


# Refusing -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CASES)
def test_missing_extra_and_misshapen_tensors_are_named(name):
    state, usual, _ = CASES[name]
    kinds = {}
    for tensor in state:
        if not any(part in tensor.replace("decoder.layernorm", "") for part in UNUSED):
            kinds.setdefault(re.sub(r"\d+", "", tensor), []).append(tensor)
    telling = ("query_embed.weight", "mask_projection.weight", "task_mlp.layers.0.weight",
               "task_mlp.layers.0.0.weight", "level_embed", "level_encoding.weight",
               "fpn.stem.0.weight")     # without them it is another kind
    for n, tensor in enumerate(tensors[-1] for tensors in kinds.values()):
        array = state[tensor]
        with pytest.raises(Refused) as refusal:
            convert_state({other: a for other, a in state.items() if other != tensor}, *usual)
        told = str(refusal.value)
        assert tensor.endswith(telling) or tensor in told or (
            re.search(r"tensors that the recognised|(norm|project\S*|proj\S*)\.weight and", told)
            ), (tensor, told)
        damage = (array[..., None], np.ones(array.shape, "i8"),
                  np.concatenate([array, array[:1]]))[n % 3]
        if n % 3 == 2 and re.search("query_embed|queries_embedder|cls_embed|class_", tensor):
            continue                    # more queries or classes
        with pytest.raises(Refused):
            convert_state({**state, tensor: damage}, *usual)
    extra = next(iter(kinds.values()))[0] + ".more"
    with pytest.raises(Refused, match=re.escape(extra)):
        convert_state({**state, extra: np.ones((3, 3), "f4")}, *usual)


def test_no_source_is_taken_for_another():
    for name, (state, usual, _) in CASES.items():
        taking = [family for family in families.FAMILIES if family.recognise(list(state))]
        source = {"hf": families.hugging_face_queries, "d2": families.detectron2,
                  "mm": families.mm_queries}[name.partition("-")[0]]
        assert taking[0] is source
    for family in (families.hugging_face_queries, families.detectron2, families.mm_queries):
        for state in (official_state(), hugging_face_state(official_state())):
            assert not family.recognise(list(state))


def without(state, *parts):
    return {name: a for name, a in state.items() if not any(part in name for part in parts)}


ONE = np.ones((3, 3), "f4")
D2 = CASES["d2-maskformer"][0]
REFUSED = (
    ("TransformerEncoderPixelDecoder", {**D2, "sem_seg_head.pixel_decoder.transformer.encoder."
                                        "layers.0.self_attn.in_proj_weight": ONE}),
    ("TransformerEncoderPixelDecoder", {**CASES["mm-maskformer"][0], "decode_head.pixel_decoder."
                                        "encoder.layers.0.self_attn.attn.in_proj_weight": ONE}),
    ("ENC_LAYERS", {**D2, "sem_seg_head.predictor.transformer.encoder.layers.0.norm1.bias": ONE}),
    ("over a ResNet", {**without(D2, "backbone."), "backbone.stem.conv1.weight": ONE}),
    ("over a ResNet", {**without(M2F, ".encoder.embeddings", "pixel_level_module.encoder"),
                       "model.pixel_level_module.encoder.embedder.embedder.weight": ONE}),
    ("over a DiNAT", {**without(M2F, "pixel_level_module.encoder"),
                      "model.pixel_level_module.encoder.encoder.levels.0.layers.0.gamma": ONE}),
    ("over a DiNAT", {**without(D2, "backbone."), "backbone.levels.0.blocks.0.gamma1": ONE}),
    ("over a ConvNeXt", {**without(D2, "backbone."), "backbone.stages.0.0.gamma": ONE}),
    ("over a ResNet", {**without(CASES["mm-mask2former"][0], "backbone."),
                       "backbone.layer1.0.conv1.weight": ONE}),
    ("of timm", {**without(M2F, "pixel_level_module.encoder"),
                 "model.pixel_level_module.encoder._backbone.conv1.weight": ONE}),
    ("over a backbone that is not known", without(D2, "backbone.")),
    ("without its classes", {name.removeprefix("model."): a for name, a in M2F.items()
                             if not name.startswith("class_")}),
    ("more than one level", {**CASES["d2-mask2former"][0],
                             "sem_seg_head.pixel_decoder.adapter_2.weight": ONE}),
    ("MaskDINO", {**D2, "sem_seg_head.predictor.label_enc.weight": ONE}),
    ("MaskDINO", {**D2, "sem_seg_head.predictor.decoder.bbox_embed.0.weight": ONE}),
    ("mmdetection 2", {**CASES["mm-maskformer"][0], "decode_head.transformer_decoder.layers.0."
                       "attentions.0.attn.in_proj_weight": ONE}),
    ("absolute_pos_embed", {**D2, "backbone.absolute_pos_embed": np.ones((1, 4, 9, 9), "f4")}),
    ("of a kind of its own", {"sem_seg_head.layer_1.weight": ONE}),
    ("no class beside the null class", {
        **M2F, "class_predictor.weight": np.ones((1, 32), "f4"),
        "class_predictor.bias": np.ones(1, "f4")}),
    ("no multiple of 12", {**CASES["d2-mask2former"][0], "sem_seg_head.pixel_decoder.transformer."
                           "encoder.layers.0.self_attn.attention_weights.weight":
                           np.ones((32, 32), "f4")}),
)


@pytest.mark.parametrize("what, state", REFUSED)
def test_refusals_by_name(what, state):
    with pytest.raises(Refused, match=re.escape(what)):
        convert_state(state)


@pytest.mark.parametrize("kind, config", [
    ("mask2former", {"pre_norm": True}), ("oneformer", {"pre_norm": True}),
    ("oneformer", {"use_task_norm": False}), ("oneformer", {"layer_norm_eps": 1e-6}),
    ("maskformer", {"decoder_config": {"auxiliary_loss": True}}),
    ("maskformer", {"decoder_config": {"activation_function": "gelu"}}),
    ("mask2former", {"activation_function": "gelu"}), ("mask2former", {"common_stride": 8}),
    ("mask2former", {"architectures": ["Mask2FormerForVideoSegmentation"]}),
    ("mask2former", {"backbone_config": {"model_type": "resnet"}}),
    ("mask2former", {"backbone_config": {"out_features": ["stage2", "stage3", "stage4"]}}),
    ("mask2former", {"backbone_config": {"depths": [2, 2, 6, 2]}}),
    ("mask2former", {"backbone_config": {"window_size": 7}}),
    ("mask2former", {"num_queries": 100}), ("mask2former", {"decoder_layers": 10}),
    ("mask2former", {"feature_size": 256}), ("mask2former", {"mask_feature_size": 256}),
    ("mask2former", {"encoder_layers": 6}), ("mask2former", {"hidden_dim": 256}),
    ("mask2former", {"dim_feedforward": 2048}), ("oneformer", {"query_dec_layers": 2}),
    ("oneformer", {"conv_dim": 256}), ("maskformer", {"fpn_feature_size": 256}),
    ("maskformer", {"decoder_config": {"decoder_layers": 6}}),
    ("maskformer", {"decoder_config": {"d_model": 256}})])
def test_configs_that_speak_of_another_model(kind, config):
    key = next(iter(next(iter(config.values())))) if isinstance(
        next(iter(config.values())), dict) else next(iter(config))
    words = {"architectures": "videos", "model_type": "backbone is a resnet",
             "out_features": "head reads", "window_size": "windows are 7"}.get(key, key)
    with pytest.raises(Refused, match=words):
        convert(f"hf-{kind}", config=config)


def test_configs_that_fit():
    body = {"model_type": "swin", "depths": [2, 1, 1, 1], "window_size": 3, "embed_dim": 4,
            "out_features": ["stage1", "stage2", "stage3", "stage4"], "layer_norm_eps": 1e-6}
    config = {"pre_norm": False, "num_queries": 5, "decoder_layers": 3, "hidden_dim": 32,
              "feature_size": 32, "mask_feature_size": 32, "encoder_layers": 1,
              "num_attention_heads": 2, "dim_feedforward": 12, "backbone_config": body}
    assert convert("hf-mask2former", config=config).description["eps"] == 1e-6
    config = {"decoder_config": {"auxiliary_loss": False, "d_model": 24, "decoder_layers": 2},
              "backbone_config": {**body, "model_type": "maskformer-swin"}}
    assert convert("hf-maskformer", config=config).description["query_layers"] == 2


@pytest.mark.parametrize("words, message", [
    ("type='MaskFormerHead'", "head is a MaskFormerHead"),
    ("pixel_decoder=dict(type='mmdet.PixelDecoder')", "pixel decoder is a PixelDecoder"),
    ("pixel_decoder=dict(norm_cfg=dict(type='GN', num_groups=16))", "GroupNorm of 32"),
    ("pixel_decoder=dict(norm_cfg=dict(type='BN'))", "GroupNorm of 32"),
    ("pixel_decoder=dict(act_cfg=dict(type='GELU'))", "activation of the head to GELU"),
    ("transformer_decoder=dict(layer_cfg=dict(ffn_cfg=dict(act_cfg=dict(type='GELU'))))", "GELU"),
    ("transformer_decoder=dict(num_layers=9)", "num_layers is 9, but the weights have 2"),
    ("positional_encoding=dict(num_feats=16)", "not normalised"),
    ("pixel_decoder=dict(positional_encoding=dict(normalize=False))", "not normalised"),
    ("num_queries=100", "num_queries is 100"), ("num_transformer_feat_level=4", "not 3")])
def test_config_texts_that_speak_of_another_model(words, message):
    with pytest.raises(Refused, match=message):
        convert("mm-mask2former", config=f"model = dict(decode_head=dict({words}))")


# Files --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_model_final_pkl(kind, tmp_path, capsys):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": detectron2_state(kind), "__author__": "x",
                                   "matching_heuristics": True}))
    assert run(path, "-o", tmp_path / "m.swin", "--decoder-heads", 2) == 0
    text = capsys.readouterr().out
    assert "pickle of NumPy arrays in model" in text and "5 queries of" in text
    read = blob.read(tmp_path / "m.swin")
    assert read.description["head"] == HEADS[kind]
    assert run("--info", tmp_path / "m.swin") == 0 and run("--info", path) == 0
    assert "of its authors (detectron2)" in capsys.readouterr().out


WORDS = ("pre_norm decoder_config backbone_config num_attention_heads hidden_dim num_queries "
         "decoder_layers id2label architectures layer_norm_eps activation_function is_training "
         "model_type window_size out_features depths d_model").split()
odd = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 600) | st.floats(width=32) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(WORDS), odd, max_size=3),
       st.dictionaries(st.sampled_from(["size", "max_size", "size_divisor", "do_resize",
                                        "image_processor_type"]), odd))
def test_no_config_upsets_the_converter(kind, config, preprocessor):
    try:
        model = convert(f"hf-{kind}", config=config, preprocessor=preprocessor)
        blob.config_bytes(model.description)
    except Refused:
        pass


def test_tensors_of_every_kind_fit_the_blobs_order():
    for name in CASES:
        specs = [spec.name for spec in canonical.tensors(convert(name).description)]
        assert len(specs) == len(set(specs))
        assert max(len(spec) for spec in specs) < 60
