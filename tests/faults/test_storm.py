"""All troubles at once, at rates that no bucket has for long: nothing lost, doubled, reordered or changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, RetryPolicy, S3Options
from asyncio_loader.testing import Fault, S3Simulator

COUNT = 2000
BODIES = [hashlib.sha256(str(n).encode()).digest() * (50 + n % 500) for n in range(COUNT)]
DIGESTS = [hashlib.sha256(body).digest() for body in BODIES]
# A fifth is refused, 2 % are reset, 1 % get no answer, 0.5 % a wrong one.
STORM = [
    Fault("status", rate=0.2),
    Fault("reset", rate=0.01),
    Fault("reset", rate=0.01, after_bytes=1000),
    Fault("stall", rate=0.005),
    Fault("stall", rate=0.005, after_bytes=1000),
    Fault("corrupt", rate=0.005),
]
# What waits for S3 for seconds need not do so for a server on this machine.
RETRY = RetryPolicy(backoff_initial_s=0.02, first_byte_timeout_s=0.5, stall_timeout_s=0.5)


def look(fetched: Fetched) -> tuple[int, int, bytes]:
    return fetched.position, fetched.index, hashlib.sha256(fetched.data).digest()


def keys() -> list[str]:
    return [f"{index:04}" for index in range(COUNT)]


@pytest.mark.parametrize(
    "options", [{"hedge": 0.0}, {}], ids=["each slow GET runs into its timeout", "slow GETs get a second one"]
)
def test_nothing_is_lost_in_a_storm(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator(zip(keys(), BODIES, strict=True), median_s=0.002, faults=STORM, seed=7) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = AsyncIterableDataset(
            [simulator.uri(key) for key in keys()],
            transform=look,
            shuffle=True,
            seed=3,
            options=replace(FetchOptions(retry=RETRY), **options),
            storage=S3Options(endpoint_url=simulator.endpoint_url),
        )
        with Loader(dataset, 16, threads=2) as loader:
            samples = [sample for batch in loader for sample in batch]
            stats = loader.stats()
        records = simulator.requests()

    plan = dataset.plan(16)
    order = [plan.index_at(position) for position in range(COUNT)]
    assert samples == [(position, index, DIGESTS[index]) for position, index in enumerate(order)]
    met = Counter(record.fault for record in records)
    assert met["status"] == pytest.approx(0.2 * len(records), rel=0.2)
    assert met["reset"] > 20
    assert met["stall"] > 10
    assert met["corrupt"] > 5
    assert (stats.samples, stats.failed) == (COUNT, 0)
    assert stats.retries > 0.2 * COUNT
    # What was made in vain was made because of a fault, or is one of the few second GETs.
    assert stats.hedges <= 0.03 * stats.gets
    assert COUNT + stats.retries <= stats.gets <= COUNT + stats.retries + stats.hedges
