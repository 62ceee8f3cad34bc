#!/usr/bin/env python3
"""Measures swin.h beside other engines: the same models, the same machine, in turns.

    bench.py [--quick] [--models uper,glam,...] [--peers onnxruntime,...] [--numbers f32,int8,...]
             [--threads 1,2] [--runs N]

Every engine is a process of its own, and so is every kind of numbers that it computes with. It
first runs a work once, which gives the time from the start of the process to the first result, and
its outputs for three photos are compared with PyTorch's in float32: who disagrees in float32 is not
timed, and of the others their loss is told. Then all run in turns, A B C A B C ...; the others
sleep meanwhile, and medians count. Writes results.json, table.md and plot.svg to build/benchmark.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing

import numpy as np

import report
from works import PHOTOS, ROOT, WORKS

BUILD = ROOT / os.environ.get("BUILD", "build")
FOLDER = BUILD / "benchmark"
TOOLS = ROOT / "tools"
SWIN = "swin"
F32 = "f32"
NUMBERS = [F32, "f16", "bf16", "int8"]
ENGINES = {SWIN: [F32, "f16", "int8"], "onnxruntime": [F32, "int8"],    # and their numbers
           "openvino": [F32, "bf16", "int8"], "torch": [F32], "torch-compile": [F32],
           "mnn": [F32, "int8"], "ncnn": [F32]}
PEERS = [engine for engine in ENGINES if engine != SWIN]
# Differences from PyTorch that still are rounding: of floats, as a share of the largest value.
# MNN's Winograd convolutions come to 2e-3 on random weights; that is reported, and no other model.
OWN_DIFFERENCE = {"logits": 5e-5, "features": 1e-4, "scores": 3e-4}
PEERS_DIFFERENCE = 1e-2
TURN_MS, TURN_RUNS = 500, 10    # short works run several times a turn
MOST_PIXELS = 1e-3              # share of a class map that near ties may turn
MOST_LOST = 0.9                 # by other numbers than float32: the rest is no result at all


class Failed(Exception):
    pass


class Entrant(typing.NamedTuple):
    """An engine, and the numbers that it computes with."""
    engine: str
    numbers: str = F32

    @property
    def name(self):
        return self.engine if self.numbers == F32 else f"{self.engine}-{self.numbers}"


class Engine:
    """A process that has run a work once and takes turns with others, asleep between them."""

    def __init__(self, command):
        self.errors = tempfile.TemporaryFile("w+")
        start = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)
        self.facts = json.loads(self.answer())
        self.first_seconds = time.monotonic() - start

    def answer(self):
        """Its next line of output."""
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            reasons = self.errors.read().strip().splitlines()
            raise Failed(reasons[-1] if reasons else "it ended without a word")
        return line

    def ask(self, what):
        print(what, file=self.process.stdin, flush=True)
        return self.answer()

    def sleep(self):
        self.process.send_signal(signal.SIGSTOP)

    def turn(self):
        """Milliseconds of a run, the median of several where they are short; then it sleeps. The
        run that wakes it up, its memory long untouched, does not count."""
        self.process.send_signal(signal.SIGCONT)
        self.ask("run")
        times = []
        while sum(times) < TURN_MS and len(times) < TURN_RUNS:
            times.append(float(self.ask("run")))
        self.sleep()
        return statistics.median(times)

    def peak_bytes(self):
        """The most memory it ever had; None where the system does not tell."""
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None
        return 1024 * next(int(line.split()[1]) for line in status.splitlines()
                           if line.startswith("VmHWM"))

    def end(self):
        self.process.kill()
        self.process.communicate()


def call(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return done.stdout


def prepare(name):
    """The folder with everything that the engines need for a work; made anew when it changed."""
    folder, description = FOLDER / name, repr((WORKS[name], [path.name for path in PHOTOS]))
    made = folder / "work.txt"
    if not made.exists() or made.read_text() != description:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call(sys.executable, TOOLS / "bench" / "works.py", name, folder)
        call(sys.executable, TOOLS / "convert.py", folder / "model.pth",
             "-o", model_of(Entrant(SWIN), folder), *WORKS[name].told)
        made.write_text(description)
    return folder


def model_of(entrant, folder):
    return folder / ("model.swin" if entrant.numbers == F32 else f"model-{entrant.numbers}.swin")


def make_ready(entrant, folder):
    """Makes what an engine alone reads, in another process: it is no part of the engine's own."""
    if entrant.engine != SWIN:
        call(sys.executable, TOOLS / "bench" / "peers.py", entrant.name, folder, "--prepare")
    elif not model_of(entrant, folder).exists():
        call(sys.executable, TOOLS / "convert.py", model_of(Entrant(SWIN), folder),
             f"--{entrant.numbers}", "-o", model_of(entrant, folder))


