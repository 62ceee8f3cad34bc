"""tools/bench: what it times, whom it believes, and how it words the figures.

The engines other than PyTorch are not installed here; scripts and modules stand in for them.
"""

import json
import re
import statistics
import subprocess
import sys
import types
from xml.etree import ElementTree

import numpy
import pytest
import torch

from conftest import ROOT

sys.path.append(str(ROOT / "tools" / "bench"))
import bench  # noqa: E402
import models  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import works  # noqa: E402

SMALL = dict(embed_dim=16, depths=(1, 1), num_heads=(1, 2), out_indices=(0, 1))
HEAD = dict(type="FCNHead", channels=16, classes=5, num_convs=1, in_index=(0,))
SIZE = dict(size=(56, 84))
FOUR = dict(SMALL, depths=(1,) * 4, num_heads=(1, 2, 2, 4), out_indices=(0, 1, 2, 3))
QUERIES = works.Work("", "classes", dict(
    kind="Mask2Former", backbone=FOUR, channels=32, masks=32, width=32, queries=50, classes=20,
    heads=4, layers=4, hidden=32, pixels=dict(heads=4, layers=1, hidden=32)),
    whole=models.QuerySegmentor, **SIZE)
SMP = works.Work("", "logits", dict(
    decoder="UPerNet", head=dict(channels=16), image=64, embed_dim=16, depths=(1, 2, 1),
    num_heads=(1, 2, 2)), whole=models.SmpModel, classes=5, size=(64, 64),
    told=("--image-size", "64x64"))


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
     [(1, 84, 56)]),
    (QUERIES, [(1, 84, 56)]), (SMP, [(1, 5, 16, 16)])])
def test_a_work_loads_as_it_was_written(written, work, shapes):
    folder = written("small", work)
    inputs = numpy.load(folder / "inputs.npy")
    assert len(inputs) == len(works.PHOTOS) > 1
    for i, x in enumerate(inputs):
        expected = bench.arrays_of(folder / f"expected{i}.npz")
        with torch.inference_mode():
            found = works.load(folder)(torch.from_numpy(x))
        found = found if isinstance(found, tuple) else (found,)
        assert [x.shape for x in expected] == shapes
        for x, y in zip(found, expected, strict=True):
            numpy.testing.assert_array_equal(x, y)


def test_a_work_that_takes_logits_is_the_whole_model_s_end(written):
    folders = [written(name, works.Work("", "classes", SMALL, HEAD, takes=takes, **SIZE))
               for name, takes in (("whole", None), ("end", "logits"))]
    whole, end = (numpy.load(folder / "expected0.npz")["arr_0"] for folder in folders)
    numpy.testing.assert_array_equal(whole, end)
    assert len(numpy.unique(whole)) > 1


def test_pytorch_takes_turns(written):
    folder = written("labels")
    entrant, work = bench.Entrant("torch"), works.WORKS["labels"]
    engine = bench.start(entrant, work, folder, 1)
    try:
        assert set(engine.facts) == {"made_ms", "first_ms"}
        assert bench.compare(entrant, engine, work, folder) == {
            "difference": 0, "loss": 0, "loss_in": report.PIXELS}
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


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """What bench.py says of an entrant whose outputs for the only photo are `found`."""
    monkeypatch.setattr(bench, "PHOTOS", works.PHOTOS[:1])

    def compare(entrant, outputs, expected, found):
        numpy.savez(tmp_path / "expected0.npz", expected)
        numpy.savez(tmp_path / f"{entrant.name}.0.npz", found)
        answers = f"print({json.dumps({})}, flush=True)\nfor line in open(0): print(flush=True)"
        engine = bench.Engine([sys.executable, "-c", answers])
        try:
            return bench.compare(entrant, engine, works.Work("", outputs, {}), tmp_path)
        finally:
            engine.end()

    return compare


@pytest.mark.parametrize("outputs, wrong, limit", [
    ("scores", 9e-3, bench.PEERS_DIFFERENCE), ("classes", 1, bench.MOST_PIXELS)])
def test_who_disagrees_in_float32_is_not_timed(compared, outputs, wrong, limit):
    """An engine that is `wrong` by a little or in one pixel passes, by ten times that it fails;
    with eight bits it passes, and its loss is told."""
    expected = numpy.ones(2000, "i8" if outputs == "classes" else "f4")
    full, eight = bench.Entrant("torch"), bench.Entrant("openvino", "int8")
    found = expected.copy()
    found[0] += wrong
    assert 0 < compared(full, outputs, expected, found)["difference"] <= limit
    found[:10] += 10 * found.dtype.type(wrong)
    with pytest.raises(bench.Failed, match="its outputs disagree"):
        compared(full, outputs, expected, found)
    assert compared(eight, outputs, expected, found)["difference"] > limit
    for entrant in (full, eight):
        with pytest.raises(bench.Failed, match="its outputs have other shapes"):
            compared(entrant, outputs, expected, found[1:])


