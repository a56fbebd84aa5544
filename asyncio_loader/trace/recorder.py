"""Collects what happens in one process, until somebody writes it down."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import NamedTuple

from asyncio_loader.stats import Counters
from asyncio_loader.trace.events import Events, args_text
from asyncio_loader.trace.objects import Item, ObjectTracks

__all__ = ["Recorder"]

# Where the disk does not keep up. Some 50 MB of records.
_MOST_PENDING = 50_000

# A shorter wait of a thread tells nothing, and there is one per sample.
_LEAST_WAIT_S = 100e-6


class _Span(NamedTuple):
    category: str
    name: str
    tid: int
    start_s: float
    end_s: float
    args: dict[str, object]

    def lines(self, events: Events) -> list[str]:
        args = args_text(self.args)
        return [events.span(self.category, self.name, self.tid, self.start_s, self.end_s, args)]


class _Instant(NamedTuple):
    name: str
    tid: int
    at_s: float
    args: dict[str, object]

    def lines(self, events: Events) -> list[str]:
        return [events.instant("engine", self.name, self.tid, self.at_s, args_text(self.args))]


class Recorder:
    """What happens in the threads of one session; lines of JSON are made of it when they are drained.

    Recording is for any thread, and costs a microsecond or two; draining for one at a time. What is not drained in time
    is dropped, and counted.

    Attributes:
        is_on: whether it records anything.
    """

    def __init__(self, *, label: str = "", worker: int | None = None) -> None:
        """Args: label: see `TraceFile`. worker: number of the DataLoader's worker; None: it is none."""
        name = " ".join(filter(None, ["asyncio_loader", label, "" if worker is None else f"worker {worker}"]))
        self.is_on = True
        self._prefix = f"{label}: " if label else ""
        self._events = Events(os.getpid())
        self._pending: deque[Item] = deque()
        self._dropped = 0
        self._threads: dict[int, str] = {}
        self._fresh: list[str] = [self._events.name_of_process(name)]
        self._figures: dict[str, float] = {}

    def objects(self) -> ObjectTracks:
        """Tracks for a sequence of objects."""
        return ObjectTracks(self)

    def add(self, item: Item) -> None:
        """Record something."""
        if not self.is_on:
            return
        if len(self._pending) >= _MOST_PENDING:
            self._dropped += 1
            return
        self._pending.append(item)

    def span(self, name: str, start_s: float, **args: object) -> None:
        """This thread has done something since `start_s`, by `time.perf_counter`."""
        self.add(_Span("thread", name, self._tid(), start_s, time.perf_counter(), args))

    def wait(self, name: str, start_s: float, **args: object) -> None:
        """This thread has waited for something since then; short waits are left out."""
        end_s = time.perf_counter()
        if end_s - start_s >= _LEAST_WAIT_S:
            self.add(_Span("wait", name, self._tid(), start_s, end_s, args))

    def instant(self, name: str, **args: object) -> None:
        """Something has happened now, as this thread sees it."""
        self.add(_Instant(name, self._tid(), time.perf_counter(), args))

    def drain(self, counters: Counters) -> list[str]:
        """The lines of what was recorded since the last time, and of the figures that have changed."""
        lines, self._fresh = self._fresh, []
        now_s = time.perf_counter()
        lines += self._sample(counters, now_s)
        # No more than there are now: others go on recording.
        for _ in range(len(self._pending)):
            lines += self._pending.popleft().lines(self._events)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            args = args_text({"records": dropped})
            lines.append(self._events.instant("trace", "records dropped", self._events.pid, now_s, args))
        # Behind those that were recorded meanwhile.
        return lines + [self._fresh.pop() for _ in range(len(self._fresh))]

    def stop(self) -> None:
        """Record nothing any more, and forget what is not drained."""
        self.is_on = False
        self._pending.clear()

    def _tid(self) -> int:
        tid = threading.get_native_id()
        if tid not in self._threads:
            name = self._threads[tid] = threading.current_thread().name
            self._fresh.append(self._events.name_of_thread(tid, f"{self._prefix}{name}"))
        return tid

    def _sample(self, counters: Counters, now_s: float) -> list[str]:
        pace = counters.pace
        figures = {
            ("objects in flight", "objects"): counters.in_flight,
            ("window", "bytes"): counters.held_bytes,
            ("level", "GETs"): counters.level,
            ("pace", "GETs/s"): pace,
        }
        lines = []
        for (name, unit), value in figures.items():
            # A pace of 0 is none: most runs never have one.
            if self._figures.get(name, 0 if name == "pace" else None) != value:
                self._figures[name] = value
                lines.append(self._events.counter(f"{self._prefix}{name}", unit, now_s, value))
        return lines
