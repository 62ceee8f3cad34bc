"""What the converter takes from configs: how pictures become input, by the defaults of each
source's code, and which outputs are a choice between classes. What is left out must be said."""

import json
import re

import numpy as np
import pytest

from checkpoints import (FCN, SMALL, backbone_state, fcn_state, fpn_state, glam_segformer_state,
                         psp_state, safetensors, segformer_state, uper_state)
from checkpoints.convert import blob, convert_state, run
from checkpoints.families import (glam_unet_state, hucao_state, hugging_face_state, official_state,
                                  split_unet_state, timm_state, torchvision_state, uper_names)
from swinblob.canonical import Refused
from swinblob.records import IMAGENET_MEAN, Mode, Resize

IMAGENET = "mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"
OUR_NORMALISATION = "mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 8.0]"


def words(model, *names):
    return tuple(model.description[name] for name in names)


def sizes(model):
    return words(model, "resize_rule", "resize_a", "resize_b", "resize_filter", "resize_round")


def planes(model):
    d = model.description
    return d["mean"], [1 / s for s in d["scale"]], d["bgr"]


def said(model):
    return " | ".join(model.remarks)


FIT, EXACT = Resize.WITHIN, Resize.EXACT
KEEP, SHORTEST, LONGEST = Resize.NONE, Resize.SHORTEST, Resize.LONGEST
RAW = ([0, 0, 0], [1, 1, 1])


# mmsegmentation 1.x -------------------------------------------------------------------------------

def newer(steps="", preprocessor="bgr_to_rgb=True, " + OUR_NORMALISATION, rest="", loading=""):
    """The model of a config of 1.x, whose pipeline has `steps` between loading and packing."""
    return convert_state(SMALL, cfg=f"""
default_scope = 'mmseg'
data_preprocessor = dict(type='SegDataPreProcessor', {preprocessor})
model = dict(type='EncoderDecoder', data_preprocessor=data_preprocessor,
             test_cfg=dict(mode='whole'))
test_pipeline = [dict(type='LoadImageFromFile'{loading}), {steps} dict(type='LoadAnnotations'),
                 dict(type='PackSegInputs')]
test_dataloader = dict(batch_size=1, dataset=dict(type='X', pipeline=test_pipeline))
{rest}""")


@pytest.mark.parametrize("step, wanted", [
    ("scale=(64, 48)", (EXACT, 48, 64, 0, 1)),
    ("scale=(64, 48), keep_ratio=False", (EXACT, 48, 64, 0, 1)),
    ("scale=64", (EXACT, 64, 64, 0, 1)),
    ("scale=[64, 48], keep_ratio=True", (FIT, 64, 48, 0, 1)),
    ("scale=(99999, 48), keep_ratio=True", (SHORTEST, 48, 0, 0, 1)),
    ("scale=(64, 48), scale_factor=0.5", (EXACT, 48, 64, 0, 1)),
    ("scale_factor=1.0, keep_ratio=True", (KEEP, 0, 0, 0, 1)),
    ("scale=(64, 48), interpolation='bicubic'", (EXACT, 48, 64, 2, 1)),
    ("scale=(64, 48), backend='pillow'", (EXACT, 48, 64, 1, 1)),
    ("scale=(64, 48), backend='pillow', interpolation='bicubic'", (EXACT, 48, 64, 3, 1)),
])
def test_resize_of_1(step, wanted):
    model = newer(f"dict(type='Resize', {step}),")
    assert sizes(model) == wanted
    assert not [text for text in model.remarks if "classes' names" not in text]


@pytest.mark.parametrize("steps, message", [
    ("dict(type='Resize', scale_factor=0.5),", "factor 0.5"),
    ("dict(type='Resize', scale=(64, 48), keep_ratio=a.b),", "Resize's keep_ratio"),
    ("dict(type='Resize', scale=a.b),", "no pair of numbers"),
    ("dict(type='Resize', scale=(64, 48), interpolation='area'),", "area of cv2"),
    ("dict(type='Resize', scale=(64, 48), interpolation='nearest', backend='pillow'),",
     "nearest of pillow"),
    ("dict(type='Resize', scale=(64, 48)), dict(type='Resize', scale=(32, 32)),", "more than once"),
    ("dict(type='RandomResize', scale=(64, 48), ratio_range=(0.5, 2.0)),", "also has RandomResize"),
    ("dict(type='ResizeToMultiple', size_divisor=32),", "also has ResizeToMultiple"),
    ("dict(type='mmseg.CLAHE'),", "also has CLAHE"),
    ("dict(type='Pad', size_divisor=32),", "also has Pad"),
    ("dict(type='RandomFlip', prob=0.5),", "flips or several sizes"),
    ("some_step(),", "no literal"),
    ("dict(type='MultiScaleFlipAug', scale_factor=[1.0]),", "also has MultiScaleFlipAug"),
])
def test_steps_of_1_that_are_not_done_are_said(steps, message):
    assert message in said(newer(steps))


