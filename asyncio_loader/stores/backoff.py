"""What is worth a second try, and after how long. Pure."""

from __future__ import annotations

from collections.abc import Callable

from asyncio_loader.errors import ConnectionLost, FetchTimeout, ServerFault, ShortRead, Throttled
from asyncio_loader.options import RetryPolicy

__all__ = ["backoff_s", "is_retryable"]

_RETRYABLE = (ConnectionLost, FetchTimeout, ServerFault, ShortRead, Throttled)


def is_retryable(error: BaseException) -> bool:
    """True for what a later request may cure: timeouts, lost connections, short reads, throttling, 500/502/503/504."""
    return isinstance(error, _RETRYABLE)


def backoff_s(policy: RetryPolicy, failures: int, draw: Callable[[], float]) -> float:
    """Seconds to wait after the `failures`-th failure (from 1): full jitter, see `RetryPolicy`.

    `draw` returns a number in [0, 1), as `random.random` does.
    """
    # 2.0 ** 1024 overflows a float; the ceiling is reached long before.
    ceiling = min(policy.backoff_max_s, policy.backoff_initial_s * 2.0 ** min(failures - 1, 64))
    return draw() * ceiling
