"""How long a request waits for its first byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.draws import draw_uniforms

__all__ = ["Latency"]

_NORMAL = NormalDist()
_Z99 = _NORMAL.inv_cdf(0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A lognormal first-byte latency, as the one of S3 roughly is, with a share of outliers.

    Attributes:
        median_s: half of the requests take less. 0: no latency at all, but for the slow ones.
        p99_s: one request in a hundred takes more. None: every request takes `median_s`.
        slow_fraction: share of the requests, 0 to 1, that take `slow_s` instead.
        slow_s: what those take.
        seed: another seed, other delays.
    """

    median_s: float = 0.0
    p99_s: float | None = None
    slow_fraction: float = 0.0
    slow_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.median_s >= 0:
            raise ConfigError(f"S3Simulator: median_s must be 0 or more, not {self.median_s!r}")
        if self.p99_s is not None and not (self.p99_s >= self.median_s > 0):
            raise ConfigError(
                f"S3Simulator: p99_s={self.p99_s!r} needs a median_s above 0 and not above it, not {self.median_s!r}"
            )
        if not 0 <= self.slow_fraction <= 1:
            raise ConfigError(f"S3Simulator: slow_fraction must lie in 0 to 1, not {self.slow_fraction!r}")
        if not self.slow_s >= 0:
            raise ConfigError(f"S3Simulator: slow_s must be 0 or more, not {self.slow_s!r}")

    @property
    def is_zero(self) -> bool:
        """True where no request waits, whatever its number."""
        return self.median_s == 0 and (self.slow_fraction == 0 or self.slow_s == 0)

    def delay_s(self, key: str, number: int) -> float:
        """Seconds before the first byte of request `number` (from 0) of `key`."""
        if self.is_zero:
            return 0.0
        tail, body = draw_uniforms(self.seed, "latency", key, number)
        if tail < self.slow_fraction:
            return self.slow_s
        if self.p99_s is None:
            return self.median_s
        sigma = math.log(self.p99_s / self.median_s) / _Z99
        return self.median_s * math.exp(sigma * _NORMAL.inv_cdf(body))