def test_shortest_edges():
    model = newer("dict(type='ResizeShortestEdge', scale=(48, 96), max_size=200),")
    assert sizes(model) == (FIT, 200, 48, 0, 1) and "Shortest" not in said(model)
    assert "ResizeShortestEdge" in said(newer("dict(type='ResizeShortestEdge', scale=48),"))


@pytest.mark.parametrize("preprocessor, wanted", [
    ("bgr_to_rgb=True, " + OUR_NORMALISATION, ([1, 2, 3], [4, 5, 8], 0)),
    ("rgb_to_bgr=True, " + OUR_NORMALISATION, ([1, 2, 3], [4, 5, 8], 0)),
    ("bgr_to_rgb=False, " + OUR_NORMALISATION, ([3, 2, 1], [8, 5, 4], 1)),
    (OUR_NORMALISATION, ([3, 2, 1], [8, 5, 4], 1)),
    ("bgr_to_rgb=True, mean=None, std=None, pad_val=0", (*RAW, 0)),
    ("bgr_to_rgb=True", (*RAW, 0)),
    ("size=(64, 64)", (*RAW, 1)),
])
def test_normalisation_of_1(preprocessor, wanted):
    model = newer(preprocessor=preprocessor)
    assert planes(model) == wanted and "ImageNet" not in said(model)


@pytest.mark.parametrize("preprocessor, message", [
    ("bgr_to_rgb=True, mean=array([1., 2., 3.]), std=[4, 5, 8]", "no three numbers each"),
    ("bgr_to_rgb=True, mean=[1, 2, 3], std=np.full((3,), 58.0)", "no three numbers each"),
    ("bgr_to_rgb=True, mean=[1 * 2, 2, 3], std=[4, 5, 8]", "data_preprocessor is no literal")])
def test_a_preprocessor_that_cannot_be_read_is_said(preprocessor, message):
    model = newer(preprocessor=preprocessor)
    assert message in said(model) and planes(model)[0] == list(IMAGENET_MEAN)


def test_where_1_looks_for_its_preprocessor():
    outer = f"data_preprocessor = dict(bgr_to_rgb=True, {OUR_NORMALISATION})\n"
    tail = "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))"

    def told(text):
        return planes(convert_state(SMALL, cfg=text + tail))

    assert told(outer + "model = dict(type='EncoderDecoder')\n") == ([1, 2, 3], [4, 5, 8], 0)
    assert told(outer + "model = dict(data_preprocessor=dict(bgr_to_rgb=True))\n") == (*RAW, 0)
    assert told("model = dict(type='EncoderDecoder')\n") == (*RAW, 1)
    for inherits in ("_base_ = ['x.py']\n", "with read_base():\n    from .x import *\n"):
        model = convert_state(SMALL, cfg=inherits + "model = dict(type='X')\n" + tail)
        assert planes(model)[0] == list(IMAGENET_MEAN) and "_base_ files" in said(model)


def test_other_preprocessors():
    image = ("type='mmengine.ImgDataPreprocessor', pad_size_divisor={}, bgr_to_rgb=True, "
             + OUR_NORMALISATION)

    def told(preprocessor):
        return convert_state(SMALL, cfg=f"model = dict(data_preprocessor=dict({preprocessor}))\n"
                                        "test_pipeline = [dict(type='PackSegInputs')]")

    assert planes(told(image.format(1))) == ([1, 2, 3], [4, 5, 8], 0)
    assert "multiples of 32" in said(told(image.format(32)))
    assert "pads" not in said(told(image.format(1)))
    assert planes(told("type='BaseDataPreprocessor'")) == (*RAW, 1)
    assert "is a Mine" in said(told("type='Mine', " + OUR_NORMALISATION))
    assert "no three numbers" in said(told("mean=[1.0, 2.0], std=[1.0, 2.0]"))
    assert "data_preprocessor's bgr_to_rgb" in said(told("bgr_to_rgb=a.b, " + OUR_NORMALISATION))