def start(entrant, work, folder, threads):
    if entrant.engine != SWIN:
        return Engine([sys.executable, TOOLS / "bench" / "peers.py", entrant.name, folder,
                       str(threads)])
    command = [BUILD / "bench", model_of(entrant, folder), folder / "picture0.npy", "--serve",
               "--threads", str(threads), "--outputs", work.outputs]
    return Engine(command + (["--from", work.start] if work.start else []))


def arrays_of(path):
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def outputs_of(entrant, process, work, folder):
    """For each photo."""
    if entrant.engine != SWIN:
        process.ask("save")
        return [arrays_of(folder / f"{entrant.name}.{i}.npz") for i in range(len(PHOTOS))]
    names = ([f"feature{i}" for i in range(4)] if work.outputs == "features" else [work.outputs])
    outputs = []
    for i in range(len(PHOTOS)):
        call(BUILD / "tensor", model_of(entrant, folder), folder / f"picture{i}.npy",
             folder / entrant.name)
        outputs.append([np.load(folder / f"{entrant.name}.{name}.npy") for name in names])
    return outputs


def compare(entrant, process, work, folder):
    """How far the outputs are from PyTorch's in float32: `difference` is the largest one, or the
    share of pixels that are of another class; `loss` see loss_of."""
    expected = [arrays_of(folder / f"expected{i}.npz") for i in range(len(PHOTOS))]
    expected = [array for arrays in expected for array in arrays]
    found = [array for arrays in outputs_of(entrant, process, work, folder) for array in arrays]
    if [f.size for f in found] != [e.size for e in expected]:
        raise Failed("its outputs have other shapes")
    pairs = [(f.reshape(e.shape), e) for f, e in zip(found, expected)]
    if work.outputs == "classes":
        worst, limit = max(float((f != e).mean()) for f, e in pairs), MOST_PIXELS
    else:
        worst = max(float(np.abs(f - e).max() / np.abs(e).max()) for f, e in pairs)
        limit = OWN_DIFFERENCE[work.outputs] if entrant.engine == SWIN else PEERS_DIFFERENCE
    if entrant.numbers == F32 and not worst <= limit:
        raise Failed(f"its outputs disagree: {worst:.1e}")
    loss = loss_of(pairs, work)
    if not loss <= MOST_LOST:
        raise Failed(f"its outputs have nothing to do with PyTorch's: {loss:.1e}")
    return dict(difference=worst, loss=loss, loss_in=report.PIXELS if gives_pixels(work)
                else report.ERROR)


def gives_pixels(work):
    return work.outputs in ("classes", "logits")


def loss_of(pairs, work):
    """The share of pixels that are of another class; where there are none, the root mean square of
    the differences as a share of the outputs' own. `pairs`: outputs and those in float32."""
    if work.outputs == "logits":
        pairs = [(f.argmax(1), e.argmax(1)) for f, e in pairs]
    if gives_pixels(work):
        return statistics.mean(float((f != e).mean()) for f, e in pairs)
    squares = [(float(((f - e) ** 2).mean(dtype="f8")), float((e ** 2).mean(dtype="f8")))
               for f, e in pairs]
    return statistics.mean(lost / all_ for lost, all_ in squares) ** 0.5


def machine_peak(cpu, threads):
    """GFLOP/s of an instruction set; None for those without a known peak."""
    lines = call(BUILD / "bench", "--peak", "--threads", threads).splitlines()
    return {name: float(rate) for name, rate in map(str.split, lines)}.get(cpu)


