"""``asyncio-loader tune``: list, measure, tell."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from asyncio_loader.cores import count_cores
from asyncio_loader.errors import LoaderError
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.progress.words import as_duration, as_mb_per_s, as_rate
from asyncio_loader.testing.environment import environment
from asyncio_loader.testing.simulator import S3Simulator
from asyncio_loader.trace import TraceFile
from asyncio_loader.tuning.advice import advise, knee_of
from asyncio_loader.tuning.arguments import check_arguments
from asyncio_loader.tuning.listing import choose_objects, list_objects
from asyncio_loader.tuning.measurement import Measurement, Task
from asyncio_loader.tuning.process import Told, measure_in_process
from asyncio_loader.tuning.report import write_json
from asyncio_loader.tuning.screen import LiveLine
from asyncio_loader.tuning.table import describe_task, format_table

__all__ = ["run_tune"]

_SIMULATED_OBJECTS = 1000
_SIMULATED_MEAN_BYTES = 115_000


def run_tune(arguments: argparse.Namespace) -> None:
    """Measure every concurrency, and tell: progress on standard error, the result on standard output.

    Args:
        arguments: those of `arguments.add_arguments`.

    Raises:
        ConfigError: they don't go together, or name what does not exist. FetchError: the objects cannot be listed or
            fetched. DecodeError: one is no image, with ``--decode``.

    However it ends, by an interrupt, too, it has told of what had been measured by then, and no process is left.
    """
    check_arguments(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    line = LiveLine(sys.stderr)
    with _place(arguments, line) as place:
        line.show(f"listing {place.uri} …")
        listed = list_objects(place.uri, place.storage, arguments.objects)
        line.clear()
        objects = choose_objects(listed)
        run = _Run(place.label, _task(arguments, objects, place.storage), arguments.out)
        print(f"{place.label}: {describe_task(run.task)}", flush=True)
        if len(objects) < len(listed):
            print(f"left out, because not called like an image: {len(listed) - len(objects):,}", flush=True)
        try:
            _measure_all(run, arguments.concurrency, line)
        finally:
            line.clear()
            run.tell(len(arguments.concurrency))


@dataclass(slots=True)
class _Run:
    place: str
    task: Task
    out: Path
    measurements: list[Measurement] = field(default_factory=list)

    def tell(self, planned: int) -> None:
        """Print and write what was measured, if anything was."""
        if not self.measurements:
            return
        knee = knee_of(self.measurements)
        table = format_table(self.measurements, self.task, knee.concurrency if knee is not None else None)
        # At once: after an interrupt there is not much time.
        print(f"\n{table}", flush=True)
        if len(self.measurements) < planned:
            print(f"\nnot complete: {len(self.measurements)} of {planned} settings were measured", flush=True)
        if advice := advise(self.measurements, self.task):
            print(f"\n{advice}", flush=True)
        made_at = datetime.now(UTC)
        path = self.out / f"tune-{made_at:%Y%m%dT%H%M%SZ}.json"
        write_json(self.measurements, self.task, self.place, path, made_at=made_at)
        # Pillow is not needed before.
        from asyncio_loader.tuning.plot import draw_plot

        plot = draw_plot(self.measurements, self.place, describe_task(self.task), path.with_suffix(".png"))
        print(f"\nwritten to {path} and {plot}", flush=True)


def _measure_all(run: _Run, concurrency: tuple[int, ...], line: LiveLine) -> None:
    for number, each in enumerate(concurrency, 1):
        head = f"[{number}/{len(concurrency)}] {each} in flight: "
        line.show(f"{head}starting")
        try:
            teller = _Teller(line, head, run.task, len(concurrency) - number)
            measured = measure_in_process(run.task.with_concurrency(each), teller.tell)
        except LoaderError:
            line.keep(f"{head}failed")
            raise
        run.measurements.append(measured)
        line.keep(f"{head}{measured.rate:,.0f} img/s, {measured.mb_per_s:,.1f} MB/s")


class _Teller:
    """Makes a line of progress.

    Args:
        line: where.
        head: of the line.
        task: how long a setting is measured, and how large an object is.
        settings_left: so many come after this one; of them, too, only what is measured counts as time left.
    """

    def __init__(self, line: LiveLine, head: str, task: Task, settings_left: int) -> None:
        self._line = line
        self._head = head
        self._seconds = task.seconds
        self._mean_bytes = task.mean_bytes
        self._settings_left = settings_left
        self._last = f"{head}starting"

    def tell(self, progress: Told | None) -> None:
        if progress is not None:
            elapsed_s, samples = progress["elapsed_s"], progress["samples"]
            rate = self._as_rate(samples / elapsed_s) if elapsed_s > 0 else ""
            stage = f"{elapsed_s:.1f} of {self._seconds:g} s" if progress["is_warm"] else f"warm-up {elapsed_s:.1f} s"
            measured_s = elapsed_s if progress["is_warm"] else 0.0
            left_s = max(0.0, self._seconds - measured_s) + self._settings_left * self._seconds
            self._last = f"{self._head}{stage}, {rate}, ETA {as_duration(left_s)}"
        self._line.show(self._last)

    def _as_rate(self, samples_per_s: float) -> str:
        shown = as_rate(samples_per_s, "img")
        return f"{shown}, {as_mb_per_s(samples_per_s * self._mean_bytes)}" if self._mean_bytes else shown


@dataclass(frozen=True, slots=True)
class _Place:
    uri: str
    label: str
    storage: S3Options


@contextlib.contextmanager
def _place(arguments: argparse.Namespace, line: LiveLine) -> Iterator[_Place]:
    """Where the objects are; without a URI a simulator with some, for the length of the block."""
    if arguments.uri is not None:
        storage = S3Options(
            endpoint_url=arguments.endpoint_url,
            region_name=arguments.region,
            profile_name=arguments.profile,
            anonymous=arguments.anonymous,
        )
        yield _Place(arguments.uri, arguments.uri, storage)
        return
    median_ms, p99_ms = arguments.latency_median, arguments.latency_p99
    line.show("making JPEGs for the simulator …")
    simulated = _simulator(median_ms / 1000, p99_ms / 1000 if median_ms else None)
    with simulated as simulator, environment(simulator.environ):
        storage = S3Options(endpoint_url=simulator.endpoint_url, region_name="us-east-1")
        label = f"simulator on this machine, first byte after {median_ms:g} ms (median), {p99_ms:g} ms (p99)"
        yield _Place(simulator.uri(""), label, storage)


def _simulator(median_s: float, p99_s: float | None) -> S3Simulator:
    # It brings NumPy and OpenCV, which a bucket does without.
    from asyncio_loader.testing.synthetic import synthetic_jpegs

    bodies = synthetic_jpegs(_SIMULATED_OBJECTS, mean_bytes=_SIMULATED_MEAN_BYTES)
    objects = ((f"train2017/{number:012d}.jpg", body) for number, body in enumerate(bodies))
    return S3Simulator(objects, median_s=median_s, p99_s=p99_s)


def _task(arguments: argparse.Namespace, objects: list[tuple[str, int | None]], storage: S3Options) -> Task:
    workers = arguments.workers or 0
    threads = (arguments.threads or count_cores()) if arguments.decode and not workers else 0
    return Task(
        objects=objects,
        storage=storage,
        options=FetchOptions(),
        seconds=arguments.seconds,
        decode=arguments.decode,
        threads=threads,
        workers=workers,
        seed=arguments.seed,
        trace=TraceFile.of(arguments.trace),
    )
