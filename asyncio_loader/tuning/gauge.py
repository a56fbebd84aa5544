"""Running figures of the processes that load, and what lies between two readings of them."""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from asyncio_loader.stats import Counters
from asyncio_loader.tuning.measurement import Measurement, percentile
from asyncio_loader.tuning.timed_store import TimedStore

__all__ = ["BusyTime", "Gauge", "Reading", "measurement_between", "peak_rss_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Figures since the process began, times since its `Gauge` did; they add up over processes.

    Attributes:
        gets: see `LoaderStats`, as the next two.
        retries: see there.
        bytes_fetched: see there.
        latencies: how many GETs have been timed.
        consumer_s: time of those who consume the bytes, each of them counted: two threads have two seconds a second.
        wait_s: what of it they stood still for.
        cpu_s: CPU time.
        peak_rss_bytes: resident memory at the most.
    """

    gets: int = 0
    retries: int = 0
    bytes_fetched: int = 0
    latencies: int = 0
    consumer_s: float = 0.0
    wait_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0

    def __add__(self, other: Reading) -> Reading:
        return Reading(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def since(self, before: Reading) -> Reading:
        """What has been added since an earlier reading; the peak stays the peak."""
        grown = {f.name: getattr(self, f.name) - getattr(before, f.name) for f in fields(self)}
        return replace(Reading(**grown), peak_rss_bytes=self.peak_rss_bytes)


class BusyTime:
    """How long threads have been at work, each of them counted, up to any moment: also what is not done yet.

    What was added only when it is done would count, in the span that it ends in, time from before that span: more than
    the span has. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done_s = 0.0
        self._begun_s: dict[object, float] = {}

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """A piece of work of the calling thread, from entering to leaving, also by an error."""
        work = object()
        with self._lock:
            self._begun_s[work] = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._done_s += time.perf_counter() - self._begun_s.pop(work)

    def read(self) -> tuple[float, float]:
        """The moment, on the clock of `time.perf_counter`, and the seconds of work up to it."""
        with self._lock:
            now_s = time.perf_counter()
            return now_s, self._done_s + sum(now_s - begun_s for begun_s in self._begun_s.values())


class Gauge:
    """Reads the figures of this process. Made anew, from where they are kept, in a process that it is pickled to.

    Attributes:
        store: whose GETs are timed.
        counters: of the dataset that fetches from it.
        threads: that decode; 0: whoever iterates consumes.
        busy: the time that those threads spend decoding.
    """

    def __init__(self, store: TimedStore, counters: Counters, *, threads: int = 0) -> None:
        self.store = store
        self.counters = counters
        self.threads = threads
        self.busy = BusyTime()
        self._made_s = time.perf_counter()

    def read(self) -> Reading:
        """The figures now. In the thread that iterates, between two samples."""
        counters = self.counters
        now_s, busy_s = self.busy.read()
        consumer_s = (now_s - self._made_s) * max(1, self.threads)
        return Reading(
            gets=counters.gets,
            retries=counters.retries,
            bytes_fetched=counters.bytes_fetched,
            latencies=len(self.store.latencies_s),
            consumer_s=consumer_s,
            wait_s=consumer_s - busy_s if self.threads else counters.wait_s,
            cpu_s=time.process_time(),
            peak_rss_bytes=peak_rss_bytes(),
        )


def measurement_between(
    before: Reading,
    after: Reading,
    latencies_s: Sequence[float],
    *,
    concurrency: int,
    elapsed_s: float,
    samples: int,
    base_rss_bytes: int,
) -> Measurement:
    """What happened between two readings. `latencies_s`: of all GETs since the process began, in order."""
    grown = after.since(before)
    ordered = sorted(latencies_s[before.latencies : after.latencies])
    return Measurement(
        concurrency=concurrency,
        elapsed_s=elapsed_s,
        samples=samples,
        gets=grown.gets,
        retries=grown.retries,
        bytes_fetched=grown.bytes_fetched,
        cpu_s=grown.cpu_s,
        latency_p50_s=percentile(ordered, 0.50),
        latency_p95_s=percentile(ordered, 0.95),
        latency_p99_s=percentile(ordered, 0.99),
        wait_share=min(1.0, grown.wait_s / grown.consumer_s) if grown.consumer_s > 0 else 0.0,
        peak_rss_bytes=after.peak_rss_bytes,
        base_rss_bytes=base_rss_bytes,
    )


def peak_rss_bytes() -> int:
    """Resident memory of this process at the most, ever."""
    # On Linux getrusage also knows of the process that this one was forked from, before it became another program.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
