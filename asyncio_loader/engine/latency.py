"""How long GETs took lately, in quantiles. Pure."""

from __future__ import annotations

import math

__all__ = ["LatencyHistogram"]

# Steps of 9 % from 61 µs to 1,024 s.
_STEPS_PER_DOUBLING = 8
_LEAST_LOG2 = -14
_PLACES = (10 - _LEAST_LOG2) * _STEPS_PER_DOUBLING


class LatencyHistogram:
    """Counts durations in steps of 9 %, and forgets: what is older than `memory` of them hardly counts.

    Adding costs a fifth of a microsecond, a quantile 10. For one thread.

    Args:
        memory: when so many have come, all counts are halved.
    """

    __slots__ = ("_counts", "_memory", "count", "total")

    def __init__(self, memory: int = 1024) -> None:
        self._counts = [0] * _PLACES
        self._memory = memory
        self.count = 0
        """Durations that are remembered."""
        self.total = 0
        """Durations that have come in all."""

    def add(self, seconds: float) -> None:
        """Remember a duration."""
        place = int((math.log2(seconds) - _LEAST_LOG2) * _STEPS_PER_DOUBLING) if seconds > 0 else 0
        self._counts[min(max(place, 0), _PLACES - 1)] += 1
        self.total += 1
        self.count += 1
        if self.count >= self._memory:
            self._counts = [count // 2 for count in self._counts]
            self.count = sum(self._counts)

    def copy(self, doublings: int = 0) -> LatencyHistogram:
        """Another one with the same durations, each doubled so many times."""
        other = LatencyHistogram(self._memory)
        shift = doublings * _STEPS_PER_DOUBLING
        for place, count in enumerate(self._counts):
            other._counts[min(max(place + shift, 0), _PLACES - 1)] += count
        other.count, other.total = self.count, self.total
        return other

    def quantile(self, share: float) -> float:
        """Seconds that this share (0 to 1) of the remembered durations does not exceed, rounded up to the next step.

        Raises:
            ValueError: there are none.
        """
        if self.count == 0:
            raise ValueError("no durations yet")
        wanted = share * self.count
        seen = 0
        for place, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return float(2.0 ** (_LEAST_LOG2 + (place + 1) / _STEPS_PER_DOUBLING))
        raise AssertionError("unreachable")
