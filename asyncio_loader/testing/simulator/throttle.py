"""Requests per second that the server takes; the rest is told 503 SlowDown, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asyncio_loader.errors import ConfigError

__all__ = ["Throttle", "ThrottlePlan", "TokenBucket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """A limit on requests per second: a token bucket, for all keys together or for each prefix of keys.

    A request takes a token. Where there is none it is refused, and costs none. S3 has such a limit for each prefix
    ("5,500 GET/HEAD requests per second per partitioned Amazon S3 prefix", Amazon S3 user guide).

    Attributes:
        per_second: tokens that a bucket gets per second.
        burst: tokens that a bucket holds at most; it begins full. None: those of a tenth of a second, at least 1.
        per_prefix: a bucket for each prefix. A listing belongs to the empty one.
        prefix_parts: how many parts of a key, ended by ``/``, are its prefix. None: all but the last, so that each
            "directory" has its own.
        retry_after_s: whole seconds, for a Retry-After header. None: without one, as S3 answers.
    """

    per_second: float
    burst: float | None = None
    per_prefix: bool = False
    prefix_parts: int | None = None
    retry_after_s: int | None = None

    def __post_init__(self) -> None:
        if not self.per_second > 0:
            raise ConfigError(f"Throttle.per_second must be above 0, not {self.per_second!r}")
        if self.burst is not None and not self.burst >= 1:
            raise ConfigError(f"Throttle.burst must be None or at least 1, not {self.burst!r}")
        if self.prefix_parts is not None and not (self.per_prefix and self.prefix_parts >= 1):
            raise ConfigError(
                f"Throttle.prefix_parts must be None, or at least 1 with per_prefix=True, not {self.prefix_parts!r}"
            )
        if self.retry_after_s is not None and (not isinstance(self.retry_after_s, int) or self.retry_after_s < 0):
            raise ConfigError(
                f"Throttle.retry_after_s must be None or whole seconds, 0 or more, not {self.retry_after_s!r}"
            )

    @property
    def burst_tokens(self) -> float:
        """`burst`, or what stands for it."""
        return max(1.0, self.per_second / 10) if self.burst is None else self.burst

    def prefix(self, key: str) -> str:
        """The part of a key that decides about its bucket; empty where there is one bucket for all."""
        if not self.per_prefix:
            return ""
        if self.prefix_parts is None:
            return key[: key.rfind("/") + 1]
        parts = key.split("/")[:-1]
        return "".join(f"{part}/" for part in parts[: self.prefix_parts])


class TokenBucket:
    """Fills at a steady rate, holds no more than `burst` tokens, begins full."""

    __slots__ = ("_burst", "_filled_s", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, now_s: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._filled_s = now_s

    def fill(self, now_s: float) -> float:
        """Add what has come since the last time. Returns the tokens that there are."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._per_second)
        self._filled_s = now_s
        return self._tokens

    def take(self) -> None:
        """Remove one."""
        self._tokens -= 1


class ThrottlePlan:
    """Decides about each request as it comes. One that meets several throttles needs a token of each."""

    def __init__(self, throttles: Sequence[Throttle] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttles = tuple(throttles)
        self._clock = clock
        self._buckets: dict[tuple[int, str], TokenBucket] = {}

    def __bool__(self) -> bool:
        return bool(self._throttles)

    def refuse(self, key: str) -> Throttle | None:
        """The throttle that has no token for a request of this key, or None: then the request has taken one of each."""
        now_s = self._clock()
        met = []
        for place, throttle in enumerate(self._throttles):
            bucket = self._bucket(place, throttle, key, now_s)
            # What rounding takes from a sum of waits shall not cost a token.
            if bucket.fill(now_s) < 1 - 1e-6:
                return throttle
            met.append(bucket)
        for bucket in met:
            bucket.take()
        return None

    def _bucket(self, place: int, throttle: Throttle, key: str, now_s: float) -> TokenBucket:
        name = (place, throttle.prefix(key))
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(throttle.per_second, throttle.burst_tokens, now_s)
        return bucket
