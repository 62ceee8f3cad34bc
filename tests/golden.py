"""The stored outputs of the original code against build/tensor, on every instruction set.

tests/golden/NAME holds a small random checkpoint, inputs and what the authors' own code makes of
them. Errors are max |difference| / max |value|; a case whose kind of model rounds more has limits
of its own in its case.json, and the reason. And all instruction sets (NEON under qemu) and all
numbers of threads give the same bytes.
"""

import json
import pathlib
import re
import subprocess

import numpy
import pytest

from conftest import BUILD, GOLDEN, ROOT

CASES = sorted(p.parent.name for p in GOLDEN.glob("*/case.json"))
NAMES = ["logits", "classes", "scores", "feature0", "feature1", "feature2", "feature3"]
# near_tie: the share of the logits' range that the two best classes of a pixel lie apart, at least,
# where the class must be the original's.
TOLERANCE = {"logits": 5e-5, "features": 1e-4, "near_tie": 1e-4}
# What smaller weights may change: the rms of the difference to what float32 gives, by its
# standard deviation. The largest of a row's numbers is three or four times their rms, so that 127
# steps to it mean rounding errors of 0.8 % of the rms, 1.1 % for weights and rows together;
# halves' are 0.02 %. The errors of ten to fifty layers add up as independent ones do: to less
# than 9 % and 0.4 % here. Swin V2's attention multiplies cosines by up to 100 before their
# softmax, and the errors in them: with random weights no more is left of its later stages than
# that they resemble the original. A wrong scale, bias or order of weights changes either by about
# 100 %.
# Scores of heads with queries are sigmoids of sums over all channels, which random weights make
# large. And in Mask2Former and OneFormer a logit near 0 decides where a query looks: in 8 bits many
# turn, after which the scores of a random model may be anything, and features alone are compared.
LOSS = {"--int8": {"all": 0.12, "V2": 0.6, "V2's first": 0.06, "queries": 0.25},
        "--f16": {"all": 0.005, "V2": 0.15, "V2's first": 0.003, "queries": 0.03}}
QUERIES, GUIDED = re.compile(r"(mask|mask2|one)former"), re.compile(r"(mask2|one)former")


def limit_of(name, key, option):
    """Which of LOSS an output of a case keeps; None where nothing is known of it."""
    if key == "logits" and QUERIES.search(name):
        return None if option == "--int8" and GUIDED.search(name) else "queries"
    return "all" if "swinv2" not in name else "V2's first" if key == "feature0" else "V2"


def tensor(command, model, source, prefix, *options):
    subprocess.run([*command, model, source, prefix, *options], check=True, capture_output=True,
                   timeout=600)
    return {name: pathlib.Path(f"{prefix}.{name}.npy") for name in NAMES
            if pathlib.Path(f"{prefix}.{name}.npy").exists()}


