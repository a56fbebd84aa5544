"""Epoch after epoch over a server that fails, for half an hour: what grows, and what is not as it should be.

One Loader goes through shuffled epochs of a bucket whose requests meet 503s, 500s, resets, short bodies, stalls, and
wrong bits all the time; every third epoch is left in its middle. Each sample is compared with what was put there, and
with the order. Meanwhile resident memory, threads, open files and asyncio tasks are sampled. Eight times, equally far
apart, the Loader is closed, and what is still in use then is counted: bytes of the heap and Python objects. At the end
the credits that are not back are counted. What must not be makes `python -m bench` end with status 1.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median
from typing import Any

from asyncio_loader.testing import Fault, S3Simulator
from bench.cases import Settings
from bench.measure import MIB, Usage, call_in_fresh_process, memory_bytes, memory_in_use
from bench.report import Report

OBJECTS = 4000
SIZES_BYTES = (1_000, 20_000, 60_000, 120_000)
BATCH = 16
THREADS = 2
MEDIAN_S, P99_S = 0.010, 0.050
SAMPLE_S = 3.0

WEATHER = (
    Fault("status", rate=0.05),
    Fault("status", rate=0.01, status=500),
    Fault("reset", rate=0.01),
    Fault("reset", rate=0.005, after_bytes=700),
    Fault("short", rate=0.005),
    Fault("stall", rate=0.002),
    Fault("corrupt", rate=0.002),
)

# Of resident memory over the second half. A heap that breathes with sizes and retries stays below; one object in ten
# thousand that is kept does not, in half an hour.
MOST_GROWTH_MIB = 20.0

RESTS = 8
# From the second rest to the last: what is imported, cached and started for good is there by then.
MOST_KEPT_MIB = 1.0
MOST_KEPT_OBJECTS = 2000

# Files and tasks that do not depend on concurrency.
_OTHERS = 32


def run(settings: Settings) -> Report:
    """Soak for `settings.minutes`, scaled; once, whatever `repeats` says."""
    minutes = settings.minutes * settings.scale
    result = soak_server(minutes * 60, objects=OBJECTS, sample_s=SAMPLE_S)
    row = (
        f"{minutes:g} min",
        f"{result['epochs']:.0f}",
        f"{result['samples']:.0f}",
        f"{result['gets'] / max(1, result['samples']):.2f}",
        *(f"{result[name]:.0f}" for name in ("lost", "doubled", "wrong", "credits")),
        f"{slope_per_s(result['time_s'], result['rss']) * 60 / MIB:+.2f}",
        f"{_growth(result['rest_heap']) / MIB:+.2f}",
        f"{_growth(result['rest_objects']):+.0f}",
        *(f"{max(result[name]):.0f}" for name in ("threads", "files", "tasks")),
    )
    return Report(
        case="soak",
        title=f"{OBJECTS} objects of 1 to 120 KB, epoch after epoch, one request in twelve fails, {THREADS} threads",
        columns=(
            "time",
            "epochs",
            "samples",
            "GETs/sample",
            "lost",
            "doubled",
            "wrong",
            "credits",
            "RSS MiB/min",
            "kept MiB",
            "kept objects",
            "threads",
            "files",
            "tasks",
        ),
        rows=[row],
        raw=result,
        faults=faults_of(result),
    )


def soak_server(
    seconds: float, *, objects: int, sample_s: float, max_in_flight: int | None = None, kept_bytes: int = 0
) -> dict[str, Any]:
    """Soak over a simulator of its own, in a process of its own; see `soak`. `max_in_flight`: None as in a dataset."""
    with S3Simulator(_objects(objects), median_s=MEDIAN_S, p99_s=P99_S, faults=WEATHER) as simulator:
        result: dict[str, Any] = call_in_fresh_process(
            f"{__name__}:soak",
            environ=simulator.environ,
            timeout_s=seconds + 300,
            seconds=seconds,
            objects=objects,
            sample_s=sample_s,
            max_in_flight=max_in_flight,
            kept_bytes=kept_bytes,
            endpoint_url=simulator.endpoint_url,
        )
    return result


def soak(
    seconds: float, objects: int, sample_s: float, max_in_flight: int | None, kept_bytes: int, endpoint_url: str
) -> dict[str, Any]:
    """Whole epochs until the time is over. Keeps `kept_bytes` of each sample for ever, to see that it is noticed."""
    from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, S3Options

    # It says what it tries again, once an epoch for each kind of failure.
    logging.getLogger("asyncio_loader").setLevel(logging.ERROR)
    kept: list[bytes] = []

    def check(fetched: Any) -> tuple[int, int, bool]:
        if kept_bytes:
            kept.append(os.urandom(kept_bytes))
        return fetched.position, fetched.index, bytes(fetched.data) == body_of(fetched.index)

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{number:06d}" for number in range(objects)],
        transform=check,
        shuffle=True,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
        options=FetchOptions(max_in_flight=max_in_flight),
    )
    found = {"epochs": 0, "samples": 0, "lost": 0, "doubled": 0, "wrong": 0}
    rests: list[Usage] = []
    started_s = time.monotonic()
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        with _Watch(loader, sample_s) as watch:
            while (spent_s := time.monotonic() - started_s) < seconds:
                if spent_s > (len(rests) + 1) * seconds / (RESTS + 1):
                    rests.append(watch.rest())
                loader.set_epoch(found["epochs"])
                # Every third one is left in its middle.
                steps = len(loader) // 2 if found["epochs"] % 3 == 2 else len(loader)
                seen = [sample for batch in islice(loader, steps) for sample in batch]
                _compare(found, seen, dataset.plan(1), min(steps * BATCH, objects))
        window = _window_of(loader)
        stats = loader.stats()
    return {
        **found,
        "credits": window.held_items,
        "most_in_flight": dataset.options.most_in_flight,
        "gets": stats.gets,
        "retries": stats.retries,
        "hedges": stats.hedges,
        "peak_window": stats.peak_window_bytes,
        "elapsed_s": time.monotonic() - started_s,
        "rest_heap": [rest.heap_bytes for rest in rests],
        "rest_objects": [rest.objects for rest in rests],
        **watch.columns(),
    }


def body_of(number: int) -> bytes:
    """What lies under a number: no two are equal, nor the same anywhere."""
    unit = number.to_bytes(4, "little")
    return (unit * (SIZES_BYTES[number % len(SIZES_BYTES)] // 4 - 1)) + b"end."


def slope_per_s(time_s: Sequence[float], values: Sequence[float]) -> float:
    """What the values grow by per second over the second half of the time, by least squares; 0 for less than three."""
    half_s = (time_s[0] + time_s[-1]) / 2 if time_s else 0.0
    points = [(t, value) for t, value in zip(time_s, values, strict=True) if t >= half_s]
    if len(points) < 3:
        return 0.0
    mean_s = sum(t for t, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((t - mean_s) ** 2 for t, _ in points)
    return sum((t - mean_s) * (value - mean) for t, value in points) / spread


def _growth(at_rest: Sequence[float]) -> float:
    return at_rest[-1] - at_rest[1] if len(at_rest) > 2 else 0.0


def faults_of(result: dict[str, Any], *, most_growth_mib: float = MOST_GROWTH_MIB) -> list[str]:
    """What is not as it should be, one line each."""
    faults = [f"{result[name]} samples were {name}" for name in ("lost", "doubled", "wrong") if result[name]]
    if result["credits"]:
        faults.append(f"{result['credits']} credits are not back at the end")
    time_s = result["time_s"]
    growth_mib = slope_per_s(time_s, result["rss"]) * (time_s[-1] - time_s[0]) / 2 / MIB
    if growth_mib > most_growth_mib:
        faults.append(f"resident memory grew by {growth_mib:.0f} MiB in the second half of {time_s[-1]:.0f} s")
    if (kept_mib := _growth(result["rest_heap"]) / MIB) > MOST_KEPT_MIB:
        faults.append(f"{kept_mib:.1f} MiB more of the heap are in use at the last rest than at the second")
    if (kept := _growth(result["rest_objects"])) > MOST_KEPT_OBJECTS:
        faults.append(f"{kept:.0f} more Python objects are there at the last rest than at the second")
    half = len(time_s) // 2
    before, after = max(result["threads"][:half]), median(result["threads"][half:])
    if after > before:
        faults.append(f"threads grew from at most {before} to {after:.0f} in the second half")
    # As many as the level of concurrency asks for, which changes: a GET has two tasks and a connection, a second GET
    # for the same object as many again.
    allowed = 2 * result["most_in_flight"] + _OTHERS
    faults += [
        f"there were {max(result[name])} {name}, and {allowed} at most are wanted"
        for name in ("files", "tasks")
        if max(result[name]) > allowed
    ]
    return faults


class _Watch:
    """Samples this process from a thread, as long as a block lasts."""

    def __init__(self, loader: Any, pause_s: float) -> None:
        self._loader = loader
        self._pause_s = pause_s
        # No objects of their own: those are counted.
        self._columns = {name: array("d") for name in ("time_s", "rss", "threads", "files", "tasks")}
        self._is_over = threading.Event()
        self._may_look = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def rest(self) -> Usage:
        """Close the loader, and tell what is in use nevertheless. The next epoch opens it again."""
        with self._may_look:
            self._loader.close()
            return memory_in_use()

    def columns(self) -> dict[str, list[float]]:
        """Seconds since the first sample, bytes, and counts."""
        columns = {name: list(values) for name, values in self._columns.items()}
        columns["time_s"] = [t - columns["time_s"][0] for t in columns["time_s"]]
        return columns

    def _watch(self) -> None:
        while not self._is_over.wait(self._pause_s):
            with self._may_look:
                reader = self._loader._reader
                if reader is None:
                    continue
                tasks = reader._session.loop_thread.run(_count_tasks())
                threads, files = (len(os.listdir(f"/proc/self/{name}")) for name in ("task", "fd"))
                row = (time.monotonic(), memory_bytes(), threads, files, tasks)
                for values, value in zip(self._columns.values(), row, strict=True):
                    values.append(value)


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())


def _window_of(loader: Any) -> Any:
    """The credits of an iteration that is still open; the loader is about to be closed."""
    iter(loader)
    return loader._reader._source._feed.window


def _compare(found: dict[str, int], seen: Sequence[tuple[int, int, bool]], plan: Any, count: int) -> None:
    """Count an epoch, or the first `count` positions of it."""
    positions = [position for position, _, _ in seen]
    found["epochs"] += 1
    found["samples"] += len(seen)
    found["lost"] += len(set(range(count)) - set(positions))
    found["doubled"] += len(positions) - len(set(positions))
    in_order = (
        place == position and plan.index_at(position) == index for place, (position, index, _) in enumerate(seen)
    )
    found["wrong"] += sum(
        not (is_right and is_in_order) for (_, _, is_right), is_in_order in zip(seen, in_order, strict=True)
    )


def _objects(count: int) -> Iterator[tuple[str, bytes]]:
    return ((f"{number:06d}", body_of(number)) for number in range(count))
