"""The pace by itself, fed with what came back; with a level and a gate it is in test_pressure.py."""

from __future__ import annotations

import random

import pytest

from asyncio_loader.engine.pace import Pace
from asyncio_loader.engine.pressure import Ended


def feed_pace(pace: Pace, now_s: float, seconds: float, rate: float, refused: float) -> float:
    draw = random.Random(now_s)
    end_s = now_s + seconds
    while now_s < end_s:
        now_s += 1.0 / rate
        pace.note(Ended.REFUSED if draw.random() < refused else Ended.WELL, 0.01, now_s)
    return now_s


def test_a_pace_begins_at_what_was_not_refused() -> None:
    pace = Pace()
    feed_pace(pace, 0.0, 1.0, 1000.0, 0.0)
    assert not pace.is_on
    feed_pace(pace, 1.0, 0.3, 1000.0, 0.5)

    assert pace.rate == pytest.approx(475.0, rel=0.15)


def refuse(pace: Pace, now_s: float, rate: float, refused: float) -> float:
    """Until a pace has begun, or for 2 s."""
    end_s = now_s + 2.0
    while not pace.is_on and now_s < end_s:
        now_s = feed_pace(pace, now_s, 0.01, rate, refused)
    return now_s


def test_a_pace_that_changes_nothing_is_dropped_and_tried_again_later() -> None:
    pace = Pace()
    now_s = refuse(pace, 0.0, 1000.0, 0.2)
    assert pace.is_on
    now_s = feed_pace(pace, now_s, 0.6, 760.0, 0.2)
    assert not pace.is_on
    now_s = refuse(pace, now_s, 1000.0, 0.2)
    assert not pace.is_on
    now_s = feed_pace(pace, now_s, 30.0, 100.0, 0.0)
    refuse(pace, now_s, 1000.0, 0.2)

    assert pace.is_on


def test_more_refusals_than_the_ignored_ones_are_heeded() -> None:
    pace = Pace()
    now_s = refuse(pace, 0.0, 1000.0, 0.2)
    now_s = feed_pace(pace, now_s, 0.6, 760.0, 0.2)
    assert not pace.is_on
    refuse(pace, now_s, 1000.0, 0.6)

    assert pace.is_on


def test_a_time_without_answers_says_nothing_about_the_rate() -> None:
    pace = Pace()
    now_s = feed_pace(pace, 0.0, 1.0, 1000.0, 0.0)
    # Bursts of 100 at 1,000 per second, a second apart: all wait for one object in between.
    while not pace.is_on:
        now_s = feed_pace(pace, now_s, 0.1, 1000.0, 0.2) + 1.0

    assert 400.0 < pace.rate < 1000.0


@pytest.mark.parametrize("seed", range(20))
def test_a_stall_in_a_storm_is_no_throttle(seed: int) -> None:
    """A fifth of all is refused, whatever the rate, and what comes in a stall says nothing more."""
    pace = Pace()
    now_s = feed_pace(pace, float(seed), 3.0, 1000.0, 0.2)
    assert not pace.is_on
    for _ in range(20):
        # One after the other: retries of the objects that are still missing.
        now_s = feed_pace(pace, now_s, 2.0, 15.0, 0.2)
        now_s = feed_pace(pace, now_s, 0.5, 1000.0, 0.2)
        assert pace.rate > 300.0


def test_refusals_in_a_stall_begin_no_pace() -> None:
    pace = Pace()
    now_s = feed_pace(pace, 0.0, 1.0, 1000.0, 0.0)
    now_s = feed_pace(pace, now_s, 3.0, 15.0, 0.5)
    assert not pace.is_on
    feed_pace(pace, now_s, 0.6, 1000.0, 0.5)

    assert pace.is_on
    assert pace.rate > 400.0


def test_a_pace_that_nobody_needs_is_dropped() -> None:
    pace = Pace()
    now_s = refuse(pace, 0.0, 1000.0, 0.5)
    rate = pace.rate
    now_s = feed_pace(pace, now_s, 10.0, 100.0, 0.0)
    assert pace.rate == rate
    feed_pace(pace, now_s, 25.0, 100.0, 0.0)

    assert not pace.is_on


def test_what_is_refused_is_no_reason_to_go_faster() -> None:
    """Answers that come in bursts look as if more than the pace went well."""
    pace = Pace()
    now_s = refuse(pace, feed_pace(pace, 0.0, 1.0, 200.0, 0.0), 200.0, 0.3)
    assert pace.is_on

    for second in range(60):
        now_s += 1.0
        for number in range(110):
            now_s += 0.0005
            pace.is_wanted = True
            before = pace.rate
            is_refused = second < 3 and number % 5 < 2
            pace.note(Ended.REFUSED if is_refused else Ended.WELL, 0.05, now_s)
            assert pace.rate <= before or not is_refused


@pytest.mark.parametrize("seed", range(40))
def test_no_weather_breaks_it(seed: int) -> None:
    draw = random.Random(seed)
    pace, now_s = Pace(), 0.0

    for _ in range(300):
        refused, gap_s, latency_s = draw.choice((0.0, 0.1, 0.5)), draw.choice((0.0002, 0.005, 0.05)), draw.random()
        now_s += draw.choice((0.0, 0.0, 0.5, 5.0))
        for _ in range(draw.randrange(1, 120)):
            now_s += gap_s
            pace.is_wanted = pace.is_wanted or draw.random() < 0.5
            pace.note(Ended.REFUSED if draw.random() < refused else Ended.WELL, latency_s, now_s)
            assert isinstance(pace.rate, float)
            assert pace.rate >= 10.0
