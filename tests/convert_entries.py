"""What strangers bring: wrappers, averaged weights, prefixes, adapters, files that are no
checkpoints, outputs that are inputs, old or missing packages."""

import ast
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from checkpoints import (SMALL, Call, File, Global, backbone_state, dumps, safetensors,
                         upstream_names)
from checkpoints.convert import blob, checkpoint, convert_state, run
from checkpoints.families import (glam_unet_state, hucao_state, hugging_face_state, moby_state,
                                  official_state, simmim_state, timm_state, torchvision_state)
from conftest import ROOT, load_tool
from swinblob.canonical import Refused

V1 = official_state()
TIMM = timm_state(V1)
CONVERT = ROOT / "tools" / "convert.py"


def changed(state, by=1):
    """The same model with other numbers."""
    return {name: a + by if a.dtype == "f4" else a for name, a in state.items()}


def save(path, legacy=False, **entries):
    """A file whose dicts of arrays become tensors, at any depth."""
    file = File()

    def made(value):
        if isinstance(value, dict):
            return {key: made(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(made, value))
        return file.tensor(value) if isinstance(value, np.ndarray) else value

    root = entries.get("root", entries)
    return (file.legacy if legacy else file.zip)(made(root), path)


@pytest.fixture
def outcome(tmp_path, capsys):
    """outcome(path, options...): exit code, blob or None, and all that was said."""
    def convert(path, *options):
        out = tmp_path / "outcome.swin"
        out.unlink(missing_ok=True)
        status = run(path, "-o", out, *options)
        captured = capsys.readouterr()
        return status, blob.read(out) if status == 0 else None, captured.out + captured.err

    return convert


def embedding(model):
    return model.natural("embed.bias")[0]


FIRST, SECOND = (state["patch_embed.proj.bias"][0] for state in (TIMM, changed(TIMM)))


# Entries ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("taken,other", [("state_dict_ema", "state_dict"), ("model_ema", "model"),
                                         ("model_ema", "state_dict"), ("state_dict", "model"),
                                         ("teacher", "student")])
def test_of_two_known_entries_that_is_taken_which_libraries_load(tmp_path, outcome, taken, other):
    for names in ((taken, other), (other, taken)):
        entries = {name: TIMM if name == taken else changed(TIMM) for name in names}
        path = save(tmp_path / "c.pth", epoch=3, optimizer={"state": {}}, **entries)
        status, model, text = outcome(path)
        assert status == 0 and embedding(model) == FIRST
        assert f"{taken} is taken" in text and f"--entry {other} takes" in text
        assert ("averaged" in text) == (taken in ("state_dict_ema", "model_ema"))
        status, model, text = outcome(path, "--entry", other)
        assert status == 0 and embedding(model) == SECOND and "is taken" not in text
    assert outcome(save(tmp_path / "c.pth", **{taken: TIMM, other: None}))[0] == 0
    assert embedding(outcome(save(tmp_path / "c.pth", **{taken: None, other: TIMM}))[1]) == FIRST


@pytest.mark.parametrize("library,entry", [("mmengine", "ema_state_dict"),
                                           ("Lightning", "current_model_state")])
def test_libraries_that_put_averages_into_state_dict(tmp_path, outcome, library, entry):
    others = {**{"module." + n: a for n, a in changed(TIMM).items()}, "steps": np.array(7)}
    path = save(tmp_path / "c.pth", state_dict=TIMM, **{entry: others})
    status, model, text = outcome(path)
    assert status == 0 and embedding(model) == FIRST
    assert f"into which {library} puts the averaged weights" in text
    status, model, text = outcome(path, "--entry", entry)
    assert status == 0 and embedding(model) == SECOND and "steps: counts" in text


def test_averaged_weights_without_names_are_told(tmp_path, outcome):
    """As torch_ema and diffusers keep them: a list in the order of the parameters."""
    shadow = list(changed(TIMM).values())
    optimizer = {"state": {}, "exp_avg": shadow}
    path = save(tmp_path / "c.pth", model=TIMM, ema={"decay": 0.9, "shadow_params": shadow},
                optimizer=optimizer)
    status, model, text = outcome(path)
    assert status == 0 and embedding(model) == FIRST
    assert f"ema.shadow_params holds {len(shadow)} tensors without names" in text
    assert "optimizer.exp_avg" not in text
    path = save(tmp_path / "c.pth", model=TIMM, losses=shadow[:3], optimizer=optimizer)
    assert "without names" not in outcome(path)[2]


