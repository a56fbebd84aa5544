"""Whether the verdict is right: set-ups whose limit is known, each with many seeds.

Each run loads small images from a simulator of its own in a fresh process and asks `judge` three times: about the whole
run, about its second half, and about the last second, which is what a progress line shows. The seed is that of the
latencies, of the order, and of the faults.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from asyncio_loader.stats import Limit
from asyncio_loader.testing import S3Simulator, Throttle
from bench.cases import Settings
from bench.measure import call_in_fresh_process
from bench.report import Report

SEEDS = 10
BATCH = 16
THREADS = 2
OBJECT_BYTES = 40_000
OBJECTS = 400
_RUN_S = 3.0


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """A loader and what it loads from.

    Attributes:
        name: in words.
        limit: the right verdict.
        simulator: arguments of `S3Simulator`.
        options: fields of `FetchOptions`.
        transform_s: CPU seconds of the transform, without the GIL.
        step_s: seconds of the training loop per batch.
        seconds: how long it runs.
    """

    name: str
    limit: Limit
    simulator: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    transform_s: float = 0.0
    step_s: float = 0.0
    seconds: float = _RUN_S


_NEAR = {"median_s": 0.03, "p99_s": 0.15}

SET_UPS = (
    SetUp(name="slow network", limit=Limit.NETWORK, simulator={**_NEAR, "bandwidth_bytes_s": 12e6}),
    SetUp(name="throttled", limit=Limit.REQUEST_RATE, simulator={**_NEAR, "throttle": Throttle(per_second=300.0)}),
    SetUp(name="slow transform", limit=Limit.DECODE, simulator=_NEAR, transform_s=0.008),
    SetUp(name="slow trainer", limit=Limit.CONSUMER, simulator=_NEAR, step_s=0.1),
    SetUp(name="window too small", limit=Limit.WINDOW, simulator=_NEAR, options={"window_bytes": 12 * OBJECT_BYTES}),
    SetUp(name="too few GETs", limit=Limit.IN_FLIGHT, simulator=_NEAR, options={"max_in_flight": 6}),
    SetUp(
        name="slow objects",
        limit=Limit.SLOW_OBJECTS,
        simulator={**_NEAR, "slow_fraction": 0.002, "slow_s": 1.0},
        options={"hedge": 0.0, "window_bytes": 256 * OBJECT_BYTES},
        step_s=0.02,
    ),
)
REQUIRED = tuple(set_up.name for set_up in SET_UPS[:4])


def run(settings: Settings) -> Report:
    """Judge each set-up `SEEDS` times; a run lasts `scale` times three seconds."""
    raw: dict[str, Any] = {}
    for seed in range(SEEDS):
        for set_up in SET_UPS:
            raw.setdefault(set_up.name, []).append(judge_once(set_up, seed, scale=settings.scale))
    return Report(
        case="verdict",
        title=f"verdicts on {len(SET_UPS)} set-ups whose limit is known, with {SEEDS} seeds each; "
        f"{THREADS} threads, batches of {BATCH}, objects of {OBJECT_BYTES / 1000:g} KB",
        columns=("set-up", "right is", "whole run", "second half", "last second", "others", "images/s"),
        rows=[_row(set_up, raw[set_up.name]) for set_up in SET_UPS],
        raw=raw,
    )


def judge_once(set_up: SetUp, seed: int, *, scale: float = 1.0) -> dict[str, Any]:
    """The verdicts of one run, by the values of `Limit`, and what the last of them said."""
    objects = {f"images/{number:06d}": bytes(OBJECT_BYTES) for number in range(OBJECTS)}
    with S3Simulator(objects, seed=seed, **set_up.simulator) as simulator:
        result: dict[str, Any] = call_in_fresh_process(
            f"{__name__}:load",
            environ=simulator.environ,
            uris=[simulator.uri(key) for key in objects],
            endpoint_url=simulator.endpoint_url,
            options=set_up.options,
            transform_s=set_up.transform_s,
            step_s=set_up.step_s,
            seconds=set_up.seconds * scale,
            seed=seed,
        )
    return result


def load(
    uris: list[str],
    endpoint_url: str,
    options: dict[str, Any],
    transform_s: float,
    step_s: float,
    seconds: float,
    seed: int,
) -> dict[str, Any]:
    """Load for so long, and judge."""
    from asyncio_loader import AsyncIterableDataset, Loader, S3Options
    from asyncio_loader.stats import judge

    work = _work_of(transform_s)
    dataset = AsyncIterableDataset(
        uris * 1000,
        transform=lambda fetched: work() or fetched.index,
        shuffle=True,
        seed=seed,
        options=options,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        started_s = time.perf_counter()
        half = late = None
        for _ in loader:
            passed_s = time.perf_counter() - started_s
            if half is None and passed_s >= seconds / 2:
                half = loader.stats()
            if late is None and passed_s >= seconds - 1.0:
                late = loader.stats()
            if passed_s >= seconds:
                break
            # The step of a training loop.
            time.sleep(step_s)
        stats = loader.stats()
    assert half is not None
    assert late is not None
    verdicts = {"whole": judge(stats), "half": judge(stats.since(half)), "last": judge(stats.since(late))}
    return {
        **{name: verdict.limit.value for name, verdict in verdicts.items()},
        "said": str(verdicts["whole"]),
        "rate": stats.samples_per_s,
    }


def _work_of(transform_s: float) -> Any:
    """Something that takes so much CPU time, and lets go of the GIL, as decoders do."""
    if not transform_s:
        return lambda: None
    data = bytes(range(256)) * 64
    rounds, started_s = 0, time.thread_time()
    while time.thread_time() - started_s < 0.1:
        zlib.compress(data, 9)
        rounds += 1
    block = data * max(1, round(rounds * transform_s / 0.1))
    return lambda: len(zlib.compress(block, 9)) and None


def _row(set_up: SetUp, runs: list[dict[str, Any]]) -> tuple[str, ...]:
    right = [sum(run[name] == set_up.limit.value for run in runs) for name in ("whole", "half", "last")]
    others = Counter(run[name] for run in runs for name in ("whole", "half", "last"))
    del others[set_up.limit.value]
    return (
        set_up.name,
        set_up.limit.value,
        *(f"{count} of {len(runs)}" for count in right),
        ", ".join(f"{limit} ({count})" for limit, count in others.items()) or "–",
        f"{sum(run['rate'] for run in runs) / len(runs):.0f}",
    )
