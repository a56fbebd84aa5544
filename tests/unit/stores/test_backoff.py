from __future__ import annotations

import pytest

from asyncio_loader import errors
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.backoff import backoff_s, is_retryable


@pytest.mark.parametrize(
    "kind", [errors.ConnectionLost, errors.FetchTimeout, errors.ServerFault, errors.ShortRead, errors.Throttled]
)
def test_what_a_later_request_may_cure_is_retryable(kind: type[errors.FetchError]) -> None:
    assert is_retryable(kind("x"))


@pytest.mark.parametrize(
    "error",
    [errors.ObjectNotFound("x"), errors.AccessDenied("x"), errors.ConfigError("x"), errors.DecodeError("x"), OSError()],
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
