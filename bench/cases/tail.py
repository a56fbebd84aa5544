"""A slow tail: how long a training loop waits for its batches, with second GETs for slow ones and without.

One GET in a hundred takes a second, the rest 30 ms at the median (150 ms at the 99th percentile). A `Loader` with two
threads decodes JPEGs into batches of 16, in order, and a loop takes one, works for 20 ms, in which it sleeps, and takes
the next; and once more without a step. A wait is the time in ``next``, from the tenth batch on. Contenders take turns.
"""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.images import decode_fetched, jpeg_objects, key_of
from bench.measure import call_in_fresh_process
from bench.report import Report

IMAGES = 8000
BATCH = 16
THREADS = 2
STEPS_S = (0.02, 0.0)
HEDGES = (0.02, 0.0)
MEDIAN_S, P99_S, SLOW_SHARE, SLOW_S = 0.030, 0.150, 0.01, 1.0
# Connections, credentials, and what there is to go by.
_WARM_BATCHES = 10


def run(settings: Settings) -> Report:
    """Measure with and without, by turns."""
    images = settings.count(IMAGES)
    raw: dict[str, list[dict[str, Any]]] = {}
    simulator = S3Simulator(
        jpeg_objects(images), median_s=MEDIAN_S, p99_s=P99_S, slow_fraction=SLOW_SHARE, slow_s=SLOW_S
    )
    with simulator:
        for _ in range(settings.repeats):
            for step_s in STEPS_S:
                for hedge in HEDGES:
                    result = call_in_fresh_process(
                        f"{__name__}:load",
                        environ=simulator.environ,
                        images=images,
                        endpoint_url=simulator.endpoint_url,
                        step_s=step_s,
                        hedge=hedge,
                    )
                    raw.setdefault(_name(step_s, hedge), []).append(result)
    return Report(
        case="tail",
        title=f"{images} JPEGs at {MEDIAN_S * 1000:.0f} ms median, {P99_S * 1000:.0f} ms 99th percentile, "
        f"{SLOW_SHARE:.0%} at {SLOW_S:g} s; batches of {BATCH}, {THREADS} threads, {settings.repeats} runs",
        columns=("step, second GETs", "wait p50, ms", "p95", "p99", "of that without", "extra GETs", "won", "images/s"),
        rows=[_row(step_s, hedge, raw) for step_s in STEPS_S for hedge in HEDGES],
        raw=raw,
    )


def load(images: int, endpoint_url: str, step_s: float, hedge: float) -> dict[str, Any]:
    """One epoch: the waits in seconds, and how long it took."""
    from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, S3Options

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{key_of(number)}" for number in range(images)],
        transform=decode_fetched,
        shuffle=True,
        seed=1,
        options=FetchOptions(hedge=hedge),
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    waits_s = []
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        batches = iter(loader)
        started_s = time.perf_counter()
        count = 0
        while True:
            asked_s = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            waits_s.append(time.perf_counter() - asked_s)
            count += len(batch)
            # The step of a training loop.
            time.sleep(step_s)
        seconds = time.perf_counter() - started_s
        stats = loader.stats()
    assert count == images
    return {
        "waits_s": waits_s[_WARM_BATCHES:],
        "rate": images / seconds,
        "hedges": stats.hedges,
        "won": stats.hedges_won,
        "gets": stats.gets,
    }


def _name(step_s: float, hedge: float) -> str:
    return f"{step_s * 1000:.0f} ms, {f'{hedge:.0%}' if hedge else 'none'}"


def _row(step_s: float, hedge: float, raw: dict[str, list[dict[str, Any]]]) -> tuple[str, ...]:
    runs = raw[_name(step_s, hedge)]
    shown = [median(_percentile(run["waits_s"], percent) for run in runs) for percent in (50, 95, 99)]
    without = median(_percentile(run["waits_s"], 99) for run in raw[_name(step_s, 0.0)])
    return (
        _name(step_s, hedge),
        *(f"{wait_s * 1000:.1f}" for wait_s in shown),
        f"{shown[-1] / without:.2f}",
        f"{median(run['hedges'] / (run['gets'] - run['hedges']) for run in runs):.2%}",
        f"{median(run['won'] for run in runs):.0f}",
        f"{median(run['rate'] for run in runs):.0f}",
    )


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]
