"""What is worth a second try, and after how long. Pure."""

from __future__ import annotations

from collections.abc import Callable

from asyncio_loader.errors import ChecksumMismatch, ConnectionLost, FetchTimeout, ServerFault, ShortRead, Throttled
from asyncio_loader.options import RetryPolicy

__all__ = ["Tries", "backoff_s", "is_retryable", "throttle_pause_s"]

_RETRYABLE = (ChecksumMismatch, ConnectionLost, FetchTimeout, ServerFault, ShortRead, Throttled)

# Without attempts to count, a policy that makes no pauses would ask a throttling server as fast as it can refuse.
_LEAST_THROTTLE_CEILING_S = 0.05


def is_retryable(error: BaseException) -> bool:
    """True for what a later request may cure, see `RetryPolicy`."""
    return isinstance(error, _RETRYABLE)


def backoff_s(policy: RetryPolicy, failures: int, draw: Callable[[], float]) -> float:
    """Seconds to wait after the `failures`-th failure (from 1): full jitter, see `RetryPolicy`.

    `draw` returns a number in [0, 1), as `random.random` does.
    """
    return draw() * min(policy.backoff_max_s, _doubled(policy.backoff_initial_s, failures))


def throttle_pause_s(
    policy: RetryPolicy, failures: int, retry_after_s: float | None, draw: Callable[[], float]
) -> float:
    """As `backoff_s`, after throttling; `retry_after_s` is what the server said."""
    ceiling = min(policy.throttle_backoff_max_s, _doubled(policy.backoff_initial_s, failures))
    told_s = min(retry_after_s or 0.0, policy.retry_after_max_s)
    return told_s + draw() * max(_LEAST_THROTTLE_CEILING_S, ceiling)


def _doubled(initial_s: float, failures: int) -> float:
    # 2.0 ** 1024 overflows a float; the ceiling is reached long before.
    return initial_s * 2.0 ** min(failures - 1, 64)


class Tries:
    """The failures of one object, and what follows from them.

    Attributes:
        failures: how many there were.
    """

    __slots__ = ("_counted", "_mismatches", "_policy", "failures")

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._counted = 0
        self._mismatches = 0
        self.failures = 0

    def pause_s(self, error: BaseException, elapsed_s: float, draw: Callable[[], float]) -> float | None:
        """Count a failure; seconds until the next try, None if there is to be none.

        Args:
            error: what happened.
            elapsed_s: seconds since the first try began.
            draw: see `backoff_s`.
        """
        policy = self._policy
        self.failures += 1
        self._counted += not isinstance(error, Throttled)
        self._mismatches += isinstance(error, ChecksumMismatch)
        if not is_retryable(error) or self._is_used_up():
            return None
        # Each kind by its own count: a connection that is lost after four refusals is lost for the first time.
        if isinstance(error, Throttled):
            pause_s = throttle_pause_s(policy, self.failures - self._counted, error.retry_after_s, draw)
        else:
            pause_s = backoff_s(policy, self._counted, draw)
        return pause_s if elapsed_s + pause_s <= policy.deadline_s else None

    def _is_used_up(self) -> bool:
        policy = self._policy
        if policy.max_attempts == 1:
            return True
        return self._counted >= policy.max_attempts or self._mismatches >= policy.checksum_attempts