def test_normalising_twice_is_composed():
    model = newer("dict(type='Normalize', mean=[10, 20, 30], std=[2, 4, 5]),")
    # planes: red first after Normalize, blue first after the data_preprocessor
    assert model.description["bgr"] == 1
    mean, std, _ = planes(model)
    pixel = np.array([7.0, 8.0, 9.0])           # R, G, B
    once = (pixel - [10, 20, 30]) / [2, 4, 5]
    twice = ((once[::-1] - [1, 2, 3]) / [4, 5, 8])[::-1]
    assert np.allclose((pixel - mean) / std, twice)


def test_normalisation_beyond_what_a_blob_holds_is_refused():
    step = "dict(type='Normalize', mean=[1, 2, 3], std=[1e-5, 1e-5, 1e-5]),"
    with pytest.raises(Refused, match=r"scale\[0\] .*--std"):
        newer(step, "mean=[1, 2, 3], std=[1e-2, 1e-2, 1e-2]")


def test_floats_are_not_rounded_by_resizing():
    resize = "dict(type='Resize', scale=(64, 48)),"
    assert sizes(newer(resize))[4] == 1
    assert sizes(newer(resize, loading=", to_float32=True"))[4] == 0


def test_ways_of_loading():
    assert "camera" in said(newer(loading=", color_type='unchanged'"))
    assert "grayscale" in said(newer(loading=", color_type='grayscale'"))
    assert newer(loading=", imdecode_backend='tifffile'").description["bgr"] == 1
    assert newer(loading=", imdecode_backend='pillow'").description["bgr"] == 0


@pytest.mark.parametrize("entry, step, message", [
    ("size_divisor=32", "scale=(128, 64), keep_ratio=True", "zeros at the right.*multiples of 32"),
    ("size_divisor=32", "scale=(64, 48)", "multiples of 32"),
    ("size=(64, 96)", "scale=(64, 64)", "to 64 pixels high and 96 wide"),
    ("size=(64, 96)", "scale=(128, 64), keep_ratio=True", "64 pixels high"),
    ("size_divisor=a.b", "scale=(64, 64)", "another size"),
    ("size_divisor=32", "scale=(64, 96)", None),
    ("size_divisor=1", "scale=(61, 43)", None),
    ("size=(64, 96)", "scale=(96, 64)", None),
])
def test_padding_of_test_inputs_is_said_where_it_matters(entry, step, message):
    model = newer(f"dict(type='Resize', {step}),", f"test_cfg=dict({entry}), {IMAGENET}")
    assert bool(re.search(message or "pads test inputs", said(model))) == bool(message)
    plain = newer(f"dict(type='Resize', {step}),", f"size_divisor=32, {IMAGENET}")
    assert "pads test inputs" not in said(plain)        # in training only
    odd = newer(preprocessor=f"test_cfg=dict(size_divisor=32), pad_val=7, {IMAGENET}")
    assert "inputs with 7 at" in said(odd)


def test_pad_that_adds_nothing_is_no_remark():
    assert "Pad" not in said(newer("dict(type='Resize', scale=(64, 96)), "
                                   "dict(type='Pad', size_divisor=32),"))
    for pad in ("size=(97, 9)", "size_divisor=64", "pad_to_square=True"):
        step = f"dict(type='Resize', scale=(96, 64)), dict(type='Pad', {pad}),"
        assert "Pad" in said(newer(step))
    assert "Pad" not in said(newer("dict(type='Resize', scale=(96, 64)), "
                                   "dict(type='Pad', size=(96, 9)),"))


def test_the_pipeline_that_the_library_runs():
    loader = ("test_dataloader = dict(dataset=dict(type='{}', {}=[dict(pipeline=["
              "dict(type='Resize', scale=(32, 16))])]))")
    other = "dict(type='Resize', scale=(64, 48)),"
    assert sizes(newer(other, rest=loader.format("ConcatDataset", "datasets")))[1:3] == (16, 32)
    tta = ("tta_pipeline = [dict(type='TestTimeAug', transforms=[[dict(type='Resize', "
           "scale_factor=0.5, keep_ratio=True)]])]")
    model = newer(other, rest=tta)
    assert sizes(model)[:3] == (EXACT, 48, 64) and "flips" not in said(model)
    model = newer(rest="test_dataloader = build()\ntest_pipeline = build()")
    assert "no test pipeline" in said(model) and sizes(model)[0] == KEEP


