#!/usr/bin/env python3
"""Measures the page's module beside ONNX Runtime Web: the same model in the same Chromium.

    web.py [--runs N] [--threads N]

Both are in a worker of their own and take turns, A B A B ...; medians count, and what comes before
the engines have optimised their code does not. swinh gets RGBA pixels, ONNX Runtime floats that are
normalised already. The model is that of works.py's `street`: the shipped one's layers, random
weights. Both class maps are compared with build/segment's.
"""

import argparse
import shutil
import statistics
import sys
import threading

import numpy as np
from PIL import Image
from selenium import webdriver

from bench import BUILD, TOOLS, Failed, call
from works import ROOT

sys.path.insert(0, str(ROOT / "examples" / "web"))
import serve    # noqa: E402

FOLDER = BUILD / "benchmark" / "page"
PACKAGE = "onnxruntime-web@1.30.0"
PHOTO = ROOT / "examples" / "photos" / "lund_parked_cars.jpg"
SIZE = 480, 360
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
WARM = 8        # runs that do not count


def written(numbers):
    return ",".join(map(str, numbers))


def prepare():
    """FOLDER with the page's files, both models, and the picture as each engine wants it."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(BUILD / "web", FOLDER)
    shutil.copy(TOOLS / "bench" / "web.js", FOLDER)
    (FOLDER / "bench.html").write_text("<!DOCTYPE html><title>Benchmark</title>")
    work = FOLDER / "street"
    work.mkdir()
    call(sys.executable, TOOLS / "bench" / "works.py", "street", work)
    call(sys.executable, TOOLS / "convert.py", work / "model.pth", "-o", FOLDER / "model.swin",
         "--mean", written(MEAN), "--std", written(STD))
    shutil.copy(work / "work.onnx", FOLDER)
    picture = Image.open(PHOTO).convert("RGB").resize(SIZE)
    picture.save(FOLDER / "picture.png")
    (FOLDER / "picture.rgba").write_bytes(picture.convert("RGBA").tobytes())
    floats = (np.asarray(picture, np.float32) - np.float32(MEAN)) / np.float32(STD)
    (FOLDER / "picture.floats").write_bytes(floats.transpose(2, 0, 1).astype(np.float32).tobytes())
    call("npm", "install", "--no-audit", "--no-fund", "--prefix", FOLDER / "npm", PACKAGE)
    shutil.copytree(FOLDER / "npm" / "node_modules" / "onnxruntime-web" / "dist", FOLDER / "ort")


def native_classes():
    ids = FOLDER / "ids.png"
    call(BUILD / "segment", "-m", FOLDER / "model.swin", "--ids", "-o", ids, FOLDER / "picture.png")
    return np.asarray(Image.open(ids)).ravel()


def chromium():
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(1800)
    return driver


ASK = """
    const [engine, message, done] = arguments;
    const workers = window.workers ??= {};
    const worker = workers[engine] ??= new Worker('web.js', { type: 'module' });
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = event => done({ error: event.message });
    worker.postMessage({ engine, ...message });"""


def ask(driver, engine, **message):
    answer = driver.execute_async_script(ASK, engine, message)
    if "error" in answer:
        raise Failed(f"{engine}: {answer['error']}")
    return answer


def measure(driver, runs, threads):
    """Milliseconds of each run and classes, of each engine."""
    times, classes = {"swinh": [], "onnxruntime-web": []}, {}
    for engine in times:
        ask(driver, engine, load=True, threads=threads, width=SIZE[0], height=SIZE[1])
        classes[engine] = np.array(ask(driver, engine, run=True, classes=True)["classes"])
    for turn in range(WARM + runs):
        for engine in times:
            ms = ask(driver, engine, run=True)["ms"]
            if turn >= WARM:
                times[engine].append(ms)
    return times, classes


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    prepare()
    native = native_classes()
    server = serve.server_of(FOLDER)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    driver = chromium()
    try:
        driver.get(f"http://127.0.0.1:{server.server_port}/bench.html")
        times, classes = measure(driver, given.runs, given.threads)
        print(driver.capabilities["browserName"], driver.capabilities["browserVersion"], PACKAGE)
    finally:
        driver.quit()
    for engine, ms in times.items():
        print(f"{engine}: {statistics.median(ms):.1f} ms, fastest {min(ms):.1f}; of another class "
              f"than build/segment's: {100 * (classes[engine] != native).mean():.3f} % of pixels")


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(str(why))
