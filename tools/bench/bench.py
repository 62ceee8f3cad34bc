#!/usr/bin/env python3
"""Measures swin.h beside other engines: the same models, the same machine, in turns.

    bench.py [--quick] [--models uper,glam,...] [--peers onnxruntime,...] [--threads 1,2] [--runs N]

Every engine is a process of its own. It first runs a work once, which gives the time from the
start of the process to the first result, and its outputs are compared with PyTorch's: who
disagrees is not timed. Then all run in turns, A B C A B C ...; the others sleep meanwhile, and
medians count. Writes results.json, table.md and plot.svg to build/benchmark.
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

import numpy as np

import report
from works import ROOT, WORKS

BUILD = ROOT / os.environ.get("BUILD", "build")
FOLDER = BUILD / "benchmark"
TOOLS = ROOT / "tools"
SWIN = "swin"
PEERS = ["onnxruntime", "openvino", "torch", "torch-compile", "mnn", "ncnn"]
# Differences from PyTorch that still are rounding: of floats, as a share of the largest value.
# MNN's Winograd convolutions come to 2e-3 on random weights; that is reported, and no other model.
OWN_DIFFERENCE = {"logits": 5e-5, "features": 1e-4, "scores": 3e-4}
PEERS_DIFFERENCE = 1e-2
TURN_MS, TURN_RUNS = 500, 10    # short works run several times a turn
MOST_PIXELS = 1e-3              # share of a class map that near ties may turn


class Failed(Exception):
    pass


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
    folder, description = FOLDER / name, repr(WORKS[name])
    made = folder / "work.txt"
    if not made.exists() or made.read_text() != description:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        call(sys.executable, TOOLS / "bench" / "works.py", name, folder)
        call(sys.executable, TOOLS / "convert.py", folder / "model.pth",
             "-o", folder / "model.swin")
        made.write_text(description)
    return folder


def start(engine, work, folder, threads):
    if engine != SWIN:
        return Engine([sys.executable, TOOLS / "bench" / "peers.py", engine, folder, str(threads)])
    command = [BUILD / "bench", folder / "model.swin", folder / "picture.npy", "--serve",
               "--threads", str(threads), "--outputs", work.outputs]
    return Engine(command + (["--from", work.start] if work.start else []))


def outputs_of(engine, process, work, folder):
    if engine != SWIN:
        process.ask("save")
        with np.load(folder / f"{engine}.npz") as arrays:
            return [arrays[name] for name in arrays.files]
    call(BUILD / "tensor", folder / "model.swin", folder / "picture.npy", folder / "swin")
    names = ([f"feature{i}" for i in range(4)] if work.outputs == "features" else [work.outputs])
    return [np.load(folder / f"swin.{name}.npy") for name in names]


def difference(engine, process, work, folder):
    """From PyTorch's outputs: the largest one, or the share of pixels that are of another class."""
    with np.load(folder / "expected.npz") as arrays:
        expected = [arrays[name] for name in arrays.files]
    found = outputs_of(engine, process, work, folder)
    if [f.size for f in found] != [e.size for e in expected]:
        raise Failed("its outputs have other shapes")
    pairs = [(f.reshape(e.shape), e) for f, e in zip(found, expected)]
    if work.outputs == "classes":
        worst, limit = max(float((f != e).mean()) for f, e in pairs), MOST_PIXELS
    else:
        worst = max(float(np.abs(f - e).max() / np.abs(e).max()) for f, e in pairs)
        limit = OWN_DIFFERENCE[work.outputs] if engine == SWIN else PEERS_DIFFERENCE
    if not worst <= limit:
        raise Failed(f"its outputs disagree: {worst:.1e}")
    return worst


def machine_peak(cpu, threads):
    """GFLOP/s of an instruction set; None for those without a known peak."""
    lines = call(BUILD / "bench", "--peak", "--threads", threads).splitlines()
    return {name: float(rate) for name, rate in map(str.split, lines)}.get(cpu)


def measure(name, engines, threads, runs):
    """Rows of results: one for each engine."""
    work, folder = WORKS[name], prepare(name)
    rows, processes, peaks = {}, {}, []

    def attempt(engine, step):
        """A step of one engine; one that fails is out, and its row says why."""
        try:
            step(engine, rows[engine])
        except Failed as reason:
            rows[engine]["failed"] = str(reason)
            if engine in processes:
                processes.pop(engine).end()
            print(f"  {engine}: {reason}", flush=True)

    def begin(engine, row):
        process = processes[engine] = start(engine, work, folder, threads)
        row.update(process.facts, first_seconds=process.first_seconds, times=[],
                   difference=difference(engine, process, work, folder))
        process.sleep()

    def turn(engine, row):
        row["times"].append(processes[engine].turn())

    try:
        for engine in engines:
            rows[engine] = dict(work=name, engine=engine, threads=threads)
            attempt(engine, begin)
        for _ in range(runs):
            peaks.append(machine_peak(rows[SWIN].get("cpu"), threads))
            for engine in list(processes):
                attempt(engine, turn)
        for engine, process in processes.items():
            rows[engine].update(ms=statistics.median(rows[engine]["times"]),
                                peak_bytes=process.peak_bytes())
        if all(peaks):
            rows[SWIN]["machine_gflops"] = statistics.median(peaks)
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

    def numbers(text):
        return [int(n) for n in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="Swin-T + UPerNet and ONNX Runtime alone, 3 runs")
    parser.add_argument("--models", type=words(WORKS), help=f"of {', '.join(WORKS)}")
    parser.add_argument("--peers", type=words(PEERS), help=f"of {', '.join(PEERS)}")
    parser.add_argument("--threads", type=numbers, metavar="N,N",
                        default=[1, 2] if (os.cpu_count() or 1) > 1 else [1])
    parser.add_argument("--runs", type=int)
    chosen = parser.parse_args()
    chosen.models = chosen.models or (["uper"] if chosen.quick else list(WORKS))
    chosen.peers = chosen.peers or (["onnxruntime"] if chosen.quick else PEERS)
    chosen.runs = chosen.runs or (3 if chosen.quick else 7)
    return chosen


def main():
    chosen = arguments()
    rows = []
    for name in chosen.models:
        for threads in chosen.threads:
            print(f"{WORKS[name].title}, {threads} threads", flush=True)
            measured = measure(name, [SWIN] + chosen.peers, threads, chosen.runs)
            for row in measured:
                if "ms" in row:
                    print(f"  {row['engine']:14}{row['ms']:10.1f} ms", flush=True)
            rows += measured
            facts = dict(processor=processor(), runs=chosen.runs, rows=rows)
            (FOLDER / "results.json").write_text(json.dumps(facts, indent=1))
            titles = {key: work.title for key, work in WORKS.items()}
            (FOLDER / "table.md").write_text(report.table(facts, titles))
            (FOLDER / "plot.svg").write_text(report.plot(facts, titles))
    print(f"\n{(FOLDER / 'table.md').read_text()}\nThe plot is {FOLDER / 'plot.svg'}")


if __name__ == "__main__":
    main()
