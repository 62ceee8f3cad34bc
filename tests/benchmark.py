"""tools/bench: what it times, whom it believes, and how it words the figures.

The engines other than PyTorch are not installed here; a script stands in for one.
"""

import json
import re
import statistics
import subprocess
import sys
from xml.etree import ElementTree

import numpy
import pytest
import torch

from conftest import ROOT

sys.path.append(str(ROOT / "tools" / "bench"))
import bench  # noqa: E402
import report  # noqa: E402
import works  # noqa: E402

SMALL = dict(embed_dim=16, depths=(1, 1), num_heads=(1, 2), out_indices=(0, 1))
HEAD = dict(type="FCNHead", channels=16, classes=5, num_convs=1, in_index=(0,))
SIZE = dict(size=(56, 84))


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a work, but for its ONNX file; its folder."""
    monkeypatch.setattr(works, "export", lambda *_: None)

    def write(name, work=None):
        if work:
            monkeypatch.setitem(works.WORKS, name, work)
        folder = tmp_path / name
        folder.mkdir()
        works.write(works.WORKS[name], folder)
        return folder

    return write


@pytest.mark.parametrize("work, shapes", [
    (works.Work("", "features", SMALL, **SIZE), [(1, 16, 21, 14), (1, 32, 11, 7)]),
    (works.Work("", "logits", SMALL, HEAD, **SIZE), [(1, 5, 21, 14)]),
    (works.Work("", "classes", SMALL, HEAD, **SIZE), [(1, 84, 56)]),
    (works.Work("", "logits", SMALL, HEAD, start="conv", takes="features", **SIZE),
     [(1, 5, 21, 14)]),
    (works.Work("", "classes", SMALL, HEAD, start="labels", takes="logits", **SIZE),
     [(1, 84, 56)])])
def test_a_work_loads_as_it_was_written(written, work, shapes):
    folder = written("small", work)
    with numpy.load(folder / "expected.npz") as arrays:
        expected = [arrays[name] for name in arrays.files]
    with torch.inference_mode():
        found = works.load(folder)(torch.from_numpy(numpy.load(folder / "input.npy")))
    found = found if isinstance(found, tuple) else (found,)
    assert [x.shape for x in expected] == shapes
    for x, y in zip(found, expected, strict=True):
        numpy.testing.assert_array_equal(x, y)


def test_a_work_that_takes_logits_is_the_whole_model_s_end(written):
    folders = [written(name, works.Work("", "classes", SMALL, HEAD, takes=takes, **SIZE))
               for name, takes in (("whole", None), ("end", "logits"))]
    whole, end = (numpy.load(folder / "expected.npz")["arr_0"] for folder in folders)
    numpy.testing.assert_array_equal(whole, end)
    assert len(numpy.unique(whole)) > 1


def test_pytorch_takes_turns(written):
    folder = written("labels")
    engine = bench.start("torch", works.WORKS["labels"], folder, 1)
    try:
        assert set(engine.facts) == {"made_ms", "first_ms"}
        assert bench.difference("torch", engine, works.WORKS["labels"], folder) == 0
        engine.sleep()
        assert 0 < engine.turn() < 60e3
        assert engine.peak_bytes() > 2**20
    finally:
        engine.end()


def test_an_engine_that_dies_says_why():
    with pytest.raises(bench.Failed, match="^ValueError: no such layer$"):
        bench.Engine([sys.executable, "-c", "raise ValueError('no such layer')"])
    with pytest.raises(bench.Failed, match="^it ended without a word$"):
        bench.Engine([sys.executable, "-c", ""])


@pytest.mark.parametrize("outputs, wrong, limit", [
    ("logits", 9e-3, bench.PEERS_DIFFERENCE), ("classes", 1, bench.MOST_PIXELS)])
def test_who_disagrees_is_not_timed(tmp_path, outputs, wrong, limit):
    """An engine that is `wrong` by a little or in one pixel passes, by ten times that it fails."""
    expected = numpy.ones(2000, "i8" if outputs == "classes" else "f4")
    numpy.savez(tmp_path / "expected.npz", expected)
    work = works.Work("", outputs, {})

    def difference(found):
        numpy.savez(tmp_path / "torch.npz", found)
        answers = f"print({json.dumps({})}, flush=True)\nfor line in open(0): print(flush=True)"
        engine = bench.Engine([sys.executable, "-c", answers])
        try:
            return bench.difference("torch", engine, work, tmp_path)
        finally:
            engine.end()

    found = expected.copy()
    found[0] += wrong
    assert 0 < difference(found) <= limit
    found[:10] += 10 * found.dtype.type(wrong)
    with pytest.raises(bench.Failed, match="its outputs disagree"):
        difference(found)
    with pytest.raises(bench.Failed, match="its outputs have other shapes"):
        difference(found[1:])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """tools/bench/bench.c, quickly built."""
    path = tmp_path_factory.mktemp("bench") / "bench"
    subprocess.run(["gcc", "-std=c99", "-O0", "-o", path, ROOT / "tools/bench/bench.c", "-lm",
                    "-lpthread"], check=True)
    return path


def test_all_crops_of_a_sliding_window_count(program, convert):
    """Four columns and three rows of crops take what twelve pictures of a crop's size take."""
    model = convert("seg-swin-upernet-w7", "--mode", "slide", "--crop", "64x64",
                    "--stride", "40x48")

    def output_of(size, *options):
        return subprocess.run([program, model, "--size", size, *options], input="run\n" * 5,
                              check=True, capture_output=True, text=True).stdout

    madds, times = {}, {}
    for size in ("64x64", "208x144"):
        facts, *answers = map(json.loads, output_of(size, "--serve").splitlines())
        madds[size], times[size] = facts["gmadd"], statistics.median(answers)
    assert 11 < madds["208x144"] / madds["64x64"] < 14
    assert times["208x144"] > 4 * times["64x64"]
    table = output_of("208x144", "--profile", "--runs", "1").splitlines()
    columns = {line[:18].strip(): line[18:].split() for line in table[table.index("") + 1:]}
    repeats = columns["step"].index("repeats")
    rows = {name for name, row in columns.items() if row[repeats] == "3"}
    assert rows == {"slide mean", "labels"}
    assert {row[repeats] for name, row in columns.items() if name not in rows | {"step"}} == {"12"}