def test_what_a_loss_is(compared):
    entrant = bench.Entrant("mnn", "int8")
    classes = numpy.zeros((1, 10, 20), "i8")
    logits = numpy.zeros((1, 4, 10, 20), "f4")
    logits[:, 0] = 1
    scores = numpy.float32([[3, -3, 3, -3]])
    for outputs, expected, changed in (("classes", classes, classes.copy()),
                                       ("logits", logits, 5 * logits)):
        assert compared(entrant, outputs, expected, changed)["loss"] == 0
        if outputs == "classes":
            changed[0, 0, :5] = 2
        else:
            changed[0, 2, 0, :5] = 7
        told = compared(entrant, outputs, expected, changed)
        assert told["loss"] == pytest.approx(5 / 200) and told["loss_in"] == report.PIXELS
    told = compared(entrant, "scores", scores, scores + numpy.float32([[0.3, 0.3, -0.3, -0.3]]))
    assert told["loss"] == pytest.approx(0.1) and told["loss_in"] == report.ERROR
    for nothing in (-scores, scores * numpy.nan):
        with pytest.raises(bench.Failed, match="have nothing to do with PyTorch's"):
            compared(entrant, "scores", scores, nothing)


def chosen_entrants(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["bench.py", *options])
    return [entrant.name for entrant in bench.entrants_of(bench.arguments())]


def test_who_runs(monkeypatch):
    assert chosen_entrants(monkeypatch) == [
        "swin", "swin-f16", "swin-int8", "onnxruntime", "onnxruntime-int8", "openvino",
        "openvino-bf16", "openvino-int8", "torch", "torch-compile", "mnn", "mnn-int8", "ncnn"]
    assert chosen_entrants(monkeypatch, "--quick") == ["swin", "onnxruntime"]
    assert chosen_entrants(monkeypatch, "--numbers", "bf16,int8", "--peers", "openvino") == [
        "swin", "swin-int8", "openvino-bf16", "openvino-int8"]


def test_every_peer_has_its_function():
    named = {bench.Entrant(engine, numbers).name for engine in bench.PEERS
             for numbers in bench.ENGINES[engine]}
    assert set(peers.ENGINES) == named >= set(peers.PREPARE)


@pytest.mark.parametrize("name, model, hint", [
    ("openvino", "work.onnx", "f32"), ("openvino-bf16", "work.onnx", "bf16"),
    ("openvino-int8", "int8.xml", "f32")])
def test_openvino_is_asked_for_the_numbers(monkeypatch, tmp_path, name, model, hint):
    asked, extensions = [], []

    class Core:
        add_extension = extensions.append

        def compile_model(self, path, device, settings):
            asked.append((path, settings["INFERENCE_PRECISION_HINT"],
                          settings["INFERENCE_NUM_THREADS"]))
            return types.SimpleNamespace(create_infer_request=lambda: None)

    monkeypatch.setitem(sys.modules, "openvino", types.SimpleNamespace(Core=Core))
    monkeypatch.setitem(sys.modules, "openvino.frontend.onnx",
                        types.SimpleNamespace(ConversionExtension=lambda *what: what[:2]))
    monkeypatch.setattr(peers, "processor_flags", lambda: {"avx512_bf16"})
    peers.ENGINES[name](tmp_path, 2)
    assert asked == [(tmp_path / model, hint, 2)] and extensions == [("DeformConv", "")]