def test_augmentation_of_1():
    step = """dict(type='TestTimeAug', transforms=[
        [dict(type='Resize', scale_factor=0.5, keep_ratio=True),
         dict(type='Resize', scale_factor=1.0, keep_ratio=True)],
        [dict(type='RandomFlip', prob=0., direction='horizontal'),
         dict(type='RandomFlip', prob=1., direction='horizontal')],
        [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]]),"""
    model = newer(step)
    assert "flips or several sizes" in said(model) and sizes(model)[0] == KEEP
    assert "factor" not in said(model)
    assert sizes(newer(step.replace("scale_factor=1.0, keep_ratio=True", "scale=(9, 8)").replace(
        "dict(type='Resize', scale_factor=0.5, keep_ratio=True),", "")))[:3] == (EXACT, 8, 9)


# mmsegmentation 0.x -------------------------------------------------------------------------------

def older(steps, augmentation="img_scale=(64, 48), flip=False"):
    """The model of a config of 0.x, whose MultiScaleFlipAug has `steps`."""
    return convert_state(SMALL, config=f"""
model = dict(type='EncoderDecoder')
img_norm_cfg = dict({OUR_NORMALISATION}, to_rgb=True)
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='MultiScaleFlipAug', {augmentation},
    transforms=[{steps} dict(type='ImageToTensor', keys=['img']), dict(type='Collect')])]
data = dict(test=dict(type='X', pipeline=test_pipeline))
""")


NORMALIZE = "dict(type='Normalize', **img_norm_cfg),"


@pytest.mark.parametrize("steps, augmentation, wanted", [
    ("dict(type='Resize'),", "img_scale=(64, 48)", (FIT, 64, 48, 0, 1)),
    ("dict(type='Resize', keep_ratio=False),", "img_scale=(64, 48)", (EXACT, 48, 64, 0, 1)),
    ("dict(type='Resize'),", "img_scale=[(64, 48)]", (FIT, 64, 48, 0, 1)),
    ("dict(type='Resize'),", "img_scale=(64, 48), img_ratios=0.5", (FIT, 32, 24, 0, 1)),
    ("dict(type='Resize'),", "img_scale=(64, 48), img_ratios=[0.5, 1.0]", (FIT, 64, 48, 0, 1)),
    ("dict(type='Resize', img_scale=(9, 9)),", "img_scale=(64, 48)", (FIT, 64, 48, 0, 1)),
    ("dict(type='Resize', min_size=60),", "img_scale=(64, 48)", (SHORTEST, 60, 0, 0, 1)),
    ("dict(type='Resize', min_size=30),", "img_scale=(64, 48)", (SHORTEST, 48, 0, 0, 1)),
    ("", "img_scale=(64, 48)", (KEEP, 0, 0, 0, 1)),
    ("dict(type='Resize'),", "img_scale=None, img_ratios=[1.0]", (KEEP, 0, 0, 0, 1)),
])
def test_resize_of_0(steps, augmentation, wanted):
    model = older(steps + NORMALIZE, augmentation=augmentation)
    assert sizes(model) == wanted and planes(model) == ([1, 2, 3], [4, 5, 8], 0)
    assert ("several sizes" in said(model)) == ("0.5, 1.0" in augmentation)


def test_a_pipeline_of_0_that_cannot_be_read_is_said():
    model = older("dict(type='Resize')," + NORMALIZE, augmentation="img_scale=(2 * 32, 48)")
    assert "no test pipeline that can be read" in said(model) and sizes(model)[0] == KEEP
    assert planes(model) == ([1, 2, 3], [4, 5, 8], 0)


def test_normalisation_of_0():
    assert planes(older("dict(type='Normalize', mean=[1, 2, 3], std=[4, 5, 8]),"))[2] == 0
    assert planes(older(NORMALIZE.replace(")", ", to_rgb=False)"))) == ([3, 2, 1], [8, 5, 4], 1)
    assert planes(older("")) == (*RAW, 1)               # no Normalize: none
    foreign = older("dict(type='MyNormalize', **img_norm_cfg),")
    assert planes(foreign)[0] == [1, 2, 3] and "MyNormalize" in said(foreign)
    assert sizes(older(NORMALIZE + "dict(type='Resize'),"))[4] == 0


