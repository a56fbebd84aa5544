"""How long things took, in quantiles. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Durations", "LatencyHistogram"]

# Steps of 9 % from 61 µs to 1,024 s.
_STEPS_PER_DOUBLING = 8
_LEAST_LOG2 = -14
_PLACES = (10 - _LEAST_LOG2) * _STEPS_PER_DOUBLING


@dataclass(frozen=True, slots=True, repr=False)
class Durations:
    """How many durations there were of each length, as they were at one time. Immutable.

    Args:
        counts: durations per step of 9 %, the shortest first; none: there were none.
        sum_s: of all of them, seconds.
    """

    counts: tuple[int, ...] = ()
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def mean_s(self) -> float:
        """Seconds; 0 where there were none."""
        return self.sum_s / self.count if self.counts and self.count else 0.0

    @property
    def p50_s(self) -> float:
        """The median, seconds."""
        return self.quantile(0.50)

    @property
    def p95_s(self) -> float:
        """What 95 in 100 did not exceed, seconds."""
        return self.quantile(0.95)

    @property
    def p99_s(self) -> float:
        """What 99 in 100 did not exceed, seconds."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Seconds that this share (0 to 1) did not exceed, rounded up to the next step of 9 %; 0 without any."""
        count = self.count
        return _quantile(self.counts, count, share) if count else 0.0

    def steps(self) -> list[tuple[float, int]]:
        """Upper bound in seconds and number of each step from the first to the last that has any: for a histogram."""
        filled = [place for place, count in enumerate(self.counts) if count]
        if not filled:
            return []
        return [(_upper_s(place), self.counts[place]) for place in range(filled[0], filled[-1] + 1)]

    def __repr__(self) -> str:
        if not self.count:
            return "<no durations>"
        p50, p95, p99 = (f"{1000 * seconds:.3g}" for seconds in (self.p50_s, self.p95_s, self.p99_s))
        return f"<{self.count} durations, p50 {p50} ms, p95 {p95}, p99 {p99}>"

    def __add__(self, other: Durations) -> Durations:
        """Those of both."""
        if not self.counts or not other.counts:
            return Durations(self.counts or other.counts, self.sum_s + other.sum_s)
        counts = tuple(map(int.__add__, self.counts, other.counts))
        return Durations(counts, self.sum_s + other.sum_s)

    def __sub__(self, earlier: Durations) -> Durations:
        """Those that have come since an earlier time."""
        if not earlier.counts:
            return self
        return Durations(tuple(map(int.__sub__, self.counts, earlier.counts)), self.sum_s - earlier.sum_s)


class LatencyHistogram:
    """Counts durations in steps of 9 %, and may forget: what is older than `memory` of them then hardly counts.

    Adding costs a fifth of a microsecond, a quantile 10. For one thread.

    Args:
        memory: when so many have come, all counts are halved. None: never.
    """

    __slots__ = ("_counts", "_memory", "count", "sum_s", "total")

    def __init__(self, memory: int | None = 1024) -> None:
        self._counts = [0] * _PLACES
        self._memory = math.inf if memory is None else memory
        self.count = 0
        """Durations that are remembered."""
        self.total = 0
        """Durations that have come in all."""
        self.sum_s = 0.0
        """Seconds, of all that have come."""

    def add(self, seconds: float) -> None:
        """Remember a duration."""
        place = int((math.log2(seconds) - _LEAST_LOG2) * _STEPS_PER_DOUBLING) if seconds > 0 else 0
        self._counts[min(max(place, 0), _PLACES - 1)] += 1
        self.total += 1
        self.sum_s += seconds
        self.count += 1
        if self.count >= self._memory:
            self._counts = [count // 2 for count in self._counts]
            self.count = sum(self._counts)

    def copy(self, doublings: int = 0) -> LatencyHistogram:
        """Another one with the same durations, each doubled so many times."""
        other = LatencyHistogram()
        other._memory = self._memory
        shift = doublings * _STEPS_PER_DOUBLING
        for place, count in enumerate(self._counts):
            other._counts[min(max(place + shift, 0), _PLACES - 1)] += count
        other.count, other.total, other.sum_s = self.count, self.total, self.sum_s * 2.0**doublings
        return other

    def frozen(self) -> Durations:
        """As it is now, from any thread."""
        return Durations(tuple(self._counts), self.sum_s) if self.total else Durations()

    def quantile(self, share: float) -> float:
        """Seconds that this share (0 to 1) of the remembered durations does not exceed, rounded up to the next step.

        Raises:
            ValueError: there are none.
        """
        if self.count == 0:
            raise ValueError("no durations yet")
        return _quantile(self._counts, self.count, share)


def _upper_s(place: int) -> float:
    return float(2.0 ** (_LEAST_LOG2 + (place + 1) / _STEPS_PER_DOUBLING))


def _quantile(counts: Sequence[int], count: int, share: float) -> float:
    wanted = share * count
    seen = 0
    for place, here in enumerate(counts):
        seen += here
        if here and seen >= wanted:
            return _upper_s(place)
    raise AssertionError("unreachable")
