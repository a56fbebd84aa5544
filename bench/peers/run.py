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

    ``rate`` and ``cpu_s`` (per 1,000 images) are those from the first batch to the last, so that the start of workers,
    which ``first_s`` shows, is not spread over a short epoch. ``steady_rate`` is that from a quarter of the epoch to
    nine tenths of it, in which nothing starts and nothing runs dry.
    """
    ends_s: list[float] = []
    counts: list[int] = []
    with MemoryPeak() as memory:
        started_s = time.perf_counter()
        for batch in load(task):
            ends_s.append(time.perf_counter())
            counts.append(len(batch))
            if len(ends_s) == 1:
                shape, first_cpu_s = tuple(batch[0].shape), cpu_seconds()
            if sum(counts) >= task.images:
                # Here, before its workers leave.
                cpu_s = cpu_seconds() - first_cpu_s
                memory.sample()
    if sum(counts) != task.images or len(counts) < 3 or len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"{sum(counts)} images of shape {shape} in {len(counts)} batches in place of {task.images}")
    images = task.images - counts[0]
    low, high = (round(share * (len(counts) - 1)) for share in _STEADY)
    return {
        "rate": images / (ends_s[-1] - ends_s[0]),
        "steady_rate": sum(counts[low + 1 : high + 1]) / (ends_s[high] - ends_s[low]),
        "cpu_s": cpu_s / images * 1000,
        "first_s": ends_s[0] - started_s,
        "grown_bytes": memory.grown_bytes,
        "processes": memory.processes,
    }


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
