"""An epoch through a storm, next to the same epoch in calm weather: what is lost, and how much slower it is.

The storm is 20 % of 503 SlowDown, 2 % of resets (before the head, within the body), 1 % of stalls (likewise) and
0.5 % of bodies with a wrong bit, by request, over the simulator with the latency of S3. Every sample is compared with
what was put there, by position, number and CRC-32 of its bytes, in storm and calm alike, once with and once without
decoding. Nothing is set but the defaults: `Loader` finds its concurrency itself.

Each measurement is one epoch in a process of its own, from `iter()` to the last batch, after a short epoch over other
objects in calm weather that warms imports, threads and connections. Calm and storm take turns.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from asyncio_loader.testing import Fault, S3Simulator
from bench.cases import Settings
from bench.images import DISTINCT, MEAN_BYTES, decode, jpeg_objects
from bench.measure import call_in_fresh_process
from bench.report import Report, median_share, spread

IMAGES = 20_000
WARM_IMAGES = 256
BATCH = 16
THREADS = 2
SEED = 1
MEDIAN_S, P99_S = 0.030, 0.150

STORM = (
    Fault("status", key="storm/*", rate=0.2),
    Fault("reset", key="storm/*", rate=0.01),
    Fault("reset", key="storm/*", rate=0.01, after_bytes=20_000),
    Fault("stall", key="storm/*", rate=0.005),
    Fault("stall", key="storm/*", rate=0.005, after_bytes=20_000),
    Fault("corrupt", key="storm/*", rate=0.005),
)


def run(settings: Settings) -> Report:
    """Measure calm and storm, with and without decoding."""
    images = settings.count(IMAGES)
    runs: dict[str, list[dict[str, float]]] = {}
    with S3Simulator(_objects(images), median_s=MEDIAN_S, p99_s=P99_S, seed=SEED) as simulator:
        for repeat in range(settings.repeats):
            for decodes in (False, True):
                for weather in ("calm", "storm"):
                    # Their requests are numbered anew: each storm is the same, but for the number of the repeat.
                    simulator.set_faults(_storm(repeat) if weather == "storm" else [])
                    name = f"{'decoded' if decodes else 'bytes'}, {weather}"
                    runs.setdefault(name, []).append(_measure(simulator, images, decodes))
    return Report(
        case="storm",
        title=f"{images} JPEGs of {MEAN_BYTES / 1000:.0f} KB at {MEDIAN_S * 1000:.0f} ms median, {P99_S * 1000:.0f} ms "
        f"99th percentile; 20 % 503, 2 % resets, 1 % stalls, 0.5 % corrupt; {THREADS} threads, "
        f"median of {settings.repeats}",
        columns=("epoch", "images/s", "least", "most", "of calm", "lost", "doubled", "wrong", "GETs/image", "hedges"),
        rows=[_row(name, results, runs[f"{name.split(',')[0]}, calm"]) for name, results in runs.items()],
        raw=dict(runs),
    )


def load_epoch(images: int, decodes: bool, endpoint_url: str) -> dict[str, float]:
    """One epoch; its rate, and what was wrong with it."""
    from asyncio_loader import AsyncIterableDataset, Loader, S3Options

    def open_dataset(prefix: str, count: int) -> AsyncIterableDataset:
        return AsyncIterableDataset(
            [f"s3://bucket/{_key(prefix, number)}" for number in range(count)],
            transform=_decode if decodes else _digest,
            shuffle=True,
            seed=SEED,
            storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
        )

    with Loader(open_dataset("warm", WARM_IMAGES), BATCH, threads=THREADS) as loader:
        assert sum(len(batch) for batch in loader) == WARM_IMAGES
    dataset = open_dataset("storm", images)
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        started_s = time.perf_counter()
        samples = [sample for batch in loader for sample in batch]
        elapsed_s = time.perf_counter() - started_s
        stats = loader.stats()
    plan = dataset.plan(BATCH)
    return {
        "images": images,
        "rate": len(samples) / elapsed_s,
        "gets": stats.gets,
        "retries": stats.retries,
        "hedges": stats.hedges,
        **_mistakes(samples, [plan.index_at(position) for position in range(images)]),
    }


def _mistakes(samples: Sequence[tuple[int, int, int]], order: Sequence[int]) -> dict[str, int]:
    """How many samples are lost, doubled, and not what they should be or not where."""
    digests = [zlib.crc32(jpeg) for _, jpeg in jpeg_objects(DISTINCT)]
    indexes = Counter(index for _, index, _ in samples)
    right = [(place, index, digests[index % DISTINCT]) for place, index in enumerate(order)]
    return {
        "lost": sum(indexes[index] == 0 for index in order),
        "doubled": sum(count - 1 for count in indexes.values()),
        "wrong": sum(sample != expected for sample, expected in zip(samples, right, strict=False)),
    }


def _storm(repeat: int) -> list[Fault]:
    # The draws rest on a fault's place among all: one that meets nothing, ahead of them, makes other draws.
    return [*(Fault("slow", key="nothing") for _ in range(repeat)), *STORM]


def _measure(simulator: S3Simulator, images: int, decodes: bool) -> dict[str, float]:
    result: dict[str, float] = call_in_fresh_process(
        f"{__name__}:load_epoch",
        environ=simulator.environ,
        images=images,
        decodes=decodes,
        endpoint_url=simulator.endpoint_url,
    )
    met = Counter(record.fault for record in simulator.requests(clear=True))
    return {**result, **{f"met_{fault}": count for fault, count in met.items() if fault is not None}}


def _objects(images: int) -> Iterator[tuple[str, bytes]]:
    for prefix, count in (("storm", images), ("warm", WARM_IMAGES)):
        yield from jpeg_objects(count, partial(_key, prefix))


def _key(prefix: str, number: int) -> str:
    return f"{prefix}/{number:06d}.jpg"


def _digest(fetched: Any) -> tuple[int, int, int]:
    return fetched.position, fetched.index, zlib.crc32(fetched.data)


def _decode(fetched: Any) -> tuple[int, int, int]:
    decode(fetched.data)
    return _digest(fetched)


def _row(name: str, results: list[dict[str, float]], calm: list[dict[str, float]]) -> tuple[str, ...]:
    rates = [result["rate"] for result in results]
    return (
        name,
        *spread(rates),
        f"{median_share(rates, [result['rate'] for result in calm]):.2f}",
        *(f"{sum(result[mistake] for result in results):.0f}" for mistake in ("lost", "doubled", "wrong")),
        f"{sum(result['gets'] for result in results) / sum(result['images'] for result in results):.2f}",
        f"{sum(result['hedges'] for result in results):.0f}",
    )