def error(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype and numpy.isfinite(got).all()
    return abs(got - expected).max() / abs(expected).max()


def resize(x, height, width, aligned):
    """[K,h,w] to [K,height,width], bilinear, half-pixel centres or aligned corners, in float64."""
    def axis(old, new):
        at = numpy.arange(new)
        u = (at * ((old - 1) / max(new - 1, 1)) if aligned
             else ((at + 0.5) * old / new - 0.5).clip(0))
        low = u.astype(int).clip(0, old - 1)
        return low, (low + 1).clip(0, old - 1), u - low

    a, b, t = axis(x.shape[1], height)
    x = x[:, a] * (1 - t)[:, None] + x[:, b] * t[:, None]
    a, b, t = axis(x.shape[2], width)
    return x[:, :, a] * (1 - t) + x[:, :, b] * t


@pytest.fixture(scope="module")
def neon(tmp_path_factory):
    """build/tensor for AArch64, under qemu."""
    program = tmp_path_factory.mktemp("neon") / "tensor"
    subprocess.run(["aarch64-linux-gnu-gcc", "-std=c99", "-O2", "-static", "-o", program,
                    ROOT / "examples/tensor.c", "-lm", "-lpthread"], check=True)
    return ["qemu-aarch64", program]


def test_there_are_cases():
    assert {"upernet", "fcn", "fpn", "psp", "segformer", "unet", "xattn", "swinv2", "timm", "hf",
            "tv", "ms", "smp", "binary", "maskformer", "mask2former", "oneformer", "birefnet"} <= {
                word for name in CASES for word in name.split("-")}


@pytest.mark.parametrize("name", CASES)
def test_case(name, convert, cpus, neon, tmp_path):
    case, model, here = GOLDEN / name, convert(name), [BUILD / "tensor"]
    about = json.loads((case / "case.json").read_text())
    config, limits = about.get("config", {}), {**TOLERANCE, **about.get("tolerance", {})}
    sources = sorted(case.glob("input-*.npy"))
    assert sources
    for source in sources:
        number = source.stem.split("-")[1]
        got = tensor(here, model, source, tmp_path / number)
        features = sorted(case.glob(f"feature?-{number}.npy"))
        assert features
        for path in features:
            feature = path.stem.split("-")[0]
            assert error(numpy.load(got[feature]), numpy.load(path)) <= limits["features"], feature
        if (case / f"logits-{number}.npy").exists():
            expected = numpy.load(case / f"logits-{number}.npy")
            result = numpy.load(got["scores" if expected.ndim == 1 else "logits"])
            if expected.shape[1:] == numpy.load(source).shape[1:]:      # enlarged by the original
                result = resize(result, *expected.shape[1:], config.get("align_corners", False))
            assert error(result.astype(numpy.float32), expected) <= limits["logits"]
        if (case / f"classes-{number}.npy").exists():
            stored = numpy.load(case / f"classes-{number}.npy")
            classes = numpy.load(got["classes"])
            assert classes.shape == stored.shape and classes.dtype == numpy.uint16
            best = resize(expected.astype(float), *stored.shape, config.get("align_corners", False))
            if len(best) == 1:          # one class, where its logit is above 0
                best = numpy.concatenate([numpy.zeros_like(best), best])
            best.sort(axis=0)
            clear = (best[-1] - best[-2]
                     > limits["near_tie"] * (expected.max() - expected.min()))
            assert clear.mean() > 0.9
            assert (classes == stored)[clear].all()

        reference = {key: path.read_bytes() for key, path in got.items()}
        ways = [(here, "--cpu", cpu) for cpu in cpus] + [(neon, "--cpu", "neon")]
        ways += [(here, "--threads", n) for n in "1237"]
        for way, (command, *options) in enumerate(ways):
            other = tensor(command, model, source, tmp_path / f"{number}-{way}", *options)
            assert {key: path.read_bytes() for key, path in other.items()} == reference, options


def loss(got, expected):
    assert got.shape == expected.shape and numpy.isfinite(got).all()
    return numpy.sqrt(numpy.square(got.astype(float) - expected).mean()) / expected.std()


@pytest.mark.parametrize("option", LOSS)
@pytest.mark.parametrize("name", CASES)
def test_smaller_numbers(name, option, convert, cpus, neon, tmp_path):
    """They change what float32 gives by as much as they must, and by the same everywhere."""
    model, here = convert(name, option), [BUILD / "tensor"]
    source = min((GOLDEN / name).glob("input-*.npy"))
    floats = tensor(here, convert(name), source, tmp_path / "floats")
    got = tensor(here, model, source, tmp_path / "got")
    assert got.keys() == floats.keys()
    for key in got.keys() - {"classes"}:
        limit = limit_of(name, key, option)
        if not limit:
            continue
        lost = loss(numpy.load(got[key]), numpy.load(floats[key]))
        assert lost <= LOSS[option][limit], key
    reference = {key: path.read_bytes() for key, path in got.items()}
    assert reference != {key: path.read_bytes() for key, path in floats.items()}
    ways = [(here, "--cpu", cpu) for cpu in cpus] + [(here, "--threads", "3")]
    ways += [(neon, "--cpu", cpu) for cpu in ("neon", "neon_dot", "neon_i8mm")]
    for way, (command, *options) in enumerate(ways):
        other = tensor(command, model, source, tmp_path / str(way), *options)
        assert {key: path.read_bytes() for key, path in other.items()} == reference, options


def test_sliding_window(convert, tmp_path):
    """Averages of overlapping crops as the original code makes them, the same for any tasks."""
    case = GOLDEN / "seg-swin-upernet-w7"
    slide = json.loads((case / "case.json").read_text())["slide"]
    size = ["--crop", "x".join(map(str, slide["crop"])),
            "--stride", "x".join(map(str, slide["stride"]))]
    source, expected = (case / f"{what}-{slide['input']}.npy" for what in ("input", "slide-logits"))
    here, model, bytes_of = [BUILD / "tensor"], convert(case.name), {}
    for threads in "13":
        got = tensor(here, model, source, tmp_path / threads, "--threads", threads, *size)
        assert error(numpy.load(got["logits"]), numpy.load(expected)) <= TOLERANCE["logits"]
        assert (numpy.load(got["classes"]) == numpy.load(expected).argmax(0)).mean() > 0.999
        bytes_of[threads] = got["logits"].read_bytes() + got["classes"].read_bytes()
    assert bytes_of["1"] == bytes_of["3"]
    whole = tensor(here, model, source, tmp_path / "whole", "--whole", *size)
    expected = numpy.load(case / "logits-2.npy")
    assert error(numpy.load(whole["logits"]), expected) <= TOLERANCE["logits"]