def test_what_0_does_not_do_is_said():
    for steps, augmentation, message in (
            ("dict(type='Resize'),", "img_scale=None, img_ratios=[0.5]", "no pair of numbers"),
            ("dict(type='Pad', size_divisor=32),", "img_scale=(64, 48)", "also has Pad"),
            ("dict(type='Resize'),", "img_scale=[(64, 48), (32, 24)]", "several sizes"),
            ("dict(type='Resize'),", "img_scale=(64, 48), flip=True", "flips")):
        assert message in said(older(steps + NORMALIZE, augmentation=augmentation)), steps
    text = ("model = dict()\ndata = dict(test=dict(pipeline=[dict(type='Resize', "
            "img_scale=(64, 48), ratio_range=(0.5, 2.0)), dict(type='Collect')]))")
    assert "no pair of numbers" in said(convert_state(SMALL, config=text))


def test_what_no_config_tells_is_assumed_aloud():
    assumed = convert_state(SMALL)
    assert planes(assumed)[0] == list(IMAGENET_MEAN)
    assert "nothing tells how the authors normalise" in said(assumed)
    assert "normalise" not in said(convert_state(SMALL, "--mean", "1,2,3", "--std", "4,5,8"))
    ours = json.dumps({"mean": [1, 2, 3], "std": [4, 5, 8], "model": {"head": {}}})
    assert "normalise" not in said(convert_state(SMALL, config=ours))
    assert "normalise" not in said(convert_state(backbone_state()))     # features only


def test_configs_as_dicts():
    config = {"model": {"data_preprocessor": {"bgr_to_rgb": True}},
              "test_pipeline": [{"type": "Resize", "scale": (64, 48)}]}
    model = convert_state(SMALL, cfg=config)
    assert sizes(model)[:3] == (EXACT, 48, 64) and planes(model) == (*RAW, 0)


def test_test_modes():
    def told(model):
        return said(convert_state(SMALL, config=f"model = {model}"))

    assert "test mode is not known" in told("dict(test_cfg=dict(mode='slide_aug'))")
    assert "says of test_cfg" in told("dict(test_cfg=make())")
    assert "says of align_corners" in told("dict(decode_head=dict(align_corners=a.b))")
    assert "says of model" in told("make()")
    assert "not known" not in told("dict(test_cfg=dict(mode='whole'))")


def test_no_pipeline_takes_long_or_deep():
    deep = "a0 = [dict(type='Quirk')]\n" + "".join(
        f"a{n} = [a{n - 1}, a{n - 1}]\n" for n in range(1, 400))
    model = convert_state(SMALL, config=deep + "model = dict()\ntest_pipeline = a399")
    assert "more than 150 steps" in said(model)


# Outputs that are no choice between classes -------------------------------------------------------

V1 = official_state(classes=1)
BACKBONE = hugging_face_state(V1, "backbone")
ONE_OUTPUT = {
    "uper": {**backbone_state(), **uper_state(K=1)},
    "fcn": {**backbone_state(), **fcn_state(K=1)},
    "psp": {**backbone_state(), **psp_state(K=1)},
    "fpn": {**backbone_state(), **fpn_state(K=1)},
    "segformer": {**backbone_state(), **segformer_state(K=1)},
    "glam-segformer": {**backbone_state(tokens=1), **glam_segformer_state(K=1)},
    "hf-upernet": {**{"backbone." + name: a for name, a in BACKBONE.items()},
                   **uper_names(uper_state(features=(0, 1, 2), K=1))},
    "official": V1, "timm": timm_state(V1), "torchvision": torchvision_state(V1),
    "hf": hugging_face_state(V1),
    "hucao": hucao_state(classes=1), "glam-unet": glam_unet_state(classes=1),
    "split-unet": split_unet_state(classes=1),
}
UNETS = ("hucao", "glam-unet", "split-unet")


@pytest.mark.parametrize("name", ONE_OUTPUT)
def test_one_output_is_refused_or_thresholded(name):
    state = ONE_OUTPUT[name]
    with pytest.raises(Refused, match="weight has one output.*--threshold"):
        convert_state(state)
    model = convert_state(state, "--threshold", "0.5")
    assert model.description["classes"] == 2 and len(model.class_names) == 2
    dense = name not in ("official", "timm", "torchvision", "hf")
    assert model.description["one_class"] == dense
    weight = model.weights["head.classify.weight"].load()
    own = next(a for key, a in state.items() if a.shape == (1, *weight.shape[1:]) and key.endswith(
        ("conv_seg.weight", "linear_pred.weight", "classifier.weight", "head.weight",
         "head.fc.weight", "output.weight")))
    assert (weight[0] == 0).all() and (weight[1] == own[0]).all()
    if name in UNETS:
        with pytest.raises(Refused, match="0.5 only"):
            convert_state(state, "--threshold", "0.3")
        return
    model = convert_state(state, "--threshold", "0.3")
    weight, bias = (model.weights["head.classify." + part].load() for part in ("weight", "bias"))
    features = np.random.default_rng(0).normal(size=(50, weight.shape[1]))
    logits = features @ weight.reshape(2, -1).T + bias
    output = features @ weight.reshape(2, -1)[1] + bias[1]
    assert (logits.argmax(1) == (1 / (1 + np.exp(-output)) > 0.3)).all()
    assert 0 < logits.argmax(1).sum() < 50 and "confidences" in said(model)