ROWS = [
    dict(work="a", engine="swin", threads=1, ms=50.0, gmadd=2.0, machine_gflops=100.0,
         workspace=3 << 20, peak_bytes=9 << 20, first_seconds=0.25, difference=1e-6),
    dict(work="a", engine="mnn", threads=1, ms=125.0, peak_bytes=40 << 20, first_seconds=1.5,
         difference=2e-3),
    dict(work="a", engine="ncnn", threads=1, failed="its outputs disagree: 0.5")]
FACTS = dict(rows=ROWS, runs=3, processor="Some CPU")


def test_the_table_words_the_figures():
    text = report.table(FACTS, {"a": "A work"})
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["ms, 1 thread", "swin.h", "MNN", "ncnn", "swin.h of fp32 peak"] in cells
    assert ["A work", "50.0", "125 (2.50x)", "-", "80 %"] in cells
    assert ["A work", "swin.h", "1", "3.0", "9", "0.25", "1.0e-06"] in cells
    assert ["A work", "MNN", "1", "-", "40", "1.50", "2.0e-03"] in cells
    assert ["A work", "ncnn", "1", "-", "-", "-", "its outputs disagree: 0.5"] in cells


def test_the_plot_s_bars_are_as_long_as_the_times():
    picture = ElementTree.fromstring(report.plot(FACTS, {"a": "A & B"}))
    bars = [float(bar.get("width")) for bar in picture.findall("{*}rect")][1:]
    words = [text.text for text in picture.findall("{*}text")]
    assert len(bars) == 2 and bars[1] / bars[0] == pytest.approx(2.5, rel=1e-3)
    assert "A & B" in words and "50.0" in words and "ncnn" not in words
