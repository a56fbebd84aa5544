"""The entries of the processes that measure: one client or one loader, once."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from bench.peers.tasks import GetTask, LoadTask
from bench.process_tree import MemoryPeak, cpu_seconds

__all__ = ["run_client", "run_loader"]

Figures = dict[str, Any]

# The middle of an epoch, where neither the start nor the last answers show.
_STEADY = (0.25, 0.9)
_REASON_CHARS = 200
_ERROR_LINE = re.compile(r"^[\w.]+: .+$", re.MULTILINE)


def run_client(peer: str, task: dict[str, Any]) -> Figures:
    """CPU time per GET of this process, all threads and the kernel's part included."""

    def measure() -> Figures:
        get = _find(peer)
        todo = GetTask(**task)
        cost = get(todo)
        return {"cpu_us": cost.cpu_s / todo.gets * 1e6, "rate": todo.gets / cost.wall_s}

    return _shown(measure)


def run_loader(peer: str, task: dict[str, Any]) -> Figures:
    """One epoch of a loader; see `time_epoch`."""
    return _shown(lambda: time_epoch(_find(peer), LoadTask(**task)))


def time_epoch(load: Callable[[LoadTask], Iterable[Any]], task: LoadTask) -> Figures:
    """Figures of an epoch: rates, CPU time, first batch, memory.

    ``rate`` and ``cpu_s`` (per 1,000 images) are those from a quarter of the epoch to nine tenths of it, in which
    nothing starts and nothing runs dry: what was made ahead of the first batch would count for nothing otherwise, and
    the start of workers would be spread over a short epoch. ``epoch_rate`` counts everything, from nothing to the last
    batch.
    """
    marks = [_Mark(round(task.images * share)) for share in _STEADY]
    count, first_s, shape = 0, 0.0, ()
    with MemoryPeak() as memory:
        started_s = time.perf_counter()
        for batch in load(task):
            if not count:
                first_s, shape = time.perf_counter() - started_s, tuple(batch[0].shape)
            count += len(batch)
            for mark in marks:
                mark.pass_by(count)
            if count >= task.images:
                ended_s = time.perf_counter()
                # Here, before its workers leave.
                memory.sample()
    if count != task.images or len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"{count} images of shape {shape} in place of {task.images}")
    low, high = marks
    images = high.count - low.count
    return {
        "rate": images / (high.wall_s - low.wall_s),
        "epoch_rate": task.images / (ended_s - started_s),
        "cpu_s": (high.cpu_s - low.cpu_s) / images * 1000,
        "first_s": first_s,
        "grown_bytes": memory.grown_bytes,
        "processes": memory.processes,
    }


class _Mark:
    """Looks at the clocks when so many images have come."""

    def __init__(self, at: int) -> None:
        self._at = at
        self.count = 0
        self.wall_s = self.cpu_s = 0.0

    def pass_by(self, count: int) -> None:
        if not self.count and count >= self._at:
            self.count, self.wall_s, self.cpu_s = count, time.perf_counter(), cpu_seconds()


def _find(peer: str) -> Any:
    module, _, function = peer.partition(":")
    return getattr(import_module(f"bench.peers.{module}"), function)


def _shown(measure: Callable[[], Figures]) -> Figures:
    """The figures; or, whatever a foreign client does, the reason why there are none."""
    try:
        return measure()
    except BaseException as error:  # noqa: BLE001 - a Rust panic is a BaseException, and one that fails is a result
        traceback.print_exc()
        return {"failed": _reason(error)}


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error).strip()
    if text.startswith("Caught "):
        # torch: the traceback of a worker follows. What it ended with stands at the left margin, the cause first.
        own = _ERROR_LINE.search(text)
        return own[0][:_REASON_CHARS] if own else text
    first, *_ = text.splitlines() or [""]
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:_REASON_CHARS]
