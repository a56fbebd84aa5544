from __future__ import annotations

import random

import pytest

from asyncio_loader.engine.latency import LatencyHistogram


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
