"""Faults on a real connection: what a retry cures is not seen, what it cannot cure has a name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, RetryPolicy, S3Options
from asyncio_loader.errors import AccessDenied, ConnectionLost, FetchError, FetchTimeout, ObjectNotFound, ServerFault
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing import Fault, S3Simulator

COUNT = 60
BODIES = {f"{n:03}": hashlib.sha256(str(n).encode()).digest() * (200 + 37 * n) for n in range(COUNT)}
IMPATIENT = RetryPolicy(backoff_initial_s=0.01, first_byte_timeout_s=0.3, stall_timeout_s=0.3)


def checksum(fetched: Fetched) -> tuple[int, str]:
    return fetched.index, hashlib.sha256(fetched.data).hexdigest()


def load(faults: Iterable[Fault], monkeypatch: pytest.MonkeyPatch, retry: RetryPolicy = IMPATIENT) -> Loader:
    with S3Simulator(BODIES, faults=list(faults), seed=1) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = AsyncIterableDataset(
            [simulator.uri(key) for key in BODIES],
            transform=checksum,
            shuffle=True,
            seed=3,
            options=FetchOptions(max_in_flight=16, retry=retry),
            storage=S3Options(endpoint_url=simulator.endpoint_url),
        )
        with Loader(dataset, COUNT, threads=2) as loader:
            (batch,) = loader
        order = [slot for slot, _ in batch]
        plan = dataset.plan(COUNT)
        assert order == [plan.index_at(position) for position in range(COUNT)]
        assert batch == [(n, hashlib.sha256(BODIES[f"{n:03}"]).hexdigest()) for n in order]
        return loader


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=503, rate=0.3),
        Fault("status", status=500, rate=0.3),
        Fault("reset", rate=0.3),
        Fault("reset", rate=0.3, after_bytes=1000),
        Fault("short", rate=0.3, after_bytes=1000),
        Fault("stall", rate=0.05),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status if fault.kind == 'status' else fault.after_bytes}",
)
def test_a_passing_fault_is_retried_and_nothing_is_lost(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = load([fault], monkeypatch).stats()

    assert stats.samples == COUNT
    assert stats.retries > 0
    assert stats.gets == COUNT + stats.retries


def test_all_of_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [
        Fault("status", status=503, rate=0.15),
        Fault("reset", rate=0.1),
        Fault("short", rate=0.1, after_bytes=10),
        Fault("reset", rate=0.1, after_bytes=2000),
    ]

    assert load(faults, monkeypatch).stats().samples == COUNT


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("status", status=404, key="*007"), ObjectNotFound),
        (Fault("status", status=403, key="*007"), AccessDenied),
        (Fault("status", status=500, key="*007"), ServerFault),
        (Fault("reset", key="*007"), ConnectionLost),
        (Fault("stall", key="*007"), FetchTimeout),
    ],
    ids=["404", "403", "500", "reset", "stall"],
)
def test_what_no_retry_cures_is_raised_with_type_and_key(
    fault: Fault, kind: type[FetchError], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = RetryPolicy(max_attempts=2, backoff_initial_s=0.01, first_byte_timeout_s=0.3, stall_timeout_s=0.3)

    with pytest.raises(kind, match="s3://bucket/007"):
        load([fault], monkeypatch, few)


def test_close_is_fast_with_everything_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Design: less than a second, with hundreds of requests that nobody answers. A loop that is stuck takes five."""
    with S3Simulator(BODIES, faults=[Fault("stall")]) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = AsyncIterableDataset(
            [simulator.uri(key) for key in BODIES] * 5,
            options=FetchOptions(max_in_flight=300),
            storage=S3Options(endpoint_url=simulator.endpoint_url),
        )
        loader = Loader(dataset, 1)
        iter(loader)
        while dataset.stats().gets < 300:
            time.sleep(0.001)
        started = time.monotonic()
        loader.close()

        assert time.monotonic() - started < 4


def open_dataset(
    simulator: S3Simulator, storage: S3Options | S3Store, count: int, **options: int
) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        [simulator.uri(f"{n}") for n in range(count)],
        transform=lambda fetched: len(fetched.data),
        on_error="replace",
        options=FetchOptions(retry=IMPATIENT, **options),
        storage=storage,
    )


@pytest.mark.timeout(60)
def test_a_substitute_comes_although_every_connection_rests_for_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = {f"{n}": b"x" * 300_000 for n in range(1, 6)}
    with S3Simulator(bodies) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        storage = S3Options(endpoint_url=simulator.endpoint_url)
        dataset = open_dataset(simulator, storage, 6, max_in_flight=1, window_bytes=200_000)

        assert list(dataset) == [300_000] * 6


@pytest.mark.timeout(60)
def test_fewer_connections_than_gets_in_flight_do_not_starve_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = {f"{n}": b"x" * 300_000 for n in range(20)}
    with S3Simulator(bodies, faults=[Fault("status", key="0", times=1)]) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        storage = S3Store(S3Options(endpoint_url=simulator.endpoint_url), max_connections=2)
        dataset = open_dataset(simulator, storage, 20, max_in_flight=8, window_bytes=500_000)

        assert list(dataset) == [300_000] * 20
