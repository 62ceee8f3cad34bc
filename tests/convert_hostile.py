"""The converter on files made to upset it: mutated archives, pickles, shapes, names and configs.

    build/venv/bin/python tests/convert_hostile.py --seconds 3600       and prints how many it tried
    build/venv/bin/python tests/convert_hostile.py --only 12345         one of them again

Every input follows from its number. The converter may answer with a model that reads back, or with
its own error in one line: no other exception, no input that takes 5 s of CPU time, none that needs
2 GiB.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import pickle
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

import numpy as np

from checkpoints import (GLAM, SMALL, File, backbone_state, fcn_state, fpn_state,
                         glam_segformer_state, psp_state, safetensors, segformer_state,
                         uper_state, upstream_names)
from checkpoints.birefnet import birefnet_state
from checkpoints.convert import blob, tool, write_small
from checkpoints.families import (glam_unet_state, hucao_state, hugging_face_state, moby_state,
                                  official_state, simmim_state, smp_state, split_unet_state,
                                  timm_state, torchvision_state, uper_names, without_buffers)
from checkpoints.queries import KINDS, detectron2_state, hugging_face_queries_state, mm_state
from checkpoints.segformer import authors_state, hub_state, openmmlab_state

SECONDS = 40                    # in the tests
CPU_SECONDS = 5                 # of one input
MEMORY = 2 << 30                # beyond what the interpreter has at the start
V1, V2 = official_state(), official_state(version=2)
DEEP = official_state(depths=(1, 1, 1, 1), heads=(1, 2, 4, 4), grid=16)
HF_CONFIG = {"model_type": "swinv2", "image_size": 48, "window_size": 3, "depths": [2, 2, 1],
             "embed_dim": 4, "num_heads": [1, 2, 4], "patch_size": 4, "layer_norm_eps": 1e-5,
             "pretrained_window_sizes": [0, 0, 0], "id2label": {"0": "a", "1": "b"},
             "problem_type": None, "hidden_act": "gelu", "architectures": ["Swinv2Model"]}
TIMM_CONFIG = {"architecture": "swinv2_own", "model_args": {
    "img_size": 48, "window_size": 3, "pretrained_window_sizes": [0, 0, 0], "depths": [2, 2, 1]},
    "pretrained_cfg": {"input_size": [3, 48, 48], "mean": [.5] * 3, "std": [.5] * 3,
                       "crop_pct": .9, "interpolation": "bicubic", "label_names": ["a"] * 5}}
QUERY_CONFIG = {"model_type": "mask2former", "num_attention_heads": 2, "decoder_layers": 3,
                "pre_norm": False, "num_queries": 5, "decoder_config": {
                    "decoder_attention_heads": 2, "d_model": 24, "auxiliary_loss": False},
                "backbone_config": {"model_type": "swin", "window_size": 3,
                                    "depths": [2, 1, 1, 1], "out_features": None}}
PREPROCESSOR = {"size_divisor": 32, "size": {"height": 48, "width": 48}, "crop_size": {"height": 40, "width": 40},
                "do_center_crop": True, "image_mean": [.5] * 3, "image_std": [.5] * 3,
                "rescale_factor": 1 / 255, "resample": 3, "do_resize": True, "do_normalize": True}
CONFIG_TEXT = ("model = dict(backbone=dict(type='SwinTransformer', embed_dims=4, depths=[2, 1], "
               "window_size=3), decode_head=dict(type='UPerHead', pool_scales=(1, 2, 3, 6), "
               "align_corners=False, num_classes=3), test_cfg=dict(mode='slide', "
               "crop_size=(64, 64), stride=(42, 42)))\nimg_norm_cfg = dict(mean=[1, 2, 3], "
               "std=[1, 2, 3], to_rgb=True)\ntest_pipeline = [dict(type='Resize', "
               "scale=(64, 32), keep_ratio=True)]\n")
STATES = [SMALL, GLAM, upstream_names(SMALL), {**backbone_state(), **fcn_state()},
          {**backbone_state(), **psp_state()}, {**backbone_state(), **fpn_state()},
          {**backbone_state(), **segformer_state()},
          {**backbone_state(tokens=1), **glam_segformer_state()}, V1, V2, without_buffers(V1),
          simmim_state(V2), moby_state(V1), timm_state(V1), timm_state(V2),
          timm_state(V1, features=True), torchvision_state(V1), torchvision_state(V2),
          hugging_face_state(V1), hugging_face_state(V2), hugging_face_state(V1, "backbone"),
          {**{"backbone." + n: a for n, a in hugging_face_state(V1, "backbone").items()},
           **uper_names(uper_state(features=(0, 1, 2)))}, hucao_state(), glam_unet_state(tokens=1),
          glam_unet_state(tokens=2, cross=True), split_unet_state(), smp_state("UPerNet", V1),
          smp_state("Segformer", V1, K=1), smp_state("FPN", DEEP), smp_state("Unet", V1),
          smp_state("Unet", V2, scse=True), authors_state(), openmmlab_state(), hub_state(),
          hub_state("classifier", modules=True),
          *(hugging_face_queries_state(kind, modules) for kind in KINDS for modules in (0, 1)),
          *(detectron2_state(kind) for kind in KINDS), detectron2_state("maskformer", old=True),
          mm_state("maskformer"), mm_state("mask2former", "panoptic_head."),
          birefnet_state()]
OPTIONS = ["--image-size 48x48", "--image-size 4x16384", "--window 3", "--window 1,64",
           "--pretrained-windows 0,0,0", "--pretrained-windows 64,1,2", "--pool-scales 1,2,3,6",
           "--pool-scales 99999999999", "--heads 1,2", "--max-size 16384x16384", "--mode slide",
           "--mode centre", "--mode whole", "--crop 32x32", "--stride 16384x1", "--size 16384",
           "--patch-order rows", "--patch-order columns",
           "--backbone", "--model", "--align-corners", "--palette ade20k", "--classes imagenet1k",
           "--decoder-heads 2", "--decoder-heads 999", "--task panoptic", "--scores input",
           "--entry model", "--entry state_dict", "--entry 0", "--info"]
NUMBERS = [0, 1, 2, 3, 7, 63, 64, 65, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, 2 ** 32,
           2 ** 62, 2 ** 63, -1, -2 ** 31, -2 ** 63, 0.0, -0.5, 1e-320, 1e308,
           float("nan"), float("inf"), float("-inf")]
ODD = [*NUMBERS, None, True, False, "", "x", "3", "\ud800", "a" * 5000, [], {}, [[]], [None] * 3,
       {"height": 0, "width": -1}, [0, 0], [1e308] * 3, [True] * 3]
WRAPPERS = ["state_dict", "model", "state_dict_ema", "net", "module", "ema", "meta", "0"]
PREFIXES = ["module.", "model.", "net._orig_mod.", "backbone.", "encoder.", "student.", "."]


# Mutations ----------------------------------------------------------------------------------------

def odd_shape(shape, rng):
    """Another shape of at most some 100,000 numbers."""
    shape = list(shape) or [1]
    way = rng.choice([0, 0, 0, 1, 2, 3, 4, 5])
    k = rng.randrange(len(shape))
    if way == 0:
        shape[k] = rng.choice([0, 1, 2, 3, 5, 9, 64, 100])
    elif way == 1:
        shape[k] = max(0, shape[k] + rng.choice([-1, 1]))
    elif way == 2:
        rng.shuffle(shape)
    elif way == 3:
        shape.insert(k, rng.choice([0, 1, 2]))
    elif way == 4:
        del shape[k]
    else:
        shape[k] *= rng.choice([2, 3, 25])
    return shape if np.prod(shape, dtype=float) < 1e5 else [1]


def odd_array(array, rng):
    way = rng.randrange(5)
    if way < 3:
        return np.resize(array, odd_shape(array.shape, rng)).astype(array.dtype)
    if way == 3:
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(["f8", "f2", "i8"]))
    changed = array.astype("f8").copy()
    if changed.size:
        changed.reshape(-1)[rng.randrange(changed.size)] = rng.choice(
            [np.nan, np.inf, -np.inf, 1e300, -1.0, 0.0, 1e-320, 2.0 ** 62])
    return changed


def odd_name(name, names, rng):
    parts = name.split(".")
    k = rng.randrange(len(parts))
    way = rng.randrange(4)
    if way == 0:
        del parts[k]
    elif way == 1:
        parts[k] = str(rng.choice([0, 1, 2, 9, -1, 10 ** 30, "", "weight", "attn", "\u0661"]))
    elif way == 2:
        parts.insert(k, rng.choice(["0", "module", "lora_A", "loss", "attn_mask"]))
    else:
        return rng.choice(names)
    return ".".join(parts)


def odd_state(state, rng):
    """A state dict with some tensors left out, renamed, reshaped or of other numbers; sometimes all
    of a kind alike, so that they still fit one another."""
    state = dict(state)
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 3])):
        names, kinds = list(state), {}
        for name in names:
            kinds.setdefault(re.sub(r"\d+", "", name), []).append(name)
        name = rng.choice(rng.choice(list(kinds.values())))     # each kind of tensor as often
        kind = rng.random() < 0.3 and name.rpartition("blocks.")[2].partition(".")[2]
        for other in [n for n in names if kind and n.endswith(kind)] or [name]:
            way = rng.randrange(8)
            if way == 0:
                state.pop(other, None)
            elif way == 1:
                state[odd_name(other, names, rng)] = state.pop(other, np.ones(1, "f4"))
            else:
                state[other] = odd_array(state.get(other, np.ones(1, "f4")), random.Random(
                    f"{kind} {rng.random() if not kind else name}"))
    if rng.random() < 0.2:
        prefix = rng.choice(PREFIXES)
        state = {prefix + name: array for name, array in state.items()}
    return state


def odd_json(value, rng, chance=0.0):
    """A copy of a JSON value with some of its parts replaced, but not the whole."""
    if rng.random() < chance:
        return rng.choice(ODD)
    if isinstance(value, dict):
        return {key: odd_json(part, rng, 0.08) for key, part in value.items()
                if rng.random() > 0.05}
    if isinstance(value, list):
        parts = [odd_json(part, rng, 0.08) for part in value]
        return parts * rng.choice([1, 1, 1, 1, 2]) if rng.random() < 0.9 else parts[1:]
    return value


def odd_text(text, rng):
    for _ in range(rng.randrange(4)):
        k, n = rng.randrange(len(text)), rng.randrange(9)
        text = text[:k] + rng.choice(["", "(", "]", "0", "-", "'", "dict(", "None", "1e999", "\n",
                                      "{", "*", "99999999999999999999"]) + text[k + n:]
    return text


def odd_bytes(data, rng):
    """Flipped, moved, lost and inserted bytes, most near the ends, where descriptions are."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not data:
            break
        near = min(len(data), rng.choice([16, 400, 4000, len(data)]))
        k = rng.randrange(near) if rng.random() < 0.6 else len(data) - 1 - rng.randrange(near)
        way, n = rng.randrange(7), rng.choice([1, 2, 4, 8, 100])
        if way == 0:
            data[k] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[k] = rng.randrange(256)
        elif way == 2:
            number = rng.choice([x for x in NUMBERS if isinstance(x, int)]) & (1 << 64) - 1
            data[k:k + 8] = number.to_bytes(8, "little")
        elif way == 3:
            del data[k:k + n]
        elif way == 4:
            data[k:k] = data[k:k + n]
        elif way == 5:
            data[k:k] = bytes(rng.randrange(256) for _ in range(n))
        else:
            del data[k:]
    return bytes(data)