def test_copies_that_mmcv_keeps_beside_the_averaged_weights():
    copies = {"ema_" + name.replace(".", "_"): a + 1 for name, a in SMALL.items()
              if name.startswith("backbone.")}
    model = convert_state({**SMALL, **copies})
    assert [what for what, _, _ in model.dropped].count("ema_*") == 1
    bias = model.weights["embed.bias"].load()
    assert (bias == SMALL["backbone.patch_embed.proj.bias"]).all()
    with pytest.raises(Refused, match="ema_of_nothing"):
        convert_state({**SMALL, "ema_of_nothing": np.ones((2, 2), "f4")})


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("root,wrappers", [
    ({"module": TIMM, "ds_version": "0.14", "optimizer": None}, ["module"]),
    ({"net": TIMM, "optimizer": {"state": {0: {"exp_avg": TIMM["norm.bias"]}}}}, ["net"]),
    ({"weights": TIMM, "best": np.array(0.5)}, ["weights"]),
    ({"a": {"b": {"c": TIMM}}, "rng": np.zeros(3, "u1")}, ["a", "b", "c"]),
    ({"trainer": {"model": TIMM}}, ["trainer", "model"]),
    ([TIMM, {"lr": 0.1}], ["0"]), (("x", [TIMM]), ["1", "0"]),
    ({"optim": {"momentum": TIMM}, "net": TIMM}, ["net"]),
])
def test_the_one_entry_that_holds_a_model_is_taken(tmp_path, outcome, legacy, root, wrappers):
    path = save(tmp_path / "c.pth", legacy, root=root)
    assert checkpoint.read(str(path)).wrappers == wrappers
    status, model, text = outcome(path)
    assert status == 0 and embedding(model) == FIRST and "--entry" not in text


def test_several_unknown_entries_are_listed(tmp_path, outcome):
    path = save(tmp_path / "c.pth", net_a=TIMM, runs=[{"net.b": changed(TIMM)}], epoch=1)
    status, _, text = outcome(path)
    assert status == 1 and "--entry with one of net_a, runs.0.net.b" in text
    assert embedding(outcome(path, "--entry", "net_a")[1]) == FIRST
    assert embedding(outcome(path, "--entry", "runs.0.net.b")[1]) == SECOND
    assert embedding(outcome(path, "--entry", "runs")[1]) == SECOND
    for wrong in ("net", "net_a.x", "runs.1"):
        status, _, text = outcome(path, "--entry", wrong)
        assert status == 1 and wrong in text and "Traceback" not in text, text
    assert run("--info", path, "--entry", "net_a") == 0
    assert run("--info", path) == 1


def test_a_model_pickled_whole_is_named(tmp_path, outcome):
    whole = Call(Global("mmseg.models", "EncoderDecoder"))
    rebuilt = Call(Global("copyreg", "_reconstructor"), Global("timm.models", "Swin"),
                   Global("builtins", "object"), None)
    for root, words in ((whole, "mmseg.models.EncoderDecoder"), (rebuilt, "timm.models.Swin"),
                        ({"model": whole, "epoch": 1}, "model is an object of mmseg.models")):
        status, _, text = outcome(File().zip(root, tmp_path / "c.pth"))
        assert status == 1 and words in text and "state_dict()" in text, text


@pytest.mark.parametrize("maker,kind", [("_rebuild_qtensor", "quantised"),
                                        ("_rebuild_sparse_tensor", "sparse"),
                                        ("_rebuild_meta_tensor_no_storage", "empty"),
                                        ("_rebuild_wrapper_subclass", "special")])
def test_tensors_without_plain_numbers_are_named(tmp_path, outcome, maker, kind):
    file = File()
    state = {**file.state(TIMM), "head.fc.weight": Call(Global("torch._utils", maker), 1)}
    status, _, text = outcome(file.zip(state, tmp_path / "c.pth"))
    assert status == 1 and f"head.fc.weight is a {kind}" in text.replace("an empty", "a empty")


# Prefixes -----------------------------------------------------------------------------------------

MODELS = {"seg": SMALL, "headless": {n.partition(".")[2]: a for n, a in backbone_state().items()},
          "mmseg": upstream_names(SMALL), "official": V1, "timm": TIMM,
          "features": timm_state(V1, features=True), "torchvision": torchvision_state(V1),
          "hf": hugging_face_state(V1), "hf-backbone": hugging_face_state(V1, "backbone"),
          "hucao": hucao_state(), "glam": glam_unet_state(tokens=1),
          "simmim": simmim_state(V1), "moby": moby_state(V1)}


