"""What a call of Model.segment costs beside the library's own work.

    overhead.py MODEL.swin [WIDTHxHEIGHT]

Prints the median of the whole call, of the library's calls within it, and of their difference.
"""

import statistics
import sys
import time

import numpy as np
import swinh
from swinh._contexts import Context

CALLS = 200


def main():
    model = swinh.Model(sys.argv[1])
    width, height = map(int, (sys.argv[2] if len(sys.argv) > 2 else "480x360").split("x"))
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    run, inside, whole = Context.run, [], []

    def timed(*arguments):
        start = time.perf_counter()
        run(*arguments)
        inside.append(time.perf_counter() - start)

    Context.run = timed
    for _ in range(CALLS):
        start = time.perf_counter()
        result = model.segment(picture)         # noqa: F841: it lives into the next turn
        whole.append(time.perf_counter() - start)
    beside = [a - b for a, b in zip(whole, inside)]
    for name, seconds in (("call", whole), ("library", inside), ("beside it", beside)):
        print(f"{name:10}{1e3 * statistics.median(seconds):9.3f} ms")


if __name__ == "__main__":
    main()
