from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.throttle import Throttle, ThrottlePlan


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def count_taken(plan: ThrottlePlan, keys: list[str]) -> int:
    return sum(plan.refuse(key) is None for key in keys)


def test_without_throttles_nothing_is_refused() -> None:
    assert not ThrottlePlan()
    assert ThrottlePlan().refuse("a") is None


def test_a_full_bucket_lets_its_burst_through() -> None:
    throttle = Throttle(per_second=10, burst=5)
    plan = ThrottlePlan([throttle], clock=Clock())

    assert [plan.refuse("a") for _ in range(7)] == [None] * 5 + [throttle] * 2


def test_a_bucket_fills_at_its_rate_and_no_further_than_its_burst() -> None:
    clock = Clock()
    plan = ThrottlePlan([Throttle(per_second=10, burst=5)], clock=clock)
    count_taken(plan, ["a"] * 5)
    clock.now_s += 0.3

    assert count_taken(plan, ["a"] * 9) == 3
    clock.now_s += 60
    assert count_taken(plan, ["a"] * 9) == 5


def test_a_client_at_twice_the_limit_gets_the_limit() -> None:
    clock = Clock()
    plan = ThrottlePlan([Throttle(per_second=500)], clock=clock)
    taken = 0
    for _ in range(10_000):
        clock.now_s += 0.001
        taken += plan.refuse("a") is None

    assert taken == pytest.approx(10 * 500, abs=51)


def test_the_usual_burst_is_a_tenth_of_a_second_and_at_least_one() -> None:
    assert Throttle(per_second=500).burst_tokens == 50
    assert Throttle(per_second=3).burst_tokens == 1


@pytest.mark.parametrize(
    ("parts", "prefix"), [(None, "a/b/c/"), (1, "a/"), (2, "a/b/"), (9, "a/b/c/")], ids=["all", "1", "2", "9"]
)
def test_a_prefix_is_so_many_parts_of_the_key(parts: int | None, prefix: str) -> None:
    throttle = Throttle(per_second=1, per_prefix=True, prefix_parts=parts)

    assert throttle.prefix("a/b/c/1.jpg") == prefix
    assert throttle.prefix("1.jpg") == ""


def test_each_prefix_has_its_own_bucket() -> None:
    plan = ThrottlePlan([Throttle(per_second=1, burst=2, per_prefix=True)], clock=Clock())

    assert count_taken(plan, ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"]) == 4


def test_what_one_throttle_refuses_costs_no_token_of_another() -> None:
    clock = Clock()
    shared, narrow = Throttle(per_second=1, burst=3), Throttle(per_second=1, burst=1, per_prefix=True)
    plan = ThrottlePlan([shared, narrow], clock=clock)

    assert [plan.refuse(key) for key in ("a/1", "a/2", "a/3", "b/1", "c/1", "d/1")] == [
        None,
        narrow,
        narrow,
        None,
        None,
        shared,
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"per_second": 0}, "Throttle.per_second must be above 0"),
        ({"per_second": 1, "burst": 0.5}, "Throttle.burst must be None or at least 1"),
        ({"per_second": 1, "prefix_parts": 1}, "Throttle.prefix_parts must be None, or at least 1 with per_prefix"),
        ({"per_second": 1, "per_prefix": True, "prefix_parts": 0}, "Throttle.prefix_parts"),
        ({"per_second": 1, "retry_after_s": 0.5}, "Throttle.retry_after_s must be None or whole seconds"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Throttle(**wrong)
