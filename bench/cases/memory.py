"""How much a process grows while far more bytes pass through it than the window holds.

Three mixtures of sizes, none of which is known beforehand: equal ones, 1 KB to 4 MB, and 1 KB to 50 MB in a window of
256 MiB. What is reserved may exceed the window by one object, which makes the case fail if it is more.

The consumer is slower than the store (it hashes what a decoder would decode), so the window is full all the time and
what leaks or lies outside of it shows. Growth is counted from after the imports; "steady" is the median of the second
half of the samples, "peak" the kernel's own high-water mark.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.measure import MIB, MemoryWatch, call_in_fresh_process, memory_bytes
from bench.report import Report

MEAN_BYTES = 115_000
THREADS = 2
BATCH = 16


@dataclass(frozen=True)
class Mixture:
    """Attributes:
    name: for the table.
    sizes: of so many objects, in bytes.
    window_bytes: what they pass through.
    total_bytes: of all of them, about.
    mean_bytes: of one, about.
    """

    name: str
    sizes: Callable[[int], Iterator[int]]
    window_bytes: int
    total_bytes: int
    mean_bytes: int


def run(settings: Settings) -> Report:
    """Measure all mixtures of sizes."""
    raw: dict[str, list[dict[str, float]]] = {}
    for mixture in MIXTURES:
        count = settings.count(mixture.total_bytes // mixture.mean_bytes)
        with S3Simulator(_objects(count, mixture.sizes)) as simulator:
            raw[mixture.name] = [
                call_in_fresh_process(
                    f"{__name__}:pass_through",
                    count=count,
                    window_bytes=mixture.window_bytes,
                    endpoint_url=simulator.endpoint_url,
                    environ=simulator.environ,
                )
                for _ in range(settings.repeats)
            ]
            for result in raw[mixture.name]:
                result.update(window=mixture.window_bytes, objects=count, largest=max(mixture.sizes(count)))
    return Report(
        case="memory",
        title=f"objects that pass through a window, {THREADS} threads, median of {settings.repeats}",
        columns=(
            "objects",
            "count",
            "MB in all",
            "window, MiB",
            "peak window, MiB",
            "after imports, MiB",
            "steady, MiB",
            "peak, MiB",
        ),
        rows=[_row(name, results) for name, results in raw.items()],
        raw=dict(raw),
        faults=[fault for name, results in raw.items() for fault in _faults_of(name, results)],
    )


def pass_through(count: int, window_bytes: int, endpoint_url: str) -> dict[str, float]:
    """One epoch; what the process had before and took meanwhile, in bytes."""
    # The store is imported with its first use otherwise, which is no growth.
    import asyncio_loader.stores.s3.store  # noqa: F401
    from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, S3Options

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{number:08d}" for number in range(count)],
        transform=_hash,
        options=FetchOptions(window_bytes=window_bytes),
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    before = memory_bytes()
    with MemoryWatch() as watch, Loader(dataset, BATCH, threads=THREADS) as loader:
        passed = sum(len(batch) for batch in loader)
        stats = loader.stats()
    assert passed == count
    half = watch.samples_bytes[len(watch.samples_bytes) // 2 :] or [memory_bytes()]
    return {
        "bytes": stats.bytes_fetched,
        "before": before,
        "steady": median(half) - before,
        "peak": memory_bytes("VmHWM") - before,
        "peak_window": stats.peak_window_bytes,
        "elapsed_s": stats.elapsed_s,
    }


def _hash(fetched: Any) -> str:
    # As slow as a decoder, in C, and outside of the GIL, as one.
    return hashlib.sha3_512(fetched.data).hexdigest()


def _equal_sizes(count: int) -> Iterator[int]:
    return (MEAN_BYTES for _ in range(count))


def _mixed_sizes(count: int) -> Iterator[int]:
    """Many small and few large ones: 13 sizes from 1 KB to 4 MB, at shares that make their mean 115 KB."""
    sizes = [1_000 * 2**step for step in range(13)]
    weights = [size**-0.386 for size in sizes]
    yield from random.Random(0).choices(sizes, weights, k=count)


def _wide_sizes(count: int) -> Iterator[int]:
    """1 KB to 50 MB: of a hundred objects four are larger than 5 MB, and hold most of the bytes."""
    sizes = [1_000, 10_000, 100_000, 1_000_000, 5_000_000, 20_000_000, 50_000_000]
    yield from random.Random(0).choices(sizes, [20, 25, 25, 18, 8, 3, 1], k=count)


MIXTURES = (
    Mixture("115 KB each", _equal_sizes, 64 * MIB, 2_000_000_000, MEAN_BYTES),
    Mixture("1 KB to 4 MB", _mixed_sizes, 64 * MIB, 2_000_000_000, MEAN_BYTES),
    Mixture("1 KB to 50 MB", _wide_sizes, 256 * MIB, 4_000_000_000, 1_700_000),
)


def _objects(count: int, choose_sizes: Callable[[int], Iterator[int]]) -> Iterator[tuple[str, bytes]]:
    bodies: dict[int, bytes] = {}
    for number, size in enumerate(choose_sizes(count)):
        yield f"{number:08d}", bodies.setdefault(size, random.Random(size).randbytes(size))


def _row(name: str, results: list[dict[str, float]]) -> tuple[str, ...]:
    def middle(field: str) -> float:
        return median(result[field] for result in results)

    return (
        name,
        f"{middle('objects'):.0f}",
        f"{middle('bytes') / 1e6:.0f}",
        f"{middle('window') / MIB:.0f}",
        f"{middle('peak_window') / MIB:.0f}",
        f"{middle('before') / MIB:.0f}",
        f"{middle('steady') / MIB:+.0f}",
        f"{middle('peak') / MIB:+.0f}",
    )


def _faults_of(name: str, results: list[dict[str, float]]) -> Iterator[str]:
    for result in results:
        if result["peak_window"] > result["window"] + result["largest"]:
            held, allowed = (result[key] / MIB for key in ("peak_window", "window"))
            yield f"{name}: {held:.0f} MiB were held, more than the window of {allowed:.0f} MiB and one object"