def odd_pickle(path, rng):
    """Mutates the pickle of a zip archive whose checksums then fit again."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in records if name.endswith("data.pkl"))
    records[name] = odd_bytes(records[name], rng)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)


# Inputs -------------------------------------------------------------------------------------------

def write_torch(state, folder, rng):
    """A zip or legacy file, with a meta, wrappers and strange views."""
    file = File()
    root = file.state(state)
    if rng.random() < 0.08:
        name, key = rng.choice(list(root)), file.raw("FloatStorage", 4, bytes(16))
        numbers = [rng.choice([0, 1, 2, 4, 2 ** 40, 2 ** 62, -1]) for _ in range(5)]
        root[name] = file.view(key, numbers[0], numbers[1:3], numbers[3:])
    meta = {"CLASSES": rng.choice([("a", "b", "c"), [1], None, "x"]),
            "config": odd_text(CONFIG_TEXT, rng)}
    for _ in range(rng.randrange(3)):
        beside = {} if rng.random() < 0.7 else {rng.choice(WRAPPERS): rng.choice([root, 7, None])}
        root = {**beside, rng.choice(WRAPPERS): root, "meta": meta}
        root = [root] if rng.random() < 0.1 else root
    path = folder / "checkpoint.pth"
    write = rng.choice([file.zip, file.legacy])
    write(root, path)
    if write == file.zip and rng.random() < 0.3:
        odd_pickle(path, rng)
    return path


def write_pickle(state, folder, rng):
    """NumPy's arrays in one pickle, as detectron2's models are."""
    path = folder / "model_final.pkl"
    data = pickle.dumps({"model": state, "__author__": "x"}, rng.randrange(6))
    path.write_bytes(odd_bytes(data, rng) if rng.random() < 0.4 else data)
    return path


def write_hub(state, folder, rng):
    """A folder of safetensors, in one file or in shards, with its configs."""
    names, parts = list(state), rng.choice([1, 2])
    files = {f"part-{k}.safetensors": names[k::parts] for k in range(parts)}
    for name, held in files.items():
        safetensors({n: state[n] for n in held}, folder / name)
    if parts > 1 or rng.random() < 0.2:
        index = {"weight_map": {n: name for name, held in files.items() for n in held}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(
            odd_json(index, rng) if rng.random() < 0.2 else index))
    for name, told in (("config.json", rng.choice([HF_CONFIG, TIMM_CONFIG, QUERY_CONFIG])),
                       ("preprocessor_config.json", PREPROCESSOR)):
        if rng.random() < 0.8:
            (folder / name).write_text(json.dumps(odd_json(told, rng)))
    return folder


@functools.lru_cache
def sound_blob(number):
    with tempfile.TemporaryDirectory() as folder:
        write_small(Path(folder, "m.swin"), STATES[number])
        return Path(folder, "m.swin").read_bytes()


def write_blob(folder, rng):
    """A .swin model with odd bytes or config words, most under a checksum that fits."""
    data, path = bytearray(sound_blob(rng.randrange(3))), folder / "model.swin"
    words = len(blob.config_bytes(blob.parse(data).description)) // 4
    if rng.random() < 0.5:
        data[:4000] = odd_bytes(data[:4000], rng)
    for _ in range(rng.randrange(3)):
        at = blob.CONFIG_OFFSET + 4 * rng.randrange(words)
        number = rng.choice([n for n in NUMBERS if isinstance(n, int)]) & 0xFFFFFFFF
        data[at:at + 4] = number.to_bytes(4, "little")
    data += bytes(-len(data) % blob.ALIGN)
    data[16:24] = len(data).to_bytes(8, "little")
    checksum = blob.Checksum()
    checksum.feed(bytes(data[blob.CHECKED_FROM:]))
    if rng.random() < 0.9:
        struct.pack_into("<2I", data, 24, *checksum.sums)
    path.write_bytes(data)
    return path


def write_input(folder, rng):
    if rng.random() < 0.08:
        return write_blob(folder, rng)
    state = odd_state(rng.choice(STATES), rng)
    writable = {name: a for name, a in state.items() if a.dtype.str[1:] in ("f4", "f8", "f2", "i8")}
    write = rng.choice([write_torch, write_torch, write_hub, write_hub, write_pickle])
    path = write(writable, folder, rng)
    if rng.random() < 0.15:
        file = rng.choice(sorted(p for p in folder.iterdir()))
        file.write_bytes(odd_bytes(file.read_bytes(), rng))
    return path


def arguments(path, out, rng):
    words = [str(path), "-o", str(out)]
    for _ in range(rng.choice([0, 0, 0, 1, 1, 3])):
        words += rng.choice(OPTIONS).split()
    return [*words, "--info"] if path.suffix == ".swin" else words


# Running ------------------------------------------------------------------------------------------

def out_of_time(*_):
    raise TimeoutError(f"more than {CPU_SECONDS} s of CPU time")


def attempt(number, folder):
    """Runs the converter on one input; what is wrong with its answer, or None."""
    rng = random.Random(number)
    out, said = folder / "out.swin", io.StringIO()
    inputs = folder / "in"
    inputs.mkdir()
    words = arguments(write_input(inputs, rng), out, rng)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            status = tool.main(words)
    except SystemExit as end:           # usage
        status = end.code
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if status == 0 and "--info" not in words:
        blob.read(out)                  # raises where the model is not sound
    complaint = said.getvalue()
    if "not enough memory" in complaint or status == 1 and complaint.count("\n") != 1:
        return complaint
    return None if status in (0, 1, 2) else f"exit code {status}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--executions", type=int, default=1 << 62)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", type=int, help="number of the only input")
    options = parser.parse_args()
    if options.only is not None:
        options.first, options.executions = options.only, 1
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    signal.signal(signal.SIGPROF, out_of_time)
    start, done, faults = time.monotonic(), 0, 0
    while done < options.executions and time.monotonic() < start + options.seconds:
        with tempfile.TemporaryDirectory() as folder:
            wrong = attempt(options.first + done, Path(folder))
        done += 1
        if wrong:
            faults += 1
            print(f"input {options.first + done - 1} (--only repeats it):\n{wrong}", flush=True)
    print(f"{done} executions, {faults} faults")
    return faults > 0


def test_hostile_files_give_a_model_or_an_error():
    seconds = os.environ.get("HOSTILE_SECONDS", str(SECONDS))
    done = subprocess.run([sys.executable, __file__, "--seconds", seconds], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.split()[-4]) > 100, "too few to mean anything"


if __name__ == "__main__":
    sys.exit(main())
