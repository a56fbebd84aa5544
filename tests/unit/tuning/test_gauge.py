from __future__ import annotations

import pytest

from asyncio_loader.stats import Counters
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.tuning import gauge
from asyncio_loader.tuning.gauge import BusyTime, Gauge, Reading, measurement_between, peak_rss_bytes
from asyncio_loader.tuning.timed_store import TimedStore


class Time:
    def __init__(self) -> None:
        self.now_s = 5000.0
        self.cpu_s = 9.0

    def perf_counter(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.cpu_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(gauge, "time", clock)
    return clock


def test_without_threads_the_waiting_is_that_of_who_iterates(clock: Time) -> None:
    store, counters = TimedStore(MemoryStore()), Counters()
    store.latencies_s.extend([1.0, 2.0])
    counters.gets, counters.retries, counters.bytes_fetched, counters.wait_s = 5, 1, 400, 30.0

    tested = Gauge(store, counters)
    clock.now_s += 100.0
    reading = tested.read()

    assert (reading.gets, reading.retries, reading.bytes_fetched, reading.latencies) == (5, 1, 400, 2)
    assert (reading.consumer_s, reading.wait_s, reading.cpu_s) == (100.0, 30.0, 9.0)
    assert reading.peak_rss_bytes > 0


def test_threads_wait_when_they_do_not_decode(clock: Time) -> None:
    tested = Gauge(TimedStore(MemoryStore()), Counters(), threads=4)
    with tested.busy.one_more():
        clock.now_s += 60.0
        with tested.busy.one_more():
            clock.now_s += 20.0
    clock.now_s += 20.0

    reading = tested.read()

    assert (reading.consumer_s, reading.wait_s) == (400.0, 300.0)


def test_work_that_lasts_counts_in_the_span_that_it_is_done_in(clock: Time) -> None:
    tested = Gauge(TimedStore(MemoryStore()), Counters(), threads=1)

    with tested.busy.one_more():
        clock.now_s += 10.0
        before = tested.read()
        clock.now_s += 2.0
    clock.now_s += 6.0
    grown = tested.read().since(before)

    assert (before.consumer_s, before.wait_s) == (10.0, 0.0)
    assert (grown.consumer_s, grown.wait_s) == (8.0, 6.0)


def test_work_that_fails_is_over(clock: Time) -> None:
    tested = BusyTime()

    def fail() -> None:
        with tested.one_more():
            clock.now_s += 3.0
            raise OSError("cut short")

    with pytest.raises(OSError, match="cut short"):
        fail()
    clock.now_s += 5.0

    assert tested.read() == (5008.0, 3.0)


def test_readings_of_processes_add_up() -> None:
    total = sum([Reading(gets=1, peak_rss_bytes=10), Reading(gets=2, peak_rss_bytes=20)], Reading(cpu_s=3.0))

    assert total == Reading(gets=3, peak_rss_bytes=30, cpu_s=3.0)


def test_what_lies_between_two_readings() -> None:
    before = Reading(gets=10, bytes_fetched=1000, latencies=2, consumer_s=50, wait_s=5, cpu_s=1, peak_rss_bytes=70)
    after = Reading(gets=30, bytes_fetched=3000, latencies=6, consumer_s=70, wait_s=10, cpu_s=3, peak_rss_bytes=90)

    measurement = measurement_between(
        before,
        after,
        [9.0, 9.0, 0.4, 0.1, 0.2, 0.3, 9.0],
        concurrency=4,
        elapsed_s=20.0,
        samples=20,
        base_rss_bytes=60,
    )

    assert (measurement.gets, measurement.bytes_fetched, measurement.cpu_s) == (20, 2000, 2)
    assert (measurement.latency_p50_s, measurement.latency_p99_s) == (0.2, 0.4)
    assert measurement.wait_share == 0.25
    assert (measurement.peak_rss_bytes, measurement.base_rss_bytes) == (90, 60)


def test_peak_memory_never_falls() -> None:
    before = peak_rss_bytes()

    assert peak_rss_bytes() >= before > 1024 * 1024