@pytest.mark.parametrize("told, asked", [
    ("threshold=0.7", "the config says 0.7.*--threshold 0.7"),
    ("threshold=None", "default is 0.3.*--threshold 0.5"), ("", "default is 0.3.*--threshold 0.5")])
def test_the_threshold_of_a_config(told, asked):
    with pytest.raises(Refused, match=asked):
        convert_state(ONE_OUTPUT["uper"], config=f"model = dict(decode_head=dict({told}))")


@pytest.mark.parametrize("norm, good", [("BN", True), ("mmcv.SyncBN", True), ("GN", False),
                                        ("IN", False), ("LN2d", False)])
def test_norms_of_heads(norm, good):
    config = f"model = dict(decode_head=dict(norm_cfg=dict(type='{norm}', requires_grad=True)))"
    if good:
        convert_state(SMALL, config=config)
    else:
        with pytest.raises(Refused, match="only BatchNorm is known"):
            convert_state(SMALL, config=config)


def test_thresholds_are_for_one_output():
    assert "--threshold has no effect" in said(convert_state(SMALL, "--threshold", "0.5"))
    for bad in ("0", "1", "-1", "nan", "x"):
        with pytest.raises(SystemExit):
            convert_state(SMALL, "--threshold", bad)


@pytest.mark.parametrize("task, message", [
    ("multi_label_classification", "multi_label_classification.*sigmoid"),
    ("regression", "regression"), ("other", "other"), (3, "3"),
    ("single_label_classification", None), (None, None)])
def test_tasks_of_hugging_face(task, message):
    state = hugging_face_state(official_state())
    if not message:
        assert convert_state(state, config={"problem_type": task}).description["classes"] == 5
        return
    with pytest.raises(Refused, match=message):
        convert_state(state, config={"problem_type": task})
    one = hugging_face_state(V1)
    if task == "multi_label_classification":        # one label: its sigmoid and a threshold
        model = convert_state(one, "--threshold", "0.5", config={"problem_type": task})
        assert model.description["classes"] == 2
    else:
        with pytest.raises(Refused, match=message):
            convert_state(one, "--threshold", "0.5", config={"problem_type": task})


@pytest.mark.parametrize("loss, sigmoid", [
    ("dict(type='CrossEntropyLoss', use_sigmoid=True)", True),
    ("[dict(type='DiceLoss'), dict(type='CrossEntropyLoss', use_sigmoid=True)]", True),
    ("[dict(type='DiceLoss'), dict(type='FocalLoss', use_sigmoid=False)]", False),
    ("dict(type='CrossEntropyLoss')", False)])
@pytest.mark.parametrize("name", ["SMALL", "FCN", "unet"])
def test_sigmoids_of_several_classes_are_said(name, loss, sigmoid):
    state = {"SMALL": SMALL, "FCN": FCN, "unet": glam_unet_state()}[name]
    model = convert_state(state, config=f"model = dict(decode_head=dict(loss_decode={loss}))")
    assert ("use_sigmoid" in said(model)) == sigmoid


# Hugging Face -------------------------------------------------------------------------------------

HF = hugging_face_state(official_state())
HF_UPERNET = {**ONE_OUTPUT["hf-upernet"], **uper_names(uper_state(features=(0, 1, 2)))}


def processor(state=HF, **told):
    return convert_state(state, preprocessor=told, config={"id2label": {}})


