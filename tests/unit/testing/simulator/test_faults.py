from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.faults import Fault, FaultPlan


def test_without_faults_nothing_happens() -> None:
    assert FaultPlan().decide("a", 0) is None


def test_times_counts_for_each_key() -> None:
    fault = Fault("status", times=2)
    plan = FaultPlan([fault])

    assert [plan.decide("a", number) for number in range(3)] == [fault, fault, None]
    assert plan.decide("b", 0) is fault


def test_so_many_requests_of_each_key_may_pass_before() -> None:
    fault = Fault("status", times=1, skip=2)
    plan = FaultPlan([fault])

    assert [plan.decide("a", number) for number in range(4)] == [None, None, fault, None]


def test_a_pattern_chooses_the_keys() -> None:
    plan = FaultPlan([Fault("reset", key="train/*7.jpg")])

    assert plan.decide("train/x/17.jpg", 0) is not None
    assert plan.decide("val/17.jpg", 0) is None


def test_a_credential_chooses_among_the_requests_of_a_key() -> None:
    plan = FaultPlan([Fault("reset", credential="AKIA*/us-east-1/*", times=1)])

    assert plan.asks_for_credential
    assert plan.decide("a", 0, "asia1/20260131/us-east-1/s3/aws4_request") is None
    assert plan.decide("a", 1, "akia1/20260131/us-east-1/s3/aws4_request") is not None


def test_what_meets_connections_is_planned_apart_and_draws_the_same() -> None:
    faults = [Fault("connect", rate=0.5), Fault("reset", rate=0.5)]
    requests, connections = FaultPlan(faults, seed=1), FaultPlan(faults, kinds=("connect",), seed=1)
    kinds = [{plan.decide("", number) for number in range(50)} for plan in (requests, connections)]

    assert kinds == [{None, faults[1]}, {None, faults[0]}]


def test_the_first_fault_that_meets_a_request_wins() -> None:
    first, second = Fault("status", times=1), Fault("stall")
    plan = FaultPlan([first, second])

    assert [plan.decide("a", 0), plan.decide("a", 1)] == [first, second]


def test_a_rate_meets_that_share_of_the_requests() -> None:
    plan = FaultPlan([Fault("short", rate=0.1)], seed=3)
    met = sum(plan.decide(f"key {number}", 0) is not None for number in range(5000))

    assert 0.08 < met / 5000 < 0.12


def test_the_order_of_arrival_does_not_matter() -> None:
    keys = [f"key {number}" for number in range(100)]
    forwards, backwards = (FaultPlan([Fault("short", rate=0.5, times=1)], seed=3) for _ in range(2))
    first = {key: forwards.decide(key, 0) for key in keys}
    second = {key: backwards.decide(key, 0) for key in reversed(keys)}

    assert first == second
    assert set(first.values()) == {None, Fault("short", rate=0.5, times=1)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "explode"}, "Fault.kind must be one of"),
        ({"kind": "status", "rate": 1.5}, "Fault.rate must lie in 0 to 1"),
        ({"kind": "status", "times": 0}, "Fault.times must be None or at least 1"),
        ({"kind": "status", "status": 200}, "Fault.status must lie in 300 to 599"),
        ({"kind": "corrupt", "head_bytes": 1}, "Fault.head_bytes is for"),
        ({"kind": "reset", "head_bytes": 1, "after_bytes": 1}, "Fault.head_bytes is for"),
        ({"kind": "length", "length_error_bytes": 0}, "Fault.length_error_bytes must not be 0"),
        ({"kind": "status", "skip": -1}, "Fault.skip must be 0 or more"),
        ({"kind": "slow", "delay_s": -1}, "Fault.delay_s must be 0 or more"),
        ({"kind": "drip", "bytes_s": 0}, "Fault.bytes_s must be above 0"),
        ({"kind": "connect", "key": "a"}, "have no say in what meets a connection"),
        ({"kind": "short", "after_bytes": -1}, "Fault.after_bytes must be None, 0 or more"),
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fault(**wrong)
