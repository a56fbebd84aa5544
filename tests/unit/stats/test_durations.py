from __future__ import annotations

import random

import pytest

from asyncio_loader.stats.durations import Durations, LatencyHistogram


def test_quantiles_are_right_within_a_step() -> None:
    draw = random.Random(1)
    durations = [draw.lognormvariate(-3.5, 0.7) for _ in range(1000)]
    histogram = LatencyHistogram(memory=2000)
    for duration in durations:
        histogram.add(duration)

    durations.sort()
    for share in (0.01, 0.5, 0.95, 0.99):
        exact = durations[int(share * 1000) - 1]
        assert exact <= histogram.quantile(share) <= exact * 1.1


def test_what_is_long_ago_is_forgotten() -> None:
    histogram = LatencyHistogram(memory=256)
    for _ in range(1000):
        histogram.add(5.0)
    for _ in range(600):
        histogram.add(0.01)

    assert histogram.quantile(0.7) < 0.02
    assert histogram.count < 256
    assert histogram.total == 1600


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.0, 0.0, 1e-4), (1e-9, 0.0, 1e-4), (1e6, 1000.0, 1100.0)])
def test_what_is_out_of_its_range_counts_at_its_ends(seconds: float, least: float, most: float) -> None:
    histogram = LatencyHistogram()
    histogram.add(seconds)

    assert least <= histogram.quantile(0.5) <= most


def test_without_durations_there_is_no_quantile() -> None:
    with pytest.raises(ValueError, match="no durations"):
        LatencyHistogram().quantile(0.5)


def test_a_copy_is_another_one_with_all_durations_doubled() -> None:
    one = LatencyHistogram()
    for seconds in (0.01, 0.02, 0.03):
        one.add(seconds)
    other = one.copy(doublings=2)
    one.add(9.0)

    assert (other.count, other.total) == (3, 3)
    assert other.quantile(1.0) == pytest.approx(4 * 0.03, rel=0.1)
    assert other.copy(doublings=-2).quantile(1.0) == pytest.approx(0.03, rel=0.1)


def test_durations_add_up_and_say_what_has_come_since() -> None:
    histogram = LatencyHistogram(memory=None)
    for seconds in (0.01,) * 90 + (0.5,) * 10:
        histogram.add(seconds)
    before = histogram.frozen()
    for _ in range(100):
        histogram.add(2.0)
    after = histogram.frozen()

    assert (before.count, before.mean_s) == (100, pytest.approx(0.059))
    assert before.p50_s == pytest.approx(0.01, rel=0.1)
    assert before.p95_s == before.p99_s == pytest.approx(0.5, rel=0.1)
    assert (after - before).count == 100
    assert (after - before).quantile(0.01) == pytest.approx(2.0, rel=0.1)
    assert (before + (after - before)) == after
    assert before - Durations() == before
    assert Durations() + before == before


def test_no_durations_are_no_seconds() -> None:
    assert (Durations().count, Durations().mean_s, Durations().p99_s, Durations().steps()) == (0, 0.0, 0.0, [])
    assert LatencyHistogram().frozen() == Durations()


def test_steps_are_those_of_a_histogram() -> None:
    histogram = LatencyHistogram(memory=None)
    for seconds in (0.01, 0.01, 0.012):
        histogram.add(seconds)
    steps = histogram.frozen().steps()

    assert sum(count for _, count in steps) == 3
    assert steps[0][1] == 2
    assert steps[-1][1] == 1
    assert steps[0][0] < 0.012 < steps[-1][0] * 1.0001