@pytest.mark.parametrize("prefix", ["model.", "net.", "_orig_mod.", "module.model.", "student.",
                                    "model.net._orig_mod.module.", "wrapper.backbone.", "encoder.",
                                    "_forward_module.model.backbone."])
@pytest.mark.parametrize("kind", MODELS)
def test_any_prefix_is_taken_off(kind, prefix):
    plain = convert_state(MODELS[kind])
    model = convert_state({prefix + name: a for name, a in MODELS[kind].items()})
    assert model.description == plain.description and model.family == plain.family
    for name, weight in plain.weights.items():
        assert (model.weights[name].load() == weight.load()).all(), name


def test_compiled_parts_of_a_model():
    state = {name.replace("backbone.", "backbone._orig_mod.").replace(
        "decode_head.", "decode_head.module."): a for name, a in SMALL.items()}
    assert convert_state(state).description == convert_state(SMALL).description


def test_losses_metrics_and_constants_are_left_out_and_named():
    beside = {"loss.weight": np.ones(3, "f4"), "loss.vgg.0.weight": np.ones((2, 3, 3, 3), "f4"),
              "criterion.ce.weight": np.ones(3, "f4"), "val_miou.confmat": np.zeros((3, 3), "i8"),
              "train_metrics.iou.confmat": np.ones((3, 3), "f4"), "class_weights": np.ones(3, "f4"),
              "normalize.mean": np.ones((1, 3, 1, 1), "f4"), "epochs": np.array(3)}
    model = convert_state({**{"net." + name: a for name, a in SMALL.items()}, **beside})
    named = {name for _, _, names in model.dropped for name in names}
    assert set(beside) <= named and not {n for n in named if n.startswith("net.backbone")}
    inside = {"decode_head.loss_decode.weight": np.ones(3, "f4"),
              "loss_fn.weight": np.ones(3, "f4"), "metric.confmat": np.ones((3, 3), "f4")}
    model = convert_state({**SMALL, **inside})
    assert set(inside) <= {name for _, _, names in model.dropped for name in names}


def test_layers_beside_the_model_are_not_left_out():
    state = {"model." + name: a for name, a in TIMM.items() if not name.startswith("head.")}
    state["classifier.weight"] = np.ones((5, 16), "f4")
    with pytest.raises(Refused, match="classifier.weight beside the Swin model.*--entry model"):
        convert_state(state)
    with pytest.raises(Refused, match="classifier.weight"):
        convert_state({**TIMM, "classifier.weight": np.ones((5, 16), "f4")})


def test_several_models_in_one_state_are_listed(tmp_path, outcome):
    state = {**{"model." + n: a for n, a in TIMM.items()},
             **{"ema_model.module." + n: a for n, a in changed(TIMM).items()}}
    path = save(tmp_path / "c.pth", state_dict=state)
    status, _, text = outcome(path)
    assert status == 1 and "--entry with one of ema_model, model" in text
    for entry, bias in (("model", FIRST), ("ema_model", SECOND), ("state_dict.model", FIRST)):
        status, model, text = outcome(path, "--entry", entry)
        assert status == 0 and embedding(model) == bias, text
    flat = safetensors(state, tmp_path / "c.safetensors")
    assert embedding(outcome(flat, "--entry", "ema_model")[1]) == SECOND


def test_messages_tell_the_prefix():
    state = {"net." + name: a for name, a in SMALL.items() if "conv_seg.weight" not in name}
    with pytest.raises(Refused, match=r"conv_seg.weight is missing .*begin with net\.\)"):
        convert_state(state)


# Shift masks --------------------------------------------------------------------------------------

def without_masks(state):
    return {name: a for name, a in state.items() if not name.endswith("attn_mask")}


@pytest.mark.parametrize("state", [V1, official_state(version=2), hucao_state()],
                         ids=["v1", "v2", "unet"])
def test_removed_masks_prove_nothing(state):
    stored = convert_state(state).description
    if state is not V1:
        assert convert_state(without_masks(state), "--image-size", "48x48").description == stored
    with pytest.raises(Refused, match="give --image-size"):
        convert_state(without_masks(state))
    assert convert_state(without_masks(state), "--image-size", "48x48").description == stored
    larger = convert_state(without_masks(state), "--image-size", "96x96").description
    assert larger["shift_h"][:3] == [1, 1, 1] and larger["input_h"] == 96


