"""A model's contexts: who runs on them, and whose results still lie in their memory."""

from __future__ import annotations

import collections
import os
import threading
import weakref
from typing import Any, Callable, Deque, Hashable, List, Optional

import numpy as np

from ._core import ffi, lib

VIEWS = 4       # results a running thread may keep as views before new ones are copies
UNITS = 256     # of work between two looks for Ctrl-C: a unit takes about a millisecond


class Context:
    """A swin_context with the memory and the threads it needs."""

    def __init__(self, key: Hashable, model: Any, desc: Any, threads: int,
                 check: Callable[[int, str], None]):
        self.key = key
        self.model = model              # the swin_model and its blob outlive the context
        self.units = UNITS * threads
        self.workers = Workers(threads) if threads > 1 else None
        if self.workers:
            lib.workers_serve(self.workers.pool, desc)
        error = ffi.new("swin_error *")
        size = lib.swin_workspace_size(model, desc, error)
        check(error.status if not size else lib.SWIN_OK, text_of(error))
        self.memory = np.empty(size, np.uint8)
        self.interface = self.memory.__array_interface__        # made anew by each look at it
        place = ffi.new("swin_context **")
        check(lib.swin_init(place, model, desc, ffi.from_buffer(self.memory), size, error),
              text_of(error))
        self.pointer = place[0]

    def run(self, image: Any, check: Callable[[int, str], None]) -> None:
        """Runs the network; other threads of Python go on, and Ctrl-C ends it."""
        status = lib.swin_begin(self.pointer, image)
        while status in (lib.SWIN_OK, lib.SWIN_MORE):
            status = lib.swin_step(self.pointer, self.units)
            if status == lib.SWIN_OK:
                return
        check(status, ffi.string(lib.swin_error_text(self.pointer)).decode())


class Workers:
    """Threads of the library's own; they stay behind in the parent when a process forks."""

    def __init__(self, threads: int):
        self.pool = lib.workers_new(threads)
        if self.pool == ffi.NULL:
            raise MemoryError(f"no memory for {threads} threads")
        weakref.finalize(self, stop, self.pool, os.getpid()).atexit = False


def stop(pool: Any, process: int) -> None:
    if os.getpid() == process:
        lib.workers_free(pool)


def text_of(error: Any) -> str:
    return ffi.string(error.text).decode(errors="replace")


class Lease:
    """What a result's arrays hold: while it lives, no other run writes into its context."""

    def __init__(self, context: Context, returned: Deque[Context]):
        self.context = context
        self.returned = returned
        self.__array_interface__ = context.interface

    def __del__(self) -> None:
        # Garbage is collected at any moment, with a lock held too: no lock is taken here.
        self.returned.append(self.context)


class Contexts:
    """Lends contexts. Idle ones are kept for as many runs as have been going on at once, and one
    more, as the result of a loop's last turn still lives in the next one."""

    def __init__(self) -> None:
        self.reset()
        everyone.add(self)

    def reset(self) -> None:
        """Forgets all contexts, as after a fork: their threads and locks are the parent's."""
        self.lock = threading.Lock()
        self.idle: List[Context] = []           # the latest used is the last
        self.returned: Deque[Context] = collections.deque()
        self.running = self.most_running = self.held = 0

    def take(self, key: Hashable, make: Callable[[], Context]) -> Context:
        """A context for `key` that nobody else uses; give it back by release or lease."""
        with self.lock:
            self.collect()
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            found = next((c for c in reversed(self.idle) if c.key == key), None)
            if found:
                self.idle.remove(found)
                return found
            dropped = self.trim(self.most_running)      # makes room before more is taken
        del dropped
        try:
            return make()
        except BaseException:
            with self.lock:
                self.running -= 1
            raise

    def collect(self) -> None:
        """Takes back what results that are gone have returned."""
        while self.returned:
            self.idle.append(self.returned.popleft())
            self.held -= 1

    def trim(self, count: int) -> List[Context]:
        """The idle contexts beyond the latest `count`, to be let go without the lock."""
        dropped = self.idle[:-count or None]
        del self.idle[:len(dropped)]
        return dropped

    def release(self, context: Context) -> None:
        """Ends a run whose results nobody looks at any more."""
        with self.lock:
            self.running -= 1
            self.idle.append(context)
            dropped = self.trim(self.most_running + 1)
        del dropped

    def lease(self, context: Context) -> Optional[Lease]:
        """Ends a run; None where so many results live that this one had better be copied."""
        with self.lock:
            if self.held >= VIEWS * self.most_running:
                return None
            self.running -= 1
            self.held += 1
            return Lease(context, self.returned)


everyone: "weakref.WeakSet[Contexts]" = weakref.WeakSet()


def after_fork() -> None:
    for contexts in list(everyone):
        contexts.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork)
