from __future__ import annotations

import pytest

from asyncio_loader.errors import (
    ChecksumMismatch,
    ConnectionLost,
    FetchError,
    FetchTimeout,
    ObjectNotFound,
    ServerFault,
    ShortRead,
    Throttled,
)
from asyncio_loader.stats import Counters, LoaderStats, SlowObject


def test_a_snapshot_does_not_change_afterwards() -> None:
    counters = Counters()
    counters.gets += 3
    snapshot = counters.snapshot()
    counters.gets += 1

    assert snapshot == LoaderStats(gets=3)


def test_the_wait_share_is_a_share_of_the_time() -> None:
    assert LoaderStats(wait_s=1.0, elapsed_s=4.0).wait_share == 0.25
    assert LoaderStats().wait_share == 0.0


def test_every_field_says_how_to_read_it() -> None:
    for name in LoaderStats.__dataclass_fields__:
        assert f"\n        {name}: " in (LoaderStats.__doc__ or "")


def test_two_runs_one_after_the_other_add_up() -> None:
    first = LoaderStats(samples=10, gets=12, retries=2, wait_s=1.0, elapsed_s=4.0, peak_window_bytes=100)
    second = LoaderStats(samples=5, gets=5, wait_s=0.5, elapsed_s=2.0, peak_window_bytes=70)

    assert first + second == LoaderStats(
        samples=15, gets=17, retries=2, wait_s=1.5, elapsed_s=6.0, peak_window_bytes=100
    )


def test_what_has_happened_since() -> None:
    counters = Counters()
    counters.samples, counters.level, counters.elapsed_s = 10, 32, 1.0
    counters.note_fetch(0.1)
    counters.note_starved(0.5, "s3://b/old")
    before = counters.snapshot()
    counters.samples, counters.level, counters.elapsed_s = 25, 16, 3.0
    counters.note_fetch(0.3)
    counters.note_starved(0.7, "s3://b/new")
    lately = counters.snapshot().since(before)

    assert (lately.samples, lately.level, lately.elapsed_s) == (15, 16, 2.0)
    assert lately.fetch_s == pytest.approx(0.3)
    assert lately.fetch.count == 1
    assert lately.slowest == (SlowObject(0.7, "s3://b/new"),)
    assert lately.samples_per_s == 7.5


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (Throttled(), "throttled"),
        (FetchTimeout(), "timeouts"),
        (ConnectionLost(), "lost_connections"),
        (ServerFault(), "server_faults"),
        (ShortRead(), "damaged"),
        (ChecksumMismatch(), "damaged"),
        (ObjectNotFound(), "other_errors"),
    ],
)
def test_errors_count_by_their_kind(error: FetchError, field: str) -> None:
    counters = Counters()
    counters.count_error(error)

    assert counters.snapshot() == LoaderStats(**{field: 1})


def test_the_ten_longest_waits_are_kept() -> None:
    counters = Counters()
    for number in (5, 20, 1, 12, 7, 3, 18, 9, 14, 2, 16, 11, 4):
        counters.note_starved(number / 10, f"s3://b/{number}")

    assert [slow.uri for slow in counters.snapshot().slowest] == [
        f"s3://b/{number}" for number in (20, 18, 16, 14, 12, 11, 9, 7, 5, 4)
    ]
    both = LoaderStats(slowest=(SlowObject(2.0, "a"), SlowObject(1.0, "b"))) + LoaderStats(
        slowest=(SlowObject(1.5, "c"),)
    )
    assert [slow.uri for slow in both.slowest] == ["a", "c", "b"]


def test_it_prints_what_is_not_zero() -> None:
    counters = Counters()
    counters.samples = 3
    counters.note_fetch(0.1)

    assert str(counters.snapshot()) == (
        "LoaderStats(samples=3, fetch_s=0.1, fetch=<1 durations, p50 105 ms, p95 105, p99 105>)"
    )
    assert str(LoaderStats()) == "LoaderStats()"
