from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.latency import Latency


def draw_sorted(latency: Latency, count: int = 20_000) -> list[float]:
    return sorted(latency.delay_s(f"key {number}", 0) for number in range(count))


def test_median_and_p99_are_what_was_asked_for() -> None:
    delays = draw_sorted(Latency(median_s=0.03, p99_s=0.15))

    assert delays[len(delays) // 2] == pytest.approx(0.03, rel=0.03)
    assert delays[len(delays) * 99 // 100] == pytest.approx(0.15, rel=0.08)


def test_without_a_p99_every_request_takes_the_median() -> None:
    assert set(draw_sorted(Latency(median_s=0.02), 100)) == {0.02}


def test_the_slow_fraction_takes_its_time() -> None:
    delays = draw_sorted(Latency(median_s=0.01, slow_fraction=0.05, slow_s=7.0))

    assert delays.count(7.0) / len(delays) == pytest.approx(0.05, rel=0.15)
    assert delays.count(0.01) + delays.count(7.0) == len(delays)


def test_it_does_not_matter_who_asks_first() -> None:
    latency = Latency(median_s=0.03, p99_s=0.15, seed=4)

    assert latency.delay_s("b", 3) == Latency(median_s=0.03, p99_s=0.15, seed=4).delay_s("b", 3)
    assert latency.delay_s("b", 3) != latency.delay_s("b", 4)


def test_no_latency_is_none() -> None:
    assert Latency().delay_s("a", 0) == 0
    assert Latency().is_zero
    assert not Latency(slow_fraction=0.1).is_zero


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"median_s": -1}, "median_s must be 0 or more, not -1"),
        ({"median_s": 0.2, "p99_s": 0.1}, "p99_s=0.1 needs a median_s"),
        ({"p99_s": 0.1}, "p99_s=0.1 needs a median_s above 0"),
        ({"slow_fraction": 2}, "slow_fraction must lie in 0 to 1, not 2"),
        ({"slow_s": -1}, "slow_s must be 0 or more, not -1"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Latency(**wrong)
