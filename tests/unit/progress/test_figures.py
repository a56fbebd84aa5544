from __future__ import annotations

import pytest

from asyncio_loader.progress.figures import RecentFigures
from asyncio_loader.stats import Limit, LoaderStats


class Run:
    """A loader on a clock of its own, which moves by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stats = LoaderStats(samples=7, wait_s=1.0, elapsed_s=2.0)
        self.figures = RecentFigures(lambda: self.stats, lambda: self.now_s)

    def go(self, seconds: int, *, per_s: int, waits: float = 0.0) -> None:
        """So many seconds at a rate, looked at four times in each."""
        for _ in range(seconds * 4):
            self.now_s += 0.25
            self.stats = LoaderStats(
                samples=self.stats.samples + per_s // 4,
                bytes_fetched=self.stats.bytes_fetched + per_s // 4 * 1000,
                wait_s=self.stats.wait_s + 0.25 * waits,
                elapsed_s=self.stats.elapsed_s + 0.25,
                threads=2,
                in_flight=12,
                level=32,
                held_bytes=5,
                window_bytes=9,
            )
            self.figures.read()


def test_at_first_there_is_nothing() -> None:
    reading = Run().figures.read()

    assert (reading.samples, reading.samples_per_s, reading.wait_share, reading.steady_per_s) == (0, 0.0, 0.0, 0.0)
    assert reading.verdict.limit is Limit.UNKNOWN


def test_what_was_before_does_not_count() -> None:
    run = Run()
    run.go(4, per_s=40, waits=0.5)
    reading = run.figures.read()

    assert (reading.samples, reading.samples_per_s, reading.bytes_per_s) == (160, 40.0, 40_000.0)
    assert reading.wait_share == pytest.approx(0.5)
    assert (reading.in_flight, reading.level, reading.held_bytes, reading.window_bytes) == (12, 32, 5, 9)


def test_figures_are_of_the_last_five_seconds_and_the_estimate_of_a_minute() -> None:
    run = Run()
    run.go(60, per_s=40)
    run.go(6, per_s=400, waits=1.0)
    reading = run.figures.read()

    assert reading.samples_per_s == 400.0
    assert reading.wait_share == pytest.approx(1.0)
    assert 40 < reading.steady_per_s < 80
    assert reading.verdict.limit is not Limit.UNKNOWN


def test_where_little_comes_they_are_of_a_longer_time() -> None:
    """4 a second: 32 of them take 8 s, so the next span is looked at."""
    run = Run()
    run.go(40, per_s=40)
    run.go(20, per_s=4)

    assert run.figures.read().samples_per_s == 4.0


def test_a_wait_that_is_not_over_counts() -> None:
    run = Run()
    run.go(10, per_s=400)
    began_s = run.now_s
    run.now_s += 3.0
    reading = run.figures.read(began_s)

    assert reading.waiting_s == 3.0
    assert reading.wait_share == pytest.approx(0.6)
    assert run.figures.read().wait_share == 0.0


def test_a_wait_of_longer_than_the_span_is_all_of_it() -> None:
    run = Run()
    run.go(10, per_s=400)
    began_s = run.now_s
    run.now_s += 300
    reading = run.figures.read(began_s)

    assert (reading.waiting_s, reading.wait_share, reading.samples_per_s) == (300.0, 1.0, 0.0)


def test_snapshots_are_kept_for_a_minute() -> None:
    run = Run()
    run.go(300, per_s=4)

    assert len(run.figures._marks) <= 62