def measure(name, entrants, threads, runs):
    """Rows of results: one for each entrant, the first of them swin.h in float32."""
    work, folder = WORKS[name], prepare(name)
    rows, processes, peaks = {}, {}, []

    def attempt(entrant, step):
        """A step of one entrant; one that fails is out, and its row says why."""
        try:
            step(entrant, rows[entrant])
        except Failed as reason:
            rows[entrant]["failed"] = str(reason)
            if entrant in processes:
                processes.pop(entrant).end()
            print(f"  {entrant.name}: {reason}", flush=True)

    def begin(entrant, row):
        make_ready(entrant, folder)
        process = processes[entrant] = start(entrant, work, folder, threads)
        row.update(process.facts, first_seconds=process.first_seconds, times=[],
                   **compare(entrant, process, work, folder))
        process.sleep()

    def turn(entrant, row):
        row["times"].append(processes[entrant].turn())

    try:
        for entrant in entrants:
            rows[entrant] = dict(work=name, engine=entrant.engine, numbers=entrant.numbers,
                                 threads=threads)
            attempt(entrant, begin)
        for _ in range(runs):
            peaks.append(machine_peak(rows[entrants[0]].get("cpu"), threads))
            for entrant in list(processes):
                attempt(entrant, turn)
        for entrant, process in processes.items():
            rows[entrant].update(ms=statistics.median(rows[entrant]["times"]),
                                 peak_bytes=process.peak_bytes())
        if all(peaks):
            rows[entrants[0]]["machine_gflops"] = statistics.median(peaks)
    finally:
        for process in processes.values():
            process.end()
    return list(rows.values())


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def arguments():
    def words(allowed):
        def read(text):
            unknown = set(text.split(",")) - set(allowed)
            if unknown:
                raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}: {', '.join(allowed)}")
            return text.split(",")
        return read

    def counts(text):
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="Swin-T + UPerNet and ONNX Runtime alone, in f32, 3 runs")
    parser.add_argument("--models", type=words(WORKS), help=f"of {', '.join(WORKS)}")
    parser.add_argument("--peers", type=words(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--numbers", type=words(NUMBERS),
                        help=f"of {', '.join(NUMBERS)}; swin.h in {F32} always runs")
    parser.add_argument("--threads", type=counts, metavar="N,N",
                        default=[1, 2] if (os.cpu_count() or 1) > 1 else [1])
    parser.add_argument("--runs", type=int)
    chosen = parser.parse_args()
    chosen.models = chosen.models or (["uper"] if chosen.quick else list(WORKS))
    chosen.peers = chosen.peers or (["onnxruntime"] if chosen.quick else PEERS)
    chosen.numbers = chosen.numbers or ([F32] if chosen.quick else NUMBERS)
    chosen.runs = chosen.runs or (3 if chosen.quick else 7)
    return chosen


def entrants_of(chosen):
    """swin.h in float32, then all that compute with the chosen numbers."""
    all_ = [Entrant(engine, numbers) for engine in [SWIN] + chosen.peers
            for numbers in ENGINES[engine] if numbers in chosen.numbers]
    return list(dict.fromkeys([Entrant(SWIN)] + all_))


def main():
    chosen = arguments()
    rows = []
    for name in chosen.models:
        for threads in chosen.threads:
            print(f"{WORKS[name].title}, {threads} threads", flush=True)
            measured = measure(name, entrants_of(chosen), threads, chosen.runs)
            for row in measured:
                if "ms" in row:
                    print(f"  {report.label(row):18}{row['ms']:10.1f} ms, "
                          f"{report.loss(row)} lost", flush=True)
            rows += measured
            facts = dict(processor=processor(), runs=chosen.runs, rows=rows)
            (FOLDER / "results.json").write_text(json.dumps(facts, indent=1))
            titles = {key: work.title for key, work in WORKS.items()}
            (FOLDER / "table.md").write_text(report.table(facts, titles))
            (FOLDER / "plot.svg").write_text(report.plot(facts, titles))
    print(f"\n{(FOLDER / 'table.md').read_text()}\nThe plot is {FOLDER / 'plot.svg'}")


if __name__ == "__main__":
    main()