def test_image_size_decides_where_some_masks_are_missing():
    deep = official_state(depths=(2, 2, 2))         # a grid of 3 in stage 2: no shift, no mask
    assert convert_state(deep).description["shift_h"][:3] == [1, 1, 0]
    model = convert_state(deep, "--image-size", "96x96")
    assert model.description["shift_h"][:3] == [1, 1, 1]
    assert any("layers.2.blocks.1.attn_mask is missing" in text for text in model.remarks)
    some = {name: a for name, a in deep.items() if name != "layers.1.blocks.1.attn_mask"}
    with pytest.raises(Refused, match="give --image-size"):
        convert_state(some)
    assert convert_state(some, "--image-size", "48x48").description["shift_h"][:3] == [1, 1, 0]


def test_esvits_teacher_is_an_encoder(tmp_path, outcome):
    state = {"backbone." + n: a for n, a in without_masks(V1).items() if not n.startswith("head.")}
    head = {"head.mlp.0.weight": np.ones((4, 4), "f4"),
            "head.last_layer.weight_g": np.ones((4, 1), "f4"),
            "head.last_layer.weight_v": np.ones((4, 4), "f4")}
    path = save(tmp_path / "c.pth", teacher={**state, **head},
                student={"module." + n: a for n, a in changed({**state, **head}).items()})
    status, model, text = outcome(path, "--image-size", "48x48")
    assert status == 0 and embedding(model) == V1["patch_embed.proj.bias"][0], text
    assert "head.last_layer.*" in text and "student holds weights too" in text


# Models that are not whole ------------------------------------------------------------------------

ATTENTION = "backbone.layers.0.blocks.0.attn.qkv."


@pytest.mark.parametrize("names,words", [
    ("base_layer.weight lora_A.default.weight lora_B.default.weight", "adapters.*merge"),
    ("lora_A lora_B", "adapters.*merge"), ("lora_down.weight lora_up.weight alpha", "adapters"),
    ("hada_w1_a hada_w1_b", "adapters"), ("lokr_w1 lokr_w2", "adapters"), ("ia3_l", "adapters"),
    ("lora_magnitude_vector.default.weight", "adapters"), ("vera_lambda_b", "adapters"),
    ("oft_r", "adapters"), ("boft_R", "adapters"),
    ("modules_to_save.default.weight original_module.weight", "adapters"),
    ("weight.absmax weight.quant_map weight.quant_state.bitsandbytes__nf4", "quantised"),
    ("SCB weight_format", "quantised"), ("qweight qzeros scales g_idx", "quantised"),
    ("scale zero_point", "quantised"), ("weight._data weight._scale", "quantised"),
    ("weight_fake_quant.scale", "quantised"), ("activation_post_process.min_val", "quantised"),
    ("weight_orig weight_mask", "pruned.*prune.remove"),
    ("weight_orig weight_u weight_v", "spectral_norm"), ("weight_g weight_v", "weight_norm"),
    ("parametrizations.weight.original0 parametrizations.weight.original1", "parametrize"),
    ("_flat_param", "flat pieces"),
])
def test_weights_that_a_library_changed_are_refused_by_name(names, words):
    parts = {ATTENTION + name: np.ones((2, 2), "f4") for name in names.split()}
    whole = {n: a for n, a in SMALL.items() if n != ATTENTION + "weight"}
    for state in (parts, {**whole, **parts}, {**SMALL, **parts},
                  {"base_model.model." + n: a for n, a in {**whole, **parts}.items()},
                  {"_orig_mod.module." + n: a for n, a in {**whole, **parts}.items()}):
        with pytest.raises(Refused, match=words):
            convert_state(state)


def test_weights_in_pieces_are_named():
    empty = {n: np.zeros(0, "f4") if n.endswith("weight") else a for n, a in SMALL.items()}
    with pytest.raises(Refused, match="model in pieces"):
        convert_state(empty)


# Files that are no checkpoints --------------------------------------------------------------------

POINTER = (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32
           + b"\nsize 437002013\n")
HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


def archived(kind):
    out = io.BytesIO()
    if kind == "gzip":
        return gzip.compress(b"x" * 100)
    if kind == "tar":
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("model.pth"), io.BytesIO())
        return out.getvalue()
    with zipfile.ZipFile(out, "w") as archive:
        for name in kind.split():
            archive.writestr(name, b"")
    return out.getvalue()


