"""What it costs that a loader counts: the whole loader, counting as always, not counting, and writing a trace.

A `Loader` with two threads decodes JPEGs from a simulator with the latency of S3. Not counting means counters whose
methods do nothing; what then is left of the stats is a dozen looks at a clock per image, under a microsecond together.
Contenders take turns; a rate is that of the images behind the first 600.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from asyncio_loader.stats import Counters
from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.images import decode_fetched, jpeg_objects, key_of
from bench.measure import call_in_fresh_process
from bench.report import Report

IMAGES = 6000
WARM = 600
BATCH = 16
THREADS = 2
MEDIAN_S, P99_S = 0.030, 0.150
KINDS = ("not counting", "counting", "counting, with a trace")


class Silent(Counters):
    """Counts nothing that happens per object or sample."""

    def count_get(self, attempt: int) -> None:
        """Nothing."""

    def note_fetch(self, seconds: float) -> None:
        """Nothing."""

    def note_wait(self, seconds: float) -> None:
        """Nothing."""

    def note_transform(self, seconds: float) -> None:
        """Nothing."""

    def note_starved(self, seconds: float, uri: str) -> None:
        """Nothing."""

    def note_hand_over(self, seconds: float) -> None:
        """Nothing."""


def run(settings: Settings) -> Report:
    """Measure all kinds, by turns."""
    images = settings.count(IMAGES)
    raw: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with S3Simulator(jpeg_objects(images), median_s=MEDIAN_S, p99_s=P99_S) as simulator:
        for _ in range(settings.repeats):
            for kind in KINDS:
                result = call_in_fresh_process(
                    f"{__name__}:load",
                    environ=simulator.environ,
                    images=images,
                    endpoint_url=simulator.endpoint_url,
                    kind=kind,
                )
                raw[kind].append(result)
    base = median(result["rate"] for result in raw[KINDS[0]])
    return Report(
        case="stats",
        title=f"{images} JPEGs at {MEDIAN_S * 1000:.0f} ms median, {P99_S * 1000:.0f} ms 99th percentile; batches of "
        f"{BATCH}, {THREADS} threads, median of {settings.repeats}",
        columns=("loader", "images/s", "least", "most", "of not counting", "CPU s/1,000"),
        rows=[_row(kind, raw[kind], base) for kind in KINDS],
        raw=dict(raw),
    )


def load(images: int, endpoint_url: str, kind: str) -> dict[str, Any]:
    """One epoch."""
    from asyncio_loader import AsyncIterableDataset, Loader, S3Options

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{key_of(number)}" for number in range(images)],
        transform=decode_fetched,
        shuffle=True,
        seed=1,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    if kind == KINDS[0]:
        dataset.counters = Silent()
    warm = min(WARM, images // 2)
    with tempfile.TemporaryDirectory() as directory:
        trace = Path(directory, "trace.json") if kind == KINDS[2] else None
        with Loader(dataset, BATCH, threads=THREADS, trace=trace) as loader:
            count, begun_s, begun_cpu_s = 0, 0.0, 0.0
            for batch in loader:
                count += len(batch)
                if not begun_s and count >= warm:
                    warm, begun_s, begun_cpu_s = count, time.perf_counter(), _cpu_s()
            seconds, cpu_s = time.perf_counter() - begun_s, _cpu_s() - begun_cpu_s
    assert count == images
    return {"rate": (images - warm) / seconds, "cpu_s": cpu_s / (images - warm) * 1000}


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _row(kind: str, results: list[dict[str, float]], base: float) -> tuple[str, ...]:
    rates = [result["rate"] for result in results]
    return (
        kind,
        f"{median(rates):.0f}",
        f"{min(rates):.0f}",
        f"{max(rates):.0f}",
        f"{median(rates) / base:.3f}",
        f"{median(result['cpu_s'] for result in results):.3f}",
    )