def test_bf16_needs_a_processor_that_has_it(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "processor_flags", lambda: {"avx2", "avx512f"})
    with pytest.raises(RuntimeError, match="^this processor has none of amx_bf16, avx512_bf16$"):
        peers.ENGINES["openvino-bf16"](tmp_path, 1)


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of tools/bench/bench.c and examples/tensor.c, quickly built."""
    folder = tmp_path_factory.mktemp("bench")
    for source in ("tools/bench/bench.c", "examples/tensor.c"):
        path = ROOT / source
        subprocess.run(["gcc", "-std=c99", "-O0", "-o", folder / path.stem, path, "-lm",
                        "-lpthread"], check=True)
    return folder


@pytest.fixture
def program(programs):
    return programs / "bench"


@pytest.mark.parametrize("outputs, loss_in", [("classes", report.PIXELS),
                                              ("features", report.ERROR)])
def test_swin_runs_in_all_its_numbers(written, programs, monkeypatch, outputs, loss_in):
    """The fewer bits, the smaller the file and the larger the loss."""
    width = dict(embed_dim=64, depths=(1,) * 4, num_heads=(1, 2, 4, 8))
    work = works.Work("", outputs, width, None if outputs == "features" else HEAD, **SIZE)
    folder = written("small", work)
    monkeypatch.setattr(bench, "BUILD", programs)
    monkeypatch.setattr(bench, "prepare", lambda name: folder)
    monkeypatch.setattr(bench, "machine_peak", lambda cpu, threads: None)
    entrants = [bench.Entrant(bench.SWIN, numbers) for numbers in bench.ENGINES[bench.SWIN]]
    bench.call(sys.executable, bench.TOOLS / "convert.py", folder / "model.pth", "-o",
               bench.model_of(entrants[0], folder))
    rows = bench.measure("small", entrants, 1, 1)
    assert [row["numbers"] for row in rows] == ["f32", "f16", "int8"]
    assert not any("failed" in row for row in rows), rows
    assert all(row["ms"] > 0 and row["loss_in"] == loss_in for row in rows)
    sizes = [bench.model_of(entrant, folder).stat().st_size for entrant in entrants]
    full, half, eight = [row["loss"] for row in rows]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < 0.4 * sizes[0]
    assert full <= half <= eight and 0 < eight < 0.1


@pytest.mark.parametrize("work", [QUERIES, SMP], ids=["queries", "smp"])
def test_swin_agrees_on_whole_models(written, programs, monkeypatch, work):
    folder, entrant = written("small", work), bench.Entrant(bench.SWIN)
    monkeypatch.setattr(bench, "BUILD", programs)
    monkeypatch.setattr(bench, "prepare", lambda name: folder)
    monkeypatch.setattr(bench, "machine_peak", lambda cpu, threads: None)
    bench.call(sys.executable, bench.TOOLS / "convert.py", folder / "model.pth", "-o",
               bench.model_of(entrant, folder), *work.told)
    row, = bench.measure("small", [entrant], 1, 1)
    assert "failed" not in row, row["failed"]
    assert row["ms"] > 0 and len(numpy.unique(bench.arrays_of(folder / "expected0.npz")[0])) > 1


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


MEASURED = dict(work="a", threads=1, loss_in=report.PIXELS)
ROWS = [
    dict(MEASURED, engine="swin", numbers="f32", ms=50.0, gmadd=2.0, machine_gflops=100.0,
         workspace=3 << 20, peak_bytes=9 << 20, first_seconds=0.25, difference=1e-6, loss=0),
    dict(MEASURED, engine="swin", numbers="f32", threads=2, ms=26.0, peak_bytes=9 << 20,
         first_seconds=0.2, difference=1e-6, loss=0),
    dict(MEASURED, engine="mnn", numbers="f32", ms=125.0, peak_bytes=40 << 20, first_seconds=1.5,
         difference=2e-3, loss=1e-4),
    dict(MEASURED, engine="ncnn", numbers="f32", failed="its outputs disagree: 0.5")]
SMALLER = ROWS + [
    dict(MEASURED, engine="swin", numbers="int8", ms=20.0, peak_bytes=9 << 20, first_seconds=0.2,
         difference=1e-2, loss=0.0123),
    dict(MEASURED, engine="openvino", numbers="int8", ms=30.0, peak_bytes=9 << 20,
         first_seconds=0.2, difference=0.5, loss=0.03, loss_in=report.ERROR),
    dict(MEASURED, engine="openvino", numbers="bf16", failed="no bf16 here")]


def cells_of(rows):
    text = report.table(dict(rows=rows, runs=3, processor="Some CPU"), {"a": "A work"})
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_the_table_words_the_figures():
    cells = cells_of(ROWS)
    assert ["ms, 1 thread", "swin.h", "MNN", "ncnn", "swin.h of fp32 peak"] in cells
    assert ["A work", "50.0", "125 (2.50x)", "-", "80 %"] in cells
    assert ["A work", "swin.h", "1", "3.0", "9", "0.25", "0 % of pixels", "1.0e-06"] in cells
    assert ["A work", "MNN", "1", "-", "40", "1.50", "0.01 % of pixels", "2.0e-03"] in cells
    assert ["A work", "ncnn", "1", "-", "-", "-", "-", "its outputs disagree: 0.5"] in cells
    assert not any(row[0].startswith("ms and loss") for row in cells)


def test_fewer_bits_stand_beside_their_loss():
    cells = cells_of(SMALLER)
    assert ["ms, 1 thread", "swin.h", "MNN", "ncnn", "swin.h of fp32 peak"] in cells
    assert ["ms and loss, 1 thread", "swin.h", "swin.h int8", "OpenVINO int8",
            "OpenVINO bf16"] in cells
    assert ["A work", "50.0 (2.50x), 0 % of pixels", "20.0, 1.2 % of pixels",
            "30.0 (1.50x), 3.0e-02 rms", "-"] in cells
    assert ["A work", "OpenVINO bf16", "1", "-", "-", "-", "-", "no bf16 here"] in cells


def test_threads_stand_beside_one():
    assert ["A work", "swin.h", "50.0", "26.0", "1.92"] in cells_of(ROWS)
    one = [row for row in ROWS if row["threads"] == 1]
    assert not any("times faster" in row for row in cells_of(one))


def test_the_plot_s_bars_are_as_long_as_the_times():
    picture = ElementTree.fromstring(report.plot(dict(rows=SMALLER), {"a": "A & B"}))
    bars = [float(bar.get("width")) for bar in picture.findall("{*}rect")][1:]
    words = [text.text for text in picture.findall("{*}text")]
    assert [bar / bars[-1] for bar in bars] == pytest.approx([20 / 125, 30 / 125, 50 / 125, 1], 1e-3)
    assert {"A & B", "50.0", "swin.h int8"} <= set(words) and "ncnn" not in words
