from __future__ import annotations

import pytest

from asyncio_loader import errors
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.backoff import Tries, backoff_s, is_retryable, throttle_pause_s


@pytest.mark.parametrize(
    "kind",
    [
        errors.ChecksumMismatch,
        errors.ConnectionLost,
        errors.FetchTimeout,
        errors.ServerFault,
        errors.ShortRead,
        errors.Throttled,
    ],
)
def test_what_a_later_request_may_cure_is_retryable(kind: type[errors.FetchError]) -> None:
    assert is_retryable(kind("x"))


@pytest.mark.parametrize(
    "error",
    [
        errors.ObjectNotFound("x"),
        errors.AccessDenied("x"),
        errors.ObjectChanged("x"),
        errors.FetchError("x"),
        errors.ConfigError("x"),
        errors.DecodeError("x"),
        OSError(),
    ],
)
def test_what_stays_as_it_is_is_not(error: Exception) -> None:
    assert not is_retryable(error)


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(backoff_initial_s=0.1, backoff_max_s=1.0)

    ceilings = [backoff_s(policy, failures, lambda: 1.0) for failures in (1, 2, 3, 4, 5, 2000)]

    assert ceilings == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_the_jitter_is_full() -> None:
    policy = RetryPolicy(backoff_initial_s=0.1)

    assert backoff_s(policy, 1, lambda: 0.0) == 0.0
    assert backoff_s(policy, 1, lambda: 0.5) == pytest.approx(0.05)


def test_after_throttling_the_ceiling_has_bounds_of_its_own() -> None:
    policy = RetryPolicy(backoff_initial_s=0.01, backoff_max_s=100.0, throttle_backoff_max_s=1.0)

    pauses = [throttle_pause_s(policy, failures, None, lambda: 1.0) for failures in (1, 3, 4, 5, 2000)]

    assert pauses == pytest.approx([0.05, 0.05, 0.08, 0.16, 1.0])


def test_no_policy_asks_a_throttling_server_without_a_pause() -> None:
    policy = RetryPolicy(backoff_initial_s=0.0, backoff_max_s=0.0, throttle_backoff_max_s=0.0)

    assert throttle_pause_s(policy, 1, None, lambda: 0.5) == pytest.approx(0.025)


@pytest.mark.parametrize(("told_s", "least_s"), [(None, 0.0), (0.0, 0.0), (2.0, 2.0), (7.0, 7.0), (3600.0, 7.0)])
def test_the_server_says_how_long_to_stay_away_within_reason(told_s: float | None, least_s: float) -> None:
    policy = RetryPolicy(backoff_initial_s=1.0, retry_after_max_s=7.0)

    assert throttle_pause_s(policy, 1, told_s, lambda: 0.0) == least_s
    assert throttle_pause_s(policy, 1, told_s, lambda: 0.5) == least_s + 0.5


def _tries_of(policy: RetryPolicy, *failures: Exception) -> list[float | None]:
    tries = Tries(policy)
    return [tries.pause_s(error, 0.0, lambda: 0.0) for error in failures]


def test_as_many_attempts_as_the_policy_has() -> None:
    assert _tries_of(RetryPolicy(max_attempts=3), *[errors.ServerFault("500")] * 3) == [0.0, 0.0, None]


def test_throttling_costs_no_attempt() -> None:
    slow, fault = errors.Throttled("503"), errors.ServerFault("500")

    assert _tries_of(RetryPolicy(max_attempts=2), *[slow] * 50, fault, *[slow] * 50, fault) == [*[0.0] * 101, None]


def test_one_attempt_is_one_even_if_throttled() -> None:
    assert _tries_of(RetryPolicy(max_attempts=1), errors.Throttled("503")) == [None]


def test_wrong_bytes_are_fetched_anew_a_few_times_only() -> None:
    wrong, fault = errors.ChecksumMismatch("crc"), errors.ServerFault("500")

    assert _tries_of(RetryPolicy(), wrong, wrong, wrong) == [0.0, 0.0, None]
    assert _tries_of(RetryPolicy(), wrong, fault, fault, wrong, fault, wrong) == [*[0.0] * 5, None]
    assert _tries_of(RetryPolicy(max_attempts=2), wrong, wrong) == [0.0, None]


@pytest.mark.parametrize("error", [errors.ServerFault("500"), errors.Throttled("503")])
def test_no_pause_leads_beyond_the_deadline(error: Exception) -> None:
    policy = RetryPolicy(deadline_s=10.0, backoff_initial_s=2.0)

    assert Tries(policy).pause_s(error, 9.0, lambda: 0.5) == 1.0
    assert Tries(policy).pause_s(error, 9.1, lambda: 0.5) is None


def test_who_shall_stay_away_beyond_the_deadline_gives_up_at_once() -> None:
    told = errors.Throttled("503", retry_after_s=30.0)

    assert Tries(RetryPolicy(deadline_s=20.0)).pause_s(told, 0.0, lambda: 0.0) is None


def test_refusals_do_not_lengthen_the_pause_after_a_lost_connection_nor_the_other_way_round() -> None:
    tries = Tries(RetryPolicy(backoff_initial_s=0.1))
    refused, lost = errors.Throttled("slow down"), errors.ConnectionLost("reset")

    pauses = [tries.pause_s(error, 0.0, lambda: 1.0) for error in (refused, refused, refused, lost, refused, lost)]

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.8, 0.2])
