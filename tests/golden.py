"""The stored outputs of the original code against build/tensor, on every instruction set.

tests/golden/NAME holds a small random checkpoint, inputs and what the authors' own code makes of
them. Errors are max |difference| / max |value|. And all instruction sets (NEON under qemu) and all
numbers of threads give the same bytes.
"""

import json
import pathlib
import subprocess

import numpy
import pytest

from conftest import GOLDEN, ROOT

CASES = sorted(p.parent.name for p in GOLDEN.glob("*/case.json"))
LOGITS, FEATURES, NEAR_TIE = 5e-5, 1e-4, 1e-4
NAMES = ["logits", "classes", "feature0", "feature1", "feature2", "feature3"]


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
    assert {"upernet", "fcn"} <= {word for name in CASES for word in name.split("-")}


@pytest.mark.parametrize("name", CASES)
def test_case(name, convert, cpus, neon, tmp_path):
    case, model, here = GOLDEN / name, convert(name), [ROOT / "build/tensor"]
    aligned = json.loads((case / "case.json").read_text())["config"].get("align_corners", False)
    for source in sorted(case.glob("input-*.npy")):
        number = source.stem.split("-")[1]
        got = tensor(here, model, source, tmp_path / number)
        for path in case.glob(f"feature?-{number}.npy"):
            feature = path.stem.split("-")[0]
            assert error(numpy.load(got[feature]), numpy.load(path)) <= FEATURES, feature
        expected = numpy.load(case / f"logits-{number}.npy")
        assert error(numpy.load(got["logits"]), expected) <= LOGITS

        classes, stored = numpy.load(got["classes"]), numpy.load(case / f"classes-{number}.npy")
        assert classes.shape == stored.shape and classes.dtype == numpy.uint16
        best = numpy.sort(resize(expected.astype(float), *stored.shape, aligned), axis=0)
        clear = best[-1] - best[-2] > NEAR_TIE * (expected.max() - expected.min())
        assert (classes == stored)[clear].all()

        reference = {key: path.read_bytes() for key, path in got.items()}
        ways = [(here, "--cpu", cpu) for cpu in cpus] + [(neon, "--cpu", "neon")]
        ways += [(here, "--threads", n) for n in "1237"]
        for way, (command, *options) in enumerate(ways):
            other = tensor(command, model, source, tmp_path / f"{number}-{way}", *options)
            assert {key: path.read_bytes() for key, path in other.items()} == reference, options