@pytest.mark.parametrize("told, wanted", [
    (dict(size={"height": 48, "width": 64}, resample=2), (EXACT, 48, 64, 1, 1)),
    (dict(size={"shortest_edge": 60}, resample=3), (SHORTEST, 60, 0, 3, 1)),
    (dict(size={"shortest_edge": 60, "longest_edge": 90}, resample=3), (FIT, 90, 60, 3, 1)),
    (dict(size={"longest_edge": 90}, resample=3), (LONGEST, 90, 0, 3, 1)),
    (dict(size=[48, 64], resample=2), (EXACT, 48, 64, 1, 1)),
    (dict(size=48), (EXACT, 48, 48, 1, 1)),
    (dict(size=48, resample=None), (EXACT, 48, 48, 1, 1)),
    (dict(do_rescale=True), (EXACT, 224, 224, 1, 1)),
    (dict(image_processor_type="ViTImageProcessorFast"), (EXACT, 224, 224, 1, 1)),
    (dict(feature_extractor_type="ViTFeatureExtractor", size=48), (EXACT, 48, 48, 1, 1)),
    (dict(image_processor_type="SegformerImageProcessor"), (EXACT, 512, 512, 1, 1)),
    (dict(image_processor_type="BeitImageProcessor"), (EXACT, 224, 224, 3, 1)),
    (dict(image_processor_type="CLIPImageProcessor", size=48, do_center_crop=False),
     (SHORTEST, 48, 0, 3, 1)),
    (dict(do_resize=False, size=48), (KEEP, 0, 0, 0, 1)),
])
def test_sizes_of_hugging_face(told, wanted):
    model = processor(**told, **({} if "Seg" in str(told) else {
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    assert sizes(model) == wanted and model.description["mode"] == Mode.WHOLE
    assert not [text for text in model.remarks if "preprocessor" in text]


@pytest.mark.parametrize("kind, wanted", [
    ("DeiT", (EXACT, 256, 2, 224, 224)), ("CLIP", (SHORTEST, 224, 2, 224, 224)),
    ("Bit", (SHORTEST, 224, 2, 224, 224))])
def test_classes_that_take_the_centre(kind, wanted):
    model = processor(image_processor_type=kind + "ImageProcessor")
    assert words(model, "resize_rule", "resize_a", "mode", "crop_h", "crop_w") == wanted
    assert "preprocessor" not in said(model)
    assert (planes(model)[0][0] == 127.5) == (kind == "DeiT")


def test_convnexts_processor():
    def told(**entries):
        model = processor(image_processor_type="ConvNextImageProcessor", **entries)
        return words(model, "resize_rule", "resize_a", "mode", "crop_h", "crop_w", "resize_filter")

    assert told(size={"shortest_edge": 224}, crop_pct=0.9) == (SHORTEST, 248, 2, 224, 224, 3)
    assert told(size=48) == (SHORTEST, 54, 2, 48, 48, 3)
    assert told(size=48, resample=2)[5] == 1
    assert told() == (EXACT, 384, 0, 0, 0, 3)
    model = processor(size=48, crop_pct=0.9)
    assert "also says crop_pct" in said(model)


def test_normalisation_of_hugging_face():
    def told(**entries):
        return np.round(planes(processor(size=48, **entries))[:2], 6).tolist()

    assert told() == [[127.5] * 3, [127.5] * 3]         # ViT's own
    assert told(image_mean=[0.1, 0.2, 0.3]) == [[25.5, 51, 76.5], [127.5] * 3]
    assert told(image_mean=0.4, image_std=0.2) == [[102] * 3, [51] * 3]
    assert told(do_normalize=False, image_mean=[0.1] * 3) == [[0] * 3, [255] * 3]
    assert told(do_rescale=False) == [[0.5] * 3, [0.5] * 3]
    assert told(do_rescale=False, do_normalize=False) == [[0] * 3, [1] * 3]
    assert told(rescale_factor=0.1, image_mean=[1, 2, 3]) == [[10, 20, 30], [5] * 3]
    assert told(image_processor_type="SegformerImageProcessor") == [
        [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]


@pytest.mark.parametrize("told, message", [
    (dict(size=48, resample=1), r"way of resizing \(1\)"),
    (dict(size={"max_height": 9, "max_width": 9}), "no size that is known"),
    (dict(image_processor_type="MineImageProcessor"), "no size that is known"),
    (dict(image_processor_type="MineImageProcessor"), "image_mean and image_std"),
    (dict(image_processor_type="MineImageProcessor", size=48), "that of a Mine.*do_center_crop"),
    (dict(size=48, image_mean=[0.5]), "image_mean and image_std"),
    (dict(size=48, rescale_factor="x"), "rescale_factor"),
    (dict(size=48, do_pad=True), "do_pad"),
    (dict(size=48, do_flip_channel_order=True), "do_flip_channel_order"),
    (dict(size=48, size_divisor=32), "size_divisor"),
    (dict(size=48, ensure_multiple_of=32, keep_aspect_ratio=True),
     "ensure_multiple_of, keep_aspect_ratio"),
    (dict(do_resize=False, do_center_crop=True, crop_size=48), "do_center_crop"),
    (dict(size={"longest_edge": 60}, do_center_crop=True, crop_size=48), "do_center_crop"),
    (dict(size=48, do_center_crop=True), "do_center_crop"),
])
def test_what_processors_do_and_is_not_done_is_said(told, message):
    assert re.search("preprocessor_config.json.*" + message, said(processor(**told)))
    usual = said(processor(size=48, do_convert_rgb=True, do_reduce_labels=True, do_pad=False))
    assert "preprocessor" not in usual


def test_maps_of_classes_have_no_centre_crop():
    model = processor(HF_UPERNET, size=48, do_center_crop=True, crop_size=40)
    assert "do_center_crop" in said(model) and model.description["mode"] == Mode.WHOLE
    assert planes(processor(HF_UPERNET, size=48))[0][0] == pytest.approx(123.675)


# timm ---------------------------------------------------------------------------------------------

TIMM = timm_state(official_state())


def hub(arguments=(), **told):
    return convert_state(TIMM, config={"model_args": dict(arguments), "pretrained_cfg": {
        "input_size": [3, 48, 48], **told}})


def crop(model):
    return words(model, "resize_rule", "resize_a", "resize_b", "crop_h", "crop_w", "resize_filter")


@pytest.mark.parametrize("told, wanted", [
    (dict(crop_pct=0.9), (SHORTEST, 53, 0, 48, 48, 3)),
    (dict(crop_pct=None), (SHORTEST, 54, 0, 48, 48, 3)),
    ({}, (SHORTEST, 54, 0, 48, 48, 3)),                 # 0.875
    (dict(crop_pct=1.0, interpolation="bilinear"), (SHORTEST, 48, 0, 48, 48, 1)),
    (dict(crop_pct=1.0, crop_mode="squash"), (EXACT, 48, 48, 48, 48, 3)),
    (dict(crop_pct=0.8, crop_mode="squash"), (EXACT, 60, 60, 48, 48, 3)),
])
def test_pictures_of_timm(told, wanted):
    model = hub(**told)
    assert crop(model) == wanted and "config.json" not in said(model)


@pytest.mark.parametrize("told, message", [
    (dict(crop_pct="x"), "crop_pct x"), (dict(crop_pct=2.0), "crop_pct 2.0"),
    (dict(interpolation="lanczos"), "interpolation lanczos"),
    (dict(crop_mode="border"), "crop_mode border"),
    (dict(mean=[0.5]), "mean is no three"), (dict(std=[0, 0, 0]), "std is no three")])
def test_what_timm_does_and_is_not_done_is_said(told, message):
    assert message in said(hub(**told))


def test_timms_mean_and_std():
    assert planes(hub(mean=[0.2] * 3))[0] == [51] * 3
    assert planes(hub(std=[0.2] * 3))[0] == list(IMAGENET_MEAN)
    assert np.allclose(planes(hub(std=[0.2] * 3))[1], 51)


@pytest.mark.parametrize("arguments, told, message", [
    (dict(global_pool="max"), {}, "global_pool to max"),
    ({}, dict(global_pool="catavgmax"), "global_pool to catavgmax"),
    (dict(act_layer="relu"), {}, "act_layer to relu"),
    (dict(always_partition=True), {}, "always_partition to True"),
    (dict(num_classes=7), {}, "num_classes is 7"),
    ({}, dict(num_classes=1000), "num_classes is 1000")])
def test_arguments_of_timm_that_change_the_answer(arguments, told, message):
    with pytest.raises(Refused, match=message):
        hub(arguments, **told)
    with pytest.raises(Refused, match="global_pool to max"):
        convert_state(TIMM, config={"global_pool": "max"})
    usual = dict(global_pool="avg", act_layer="gelu", always_partition=False, num_classes=5)
    assert hub(usual, num_classes=1000).description["classes"] == 5
    one = convert_state(timm_state(V1), "--threshold", "0.5", config={"num_classes": 1})
    assert one.description["classes"] == 2


# All of it ----------------------------------------------------------------------------------------

def test_the_tool_says_what_it_takes(tmp_path, capsys):
    path = safetensors(hucao_state(classes=1), tmp_path / "unet.safetensors")
    out = tmp_path / "m.swin"
    assert run(path, "-o", out) == 1 and not out.exists()
    assert "one output" in capsys.readouterr().err
    assert run(path, "-o", out, "--threshold", "0.5") == 0
    assert blob.read(out).description["classes"] == 2
    assert "2 classes" in capsys.readouterr().out