@pytest.mark.parametrize("name,data,words", [
    ("m.pth", POINTER, "pointer of Git LFS to a file of 437,002,013 bytes: `git lfs pull`"),
    ("model.safetensors", POINTER, "git lfs pull"),
    ("m.pth", b"/annex/objects/SHA256E-s437002013--4d.pth\n", "git annex get"),
    ("model-00001-of-00002.safetensors", POINTER, "one of 2 files.*index"),
    ("m.pth", HTML, "a web page.*download"),
    ("m.pth", b"\xef\xbb\xbf\n  " + HTML.lower(), "a web page"),
    ("m.pth", HTML.decode().encode("utf-16"), "a web page"),
    ("m.pth", b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML.*download"),
    ("m.pth", b'{"error": "Invalid credentials"}', "JSON text.*Invalid.*download"),
    ("m.bin", b'{"model_type": "swin"}', "JSON text.*folder"),
    ("config.json", b'{"model_type": "swin"}', "no index of shards.*folder"),
    ("m.pth", b"Entry not found", "a text, .Entry not found"), ("m.pth", b"", "is empty"),
    ("m.pth", archived("gzip"), "gzip archive: unpack"), ("m.tar", archived("tar"), "tar archive"),
    ("m.pth", b"\x28\xb5\x2f\xfd" + bytes(90), "Zstandard"), ("m.pth", b"BZh91AY", "bzip2"),
    ("m.zip", archived("run/model.pth run/log.txt"), "zip archive that holds run/model.pth"),
    ("m.npz", archived("a.npy b.npy"), "NumPy archive"),
    ("m.keras", archived("config.json model.weights.h5"), "Keras"),
    ("m.pt2", archived("m/archive_format m/data/x"), "torch.export"),
    ("m.zip", archived("word/document.xml"), "not of PyTorch"),
    ("m.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
    ("m.onnx", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\xff", "ONNX"),
    ("m.pth", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xff", "ONNX"),
    ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(90), "TensorFlow Lite"),
    ("saved_model.pb", b"\x08\x01\x12\xff\xff", "TensorFlow"),
    ("flax_model.msgpack", b"\x81\xa6params\xff", "MessagePack"),
    ("m.gguf", b"GGUF\3\0\0\0" + bytes(90), "GGUF"), ("m.pth", bytes(5000), "nothing but zeros"),
    ("m.pth", b"\x89PNG\r\n\x1a\n\0\0", "PNG"), ("m.pth", b"\xff\xd8\xff\xe0\0\0", "JPEG"),
    ("m.pth", b"\x89SWIN\r\n\x1a" + bytes(90), "a .swin model already"),
    ("m.pth", b"PK\3\4" + bytes(90), "zip archive but is cut short or damaged.*download"),
    ("m.pkl", b"\x80\x04}\x94.", "a pickle, but not.*torch.save"),
    ("m.safetensors", b"\x30\0\0\0\0\0\0\0{\"a\"", "does not fit"),
])
def test_a_file_that_is_no_checkpoint_says_what_it_is(tmp_path, outcome, name, data, words):
    (tmp_path / name).write_bytes(data)
    status, _, text = outcome(tmp_path / name)
    assert status == 1 and text.count("\n") == 1
    assert re.search(words, text), text


@pytest.mark.parametrize("names,words", [
    ([], "holds no checkpoint"), ([".metadata", "__0_0.distcp"], "torch.distributed"),
    (["zero_to_fp32.py", "latest"], "DeepSpeed"), (["data.pkl", "version"], "unpacked.*zip -0"),
    (["saved_model.pb"], "TensorFlow"), (["tf_model.h5", "config.json"], "tf_model.h5 only"),
    (["run-1/model.pth"], "folders hold checkpoints: give one: run-1"),
    (["model.safetensors.index.json"], "no proper JSON"),
])
def test_a_folder_without_a_checkpoint_says_what_it_is(tmp_path, outcome, names, words):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    status, _, text = outcome(folder)
    assert status == 1 and re.search(words, text), text


def test_pointers_among_shards_are_named(tmp_path, outcome):
    (tmp_path / "model-1.safetensors").write_bytes(POINTER)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    status, _, text = outcome(index)
    assert status == 1 and "shard model-1.safetensors" in text and "git lfs pull" in text


def test_what_is_no_regular_file_is_not_waited_for(tmp_path, outcome):
    for name in ("pipe.pth", "pipe.json"):
        os.mkfifo(tmp_path / name)
        assert "no regular file" in outcome(tmp_path / name)[2]
    assert "no regular file" in outcome("/dev/zero")[2]


# Outputs ------------------------------------------------------------------------------------------

def test_an_output_never_replaces_what_the_model_is_made_from(tmp_path, outcome, capsys):
    folder = tmp_path / "hub"
    folder.mkdir()
    names = list(TIMM)
    for part in (0, 1):
        safetensors({n: TIMM[n] for n in names[part::2]}, folder / f"{part}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {n: f"{k % 2}.safetensors" for k, n in enumerate(names)}}))
    (folder / "config.json").write_text('{"architecture": "swin_own"}')
    (folder / "preprocessor_config.json").write_text("{}")
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join("abcde"))
    (tmp_path / "hard.swin").hardlink_to(folder / "0.safetensors")
    (tmp_path / "soft.swin").symlink_to(folder / "config.json")
    before = {path: path.read_bytes() for path in [*folder.iterdir(), classes]}
    for output in [*before, tmp_path / "hard.swin", tmp_path / "soft.swin"]:
        assert run(folder, "-o", output, "--classes", classes) == 1
        assert "would replace" in capsys.readouterr().err, output
    palette = tmp_path / "palette.txt"
    palette.write_text("\n".join(f"#00000{k} {k}" for k in range(5)))
    assert run(folder, "-o", palette, "--palette", palette) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert run(folder, "-o", tmp_path / "new.swin", "--classes", classes) == 0


def test_an_output_that_is_no_file_is_refused_and_a_link_is_followed(tmp_path, capsys):
    path = safetensors(TIMM, tmp_path / "c.safetensors")
    os.mkfifo(tmp_path / "pipe")
    for output in (tmp_path, tmp_path / "pipe"):
        assert run(path, "-o", output) == 1
        assert "no regular file" in capsys.readouterr().err
    assert run(path, "-o", tmp_path / "none" / "m.swin") == 1
    assert "there is no folder" in capsys.readouterr().err
    for name in ("m.pth", "m.Safetensors", "m.json", "m.tar.gz", "config.json"):
        assert run(path, "-o", tmp_path / name) == 1
        assert "promises another format" in capsys.readouterr().err
    assert run(path, "-o", "-") == 1 and "not to standard output" in capsys.readouterr().err
    real = tmp_path / "real.swin"
    (tmp_path / "link.swin").symlink_to(real)
    assert run(path, "-o", tmp_path / "link.swin") == 0
    assert (tmp_path / "link.swin").is_symlink() and blob.read(real)
    assert run(path, "-o", tmp_path / ("n" * 240 + ".swin")) == 0


def test_several_writers_of_one_file_leave_a_whole_one(tmp_path):
    path, out = safetensors(TIMM, tmp_path / "c.safetensors"), tmp_path / "m.swin"
    writers = [subprocess.Popen([sys.executable, CONVERT, path, "-o", out],
                                stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert blob.read(out) and sorted(p.name for p in tmp_path.iterdir()) == [path.name, out.name]


# Numbers that do not fit --------------------------------------------------------------------------

@pytest.mark.parametrize("heads", [3, 5, 81, 2000])
@pytest.mark.parametrize("kind", ["official", "timm", "torchvision", "hf", "seg", "v2"])
def test_heads_that_do_not_divide_the_channels(kind, heads):
    state = {**MODELS, "v2": official_state(version=2)}[kind]
    def wrong(name, a):
        if name.endswith("bias_table"):
            return np.ones((a.shape[0], heads), "f4")
        return np.ones((heads, 1, 1), "f4") if name.endswith("logit_scale") else a

    with pytest.raises(Refused, match=f"stage 0: {heads} heads do not divide 4 channels"):
        convert_state({name: wrong(name, a) for name, a in state.items()})


@pytest.mark.parametrize("word,value,sound", [
    ("scale", [0.0, 1.0, 1.0], True), ("scale", [1.0, 1.00001e6, 1.0], False),
    ("scale", [np.nan] * 3, False), ("mean", [-np.inf, 0.0, 0.0], False),
    ("mean", [1e6] * 3, True)])
def test_colours_of_a_blob(tmp_path, word, value, sound):
    """As swin.h reads them."""
    model = convert_state(SMALL)
    model.description[word] = value
    if not sound:
        with pytest.raises(Refused, match=word):
            model.check()
        return
    blob.write(tmp_path / "m.swin", model)
    assert run("--info", tmp_path / "m.swin") == 0


def test_files_that_multiply_work_are_given_up_soon(tmp_path, outcome):
    """Each of these takes minutes or gigabytes where nothing counts."""
    pairs = dumps([["a", 1]] * 30000)[2:-1]
    again = b"\x80\x02" + pairs + b"q\x000" + dumps(Global("collections", "OrderedDict"))[2:-1] + (
        b"q\x010" + b"h\x01h\x00\x85R0" * 300000 + b"N.")
    status, _, text = outcome(File().zip(again, tmp_path / "c.pth"))
    assert status == 1 and "copies over" in text
    many = {f"k{n}.backbone.swin_unet.patch_embed.proj.weight": np.ones(1, "f4")
            for n in range(30000)}
    with pytest.raises(Refused, match="30000 models in one"):
        convert_state(many)
    with pytest.raises(Refused, match="loss_"):
        convert_state({**SMALL, "loss_" * 40000 + "\n.x": np.ones((2, 2), "f4")})
    v2 = {name: np.resize(a, (60000, *a.shape[1:])) if "cpb_mlp.0" in name
          else np.resize(a, (a.shape[0], 60000)) if "cpb_mlp.2" in name else a
          for name, a in official_state(version=2, depths=(1, 1, 1)).items()}
    with pytest.raises(Refused, match="60000 numbers, more than"):
        convert_state(v2, "--image-size", "48x48")


# Python and NumPy ---------------------------------------------------------------------------------

TOOLS = ("convert.py", "miou.py", "train.py")


def test_tools_parse_in_old_pythons_far_enough_to_refuse_them():
    for name in (*TOOLS, "require.py"):
        ast.parse((ROOT / "tools" / name).read_text(encoding="utf-8"), feature_version=(3, 6))


def start(name, folder, before=""):
    """Runs a tool with --help, after a line of Python, with modules of a folder before all."""
    script = (f"import runpy, sys; {before or None}; sys.argv = [{name!r}, '--help']; "
              f"sys.path.insert(0, {str(ROOT / 'tools')!r}); sys.path.insert(0, {str(folder)!r}); "
              f"runpy.run_path({str(ROOT / 'tools' / name)!r}, run_name='__main__')")
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_lacks_is_said_in_one_sentence(tmp_path, name):
    def expect(words, before="pass"):
        done = start(name, tmp_path, before)
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert done.stderr.startswith(name + ": ") and words in done.stderr, done.stderr

    for version in ((3, 8, 18), (3, 6, 15)):
        expect("needs Python 3.9 or newer; this is Python 3.%d" % version[1],
               f"sys.version_info = {version}")
    stub = tmp_path / "numpy.py"
    stub.write_text("raise ModuleNotFoundError('no', name='numpy')")
    expect("needs NumPy, which is not installed (Debian: apt install python3-numpy;")
    stub.write_text("raise ImportError('\\nDLL load failed\\nmore')")
    expect("needs NumPy, which cannot be imported (DLL load failed)")
    if name == "convert.py":
        stub.write_text("__version__ = '1.18.5'")
        expect("needs NumPy 1.19 or newer; this is 1.18.5")
    assert start("convert.py", tmp_path / "empty").returncode == 0


def test_versions():
    numbers = load_tool("require").numbers
    assert numbers("1.19.5") == (1, 19, 5) and numbers("2.0.0rc1") == (2, 0, 0)
    assert numbers("1.26+dev") == (1, 26) and numbers("") == () and numbers("x") == ()


def test_numpys_up_to_1_20_have_all_that_is_used(tmp_path, monkeypatch):
    """They cannot multiply integers as objects."""
    def reduction(function):
        def older(*arguments, dtype=None, **named):
            if dtype is object:
                raise TypeError("No loop matching the specified signature and casting was found")
            return function(*arguments, dtype=dtype, **named)
        return older

    for name in ("prod", "sum"):
        monkeypatch.setattr(np, name, reduction(getattr(np, name)))
    path = safetensors(SMALL, tmp_path / "c.safetensors")
    assert run(path, "-o", tmp_path / "m.swin") == 0 and run("--info", tmp_path / "m.swin") == 0
