from __future__ import annotations

from dataclasses import replace

import pytest

from asyncio_loader.stats import Durations, Limit, LoaderStats, SlowObject, judge
from asyncio_loader.stats.durations import LatencyHistogram

# Ten seconds of a Loader with two threads that wait for objects most of the time.
_STARVED = LoaderStats(
    samples=1000,
    gets=1000,
    elapsed_s=10.0,
    wait_s=9.0,
    starved_s=9.0,
    transform_s=3.0,
    fetch_s=400.0,
    bytes_fetched=100_000_000,
    threads=2,
    level=64,
    most_in_flight=512,
    window_bytes=64 * 1024 * 1024,
)


def _durations(*seconds: float) -> Durations:
    histogram = LatencyHistogram(memory=None)
    for each in seconds:
        histogram.add(each)
    return histogram.frozen()


def test_what_remains_is_the_network() -> None:
    verdict = judge(_STARVED)

    assert verdict.limit is Limit.NETWORK
    assert verdict.finding == "the network is the limit, 10.0 MB/s with 40 GETs under way"
    assert str(verdict) == f"{verdict.finding}: {verdict.advice}"


@pytest.mark.parametrize(
    ("change", "limit", "said"),
    [
        ({"samples": 31}, Limit.UNKNOWN, "31 samples in 10.0 s so far; a verdict takes 32, and 0.5 s"),
        ({"elapsed_s": 0.4}, Limit.UNKNOWN, "too early"),
        ({"wait_s": 0.5}, Limit.CONSUMER, "waits for data 5% of the time"),
        ({"wait_s": 0.5, "hand_over_s": 6.0}, Limit.HAND_OVER, "making batches takes 60% of the time"),
        ({"transform_s": 18.0, "starved_s": 1.0}, Limit.DECODE, "busy 90% of the time: threads=2 at 18.0 ms a sample"),
        ({"pace": 105.0}, Limit.REQUEST_RATE, "takes 100 GETs per second"),
        ({"gets": 1020, "throttled": 20}, Limit.REQUEST_RATE, "(20 so far)"),
        ({"order_s": 6.0}, Limit.ORDER, "takes 60% of the time"),
        ({"window_full_s": 7.0}, Limit.WINDOW, "the window of 64 MiB is full, yet objects are missing"),
        ({"fetch_s": 4000.0}, Limit.IN_FLIGHT, "400 of 512 GETs are under way"),
        ({"slowest": (SlowObject(5.0, "s3://b/slow.jpg"),)}, Limit.SLOW_OBJECTS, "5.0 s: s3://b/slow.jpg"),
    ],
)
def test_the_limit_that_shows(change: dict[str, object], limit: Limit, said: str) -> None:
    verdict = judge(replace(_STARVED, **change))  # type: ignore[arg-type]

    assert verdict.limit is limit
    assert said in str(verdict)


def test_a_pace_that_holds_nothing_back_is_no_throttle() -> None:
    assert judge(replace(_STARVED, pace=500.0)).limit is Limit.NETWORK


def test_an_object_that_takes_hardly_longer_than_others_is_not_the_trouble() -> None:
    slow = (SlowObject(5.0, "s3://b/slow.jpg"),)
    fetch = _durations(*[2.0] * 1000)

    assert judge(replace(_STARVED, slowest=slow, fetch=fetch)).limit is Limit.NETWORK


def test_idle_threads_wait_for_what_the_one_in_turn_waits_for() -> None:
    """Two threads, one of them busy all the time; the other waits now for objects, now for room."""
    stats = replace(_STARVED, transform_s=10.0)

    assert judge(replace(stats, starved_s=4.0, blocked_s=6.0)).limit is Limit.DECODE
    assert judge(replace(stats, transform_s=8.0, starved_s=8.0, blocked_s=2.0)).limit is Limit.NETWORK


def test_without_threads_the_transform_is_part_of_the_wait() -> None:
    """The consumer's own thread transforms: what it does not wait for, it may still have to do."""
    stats = replace(_STARVED, threads=0, wait_s=0.5, starved_s=0.5)

    assert judge(replace(stats, transform_s=8.0)).limit is Limit.DECODE
    assert judge(replace(stats, transform_s=0.2)).limit is Limit.CONSUMER
    assert judge(replace(stats, wait_s=8.0, starved_s=8.0, transform_s=1.0)).limit is Limit.NETWORK


def test_the_first_sample_says_nothing_about_the_rest() -> None:
    stats = replace(_STARVED, elapsed_s=10.0, wait_s=3.0, starved_s=3.0, startup_s=2.9)

    assert judge(stats).limit is Limit.CONSUMER
    assert judge(replace(stats, startup_s=0.0)).limit is not Limit.CONSUMER
