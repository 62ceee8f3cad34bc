#!/usr/bin/env python3
"""Frames a second of swinsegment, with an overlay and with ids, and of build/stream, which writes
its lines of JSON, over the same NV12 clip from the same file. They run in turns; medians count.

Needs build/stream (make), build/gst (make gst) and gst-launch-1.0.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build")


def write_clip(path, width, height, frames):
    """Gradients that move: what a frame shows does not change how long it takes."""
    rows = height + (height + 1) // 2
    ramp = bytes(16 + x * 7 // 5 % 220 for x in range(2 * width))
    with open(path, "wb") as clip:
        for frame in range(frames):
            clip.write(b"".join(ramp[(y + frame) % width:][:width] for y in range(rows)))


def rate_of_stream(clip, given):
    with open(clip, "rb") as frames:
        r = subprocess.run([BUILD / "stream", "-m", given.model, "--threads", str(given.threads),
                            "--frame-size", f"{given.width}x{given.height}", "--format", "nv12",
                            "--all", "--json", os.devnull], stdin=frames, capture_output=True,
                           text=True, check=True)
    return float(re.search(r"frames in .* s, ([\d.]+) a second", r.stderr)[1])


def rate_of_element(clip, given, output):
    line = (f"filesrc location={clip} ! rawvideoparse format=nv12 width={given.width} "
            f"height={given.height} ! swinsegment model={given.model} threads={given.threads} "
            f"output={output} ! fakesink")
    r = subprocess.run(["gst-launch-1.0", *line.split()], capture_output=True, text=True,
                       check=True, env=os.environ | {"GST_PLUGIN_PATH": str(BUILD / "gst")})
    hours, minutes, seconds = re.search(r"ended after (\d+):(\d+):([\d.]+)", r.stdout).groups()
    return given.frames / (3600 * int(hours) + 60 * int(minutes) + float(seconds))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", type=pathlib.Path, default=ROOT / "weights/street.swin")
    options.add_argument("--width", type=int, default=480)
    options.add_argument("--height", type=int, default=360)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--frames", type=int, default=200)
    options.add_argument("--turns", type=int, default=5)
    given = options.parse_args()
    if given.width % 4 or given.height % 2:
        sys.exit("gst.py: GStreamer pads rows to four bytes: give a width that four divides and "
                 "an even height")
    rates = {"stream": [], "overlay": [], "ids": []}
    with tempfile.TemporaryDirectory() as folder:
        clip = pathlib.Path(folder) / "clip.nv12"
        write_clip(clip, given.width, given.height, given.frames)
        for _ in range(given.turns):
            rates["stream"].append(rate_of_stream(clip, given))
            for output in ("overlay", "ids"):
                rates[output].append(rate_of_element(clip, given, output))
    base = statistics.median(rates["stream"])
    for name, values in rates.items():
        middle = statistics.median(values)
        print(f"{name:8} {middle:6.1f} frames/s  {100 * middle / base:5.1f} % of stream  "
              f"({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
