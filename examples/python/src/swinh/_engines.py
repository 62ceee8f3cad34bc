"""Where `swinh map` works: in threads of this process, or on a Ray cluster.

Each engine takes tasks from an iterator as it has room for them, so that no queue grows with the
number of pictures, and yields an Outcome for each, in the order in which they are done.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
from typing import Any, Callable, Dict, Iterable, Iterator, List

import numpy as np

from ._model import Model
from ._writing import Job, Outcome, Task, in_batches, process

AHEAD = 2       # batches a worker has before it, so that it never waits for the next one
BATCH = 8       # pictures that Ray moves at a time: seconds of work, which a lost worker repeats


def run_locally(model: Model, job: Job, tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """Threads over one model: swin.h and the decoders of pictures let each other run."""
    tasks = iter(tasks)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        going = set()
        try:
            while True:
                for task in tasks:
                    going.add(pool.submit(process, model, job, task))
                    if len(going) >= AHEAD * workers:
                        break
                if not going:
                    return
                done, going = concurrent.futures.wait(
                    going, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in going:
                future.cancel()


MODELS: Dict[str, Model] = {}      # the one that this worker process has used last


def model_of_worker(key: str, reference: Any) -> Model:
    import ray

    if key not in MODELS:
        MODELS.clear()
        MODELS[key] = Model(ray.get(reference))
    return MODELS[key]


def process_batch(key: str, reference: List[Any], job: Job, batch: List[Task]) -> List[Outcome]:
    """Runs in a worker of Ray. The model's bytes lie in Ray's store, once a machine, and are used
    where they lie; a list around the reference keeps Ray from fetching them for each task."""
    model = model_of_worker(key, reference[0])
    return [process(model, job, task) for task in batch]


def run_on_ray(blob: np.ndarray, job: Job, tasks: Iterable[Task], workers: int,
               address: str) -> Iterator[Outcome]:
    """Batches as Ray's tasks, which Ray runs again where a worker or a machine is lost.

    workers: how many run at once, one processor each; 0: as many as the cluster has.
    address: as ray.init has it; "local" starts a cluster of this machine alone.
    A result that was written twice was written over by the same bytes.
    Raises ImportError where there is no Ray, ConnectionError where there is no cluster.
    """
    import ray

    join(ray, address, workers)
    try:
        workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        reference = ray.put(blob)
        remote = ray.remote(num_cpus=1, max_retries=-1)(process_batch)
        start = functools.partial(remote.remote, reference.hex(), [reference], job)
        yield from gather(ray, start, in_batches(tasks, BATCH), AHEAD * workers)
    finally:
        ray.shutdown()


def join(ray: Any, address: str, workers: int) -> None:
    """Connects to a cluster, or starts one; raises ConnectionError with a sentence."""
    local = {"num_cpus": workers or None, "include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR",
                 **(local if address == "local" else {}))
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()
        raise ConnectionError(f"{address}: {why[0] if why else type(error).__name__}") from error


def gather(ray: Any, start: Callable[[List[Task]], Any], batches: Iterator[List[Task]],
           most: int) -> Iterator[Outcome]:
    going: "collections.OrderedDict[Any, List[Task]]" = collections.OrderedDict()
    while True:
        while len(going) < most:
            batch = next(batches, None)
            if batch is None:
                break
            going[start(batch)] = batch
        if not going:
            return
        ready, _ = ray.wait(list(going), num_returns=1)
        yield from outcomes(ray, ready[0], going.pop(ready[0]))


def outcomes(ray: Any, reference: Any, batch: List[Task]) -> List[Outcome]:
    """A batch's outcomes; where Ray could not run it at all, that is what became of each."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        return [Outcome(task.picture, f"{task.picture}: {why}") for task in batch]

