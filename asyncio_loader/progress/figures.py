"""What a loader did lately, from snapshots of its stats."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from asyncio_loader.stats import LoaderStats, Verdict, judge

__all__ = ["Reading", "RecentFigures", "as_scalars"]

# Seconds that figures are of: the first in which enough has come. A batch of a slow model takes longer than the least.
_SPANS_S = (5.0, 20.0, 60.0)

# As many as a verdict wants to see.
_ENOUGH_SAMPLES = 32

_MARK_EVERY_S = 1.0

_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Figures of the last seconds.

    Attributes:
        samples: that have come since the figures began.
        samples_per_s: samples handed to the consumer per second.
        steady_per_s: the same over the last minute, for an estimate of the time that is left.
        bytes_per_s: bytes of objects that came per second.
        wait_share: share of the time, 0 to 1, that the consumer stood still for data; a wait that is not over counts.
        waiting_s: seconds that the consumer has stood still by now; 0 where it does not.
        in_flight: objects that are being fetched now.
        level: how many may be at once, as it is now.
        held_bytes: of the window, taken.
        window_bytes: its limit.
        verdict: what limits the rate.
    """

    samples: int
    samples_per_s: float
    steady_per_s: float
    bytes_per_s: float
    wait_share: float
    waiting_s: float
    in_flight: int
    level: int
    held_bytes: int
    window_bytes: int
    verdict: Verdict


class RecentFigures:
    """Keeps a snapshot per second of the last minute, and tells what has happened since.

    Used from one thread at a time. A reading costs about 0.1 ms.

    Args:
        stats: the figures now; of a loader, or the sum of several.
        clock: seconds.
    """

    def __init__(self, stats: Callable[[], LoaderStats], clock: Callable[[], float] = time.monotonic) -> None:
        self._stats = stats
        self._clock = clock
        self._marks: deque[tuple[float, LoaderStats]] = deque([(clock(), stats())])
        self.began_s, self.began = self._marks[0]
        """The time and the figures of the first snapshot."""

    def read(self, waiting_since_s: float | None = None) -> Reading:
        """The figures of the shortest time in which enough has come.

        Args:
            waiting_since_s: time of the clock since when the consumer has stood still; None: it does not.
        """
        now_s, stats = self._clock(), self._stats()
        self._mark(now_s, stats)
        at_s, earlier = self._mark_for(now_s, stats)
        span_s, recent = now_s - at_s, stats.since(earlier)
        first_s, first = self._marks[0]
        waiting_s = 0.0 if waiting_since_s is None else max(0.0, now_s - waiting_since_s)
        waited_s = recent.wait_s + min(waiting_s, span_s)
        return Reading(
            samples=stats.samples - self.began.samples,
            samples_per_s=_per(recent.samples, span_s),
            steady_per_s=_per(stats.samples - first.samples, now_s - first_s),
            bytes_per_s=_per(recent.bytes_fetched, span_s),
            wait_share=min(1.0, _per(waited_s, span_s)),
            waiting_s=waiting_s,
            in_flight=stats.in_flight,
            level=stats.level,
            held_bytes=stats.held_bytes,
            window_bytes=stats.window_bytes,
            verdict=judge(recent),
        )

    def _mark(self, now_s: float, stats: LoaderStats) -> None:
        if now_s - self._marks[-1][0] >= _MARK_EVERY_S:
            self._marks.append((now_s, stats))
        # The second of them suffices for the longest span.
        while len(self._marks) > 1 and now_s - self._marks[1][0] >= _SPANS_S[-1]:
            self._marks.popleft()

    def _mark_for(self, now_s: float, stats: LoaderStats) -> tuple[float, LoaderStats]:
        found = self._marks[0]
        for span_s in _SPANS_S:
            found = next((mark for mark in reversed(self._marks) if now_s - mark[0] >= span_s), self._marks[0])
            if stats.samples - found[1].samples >= _ENOUGH_SAMPLES:
                break
        return found


def as_scalars(reading: Reading) -> dict[str, float]:
    """The figures by the names under which a training log has them; MB are 10**6 bytes."""
    return {
        "loader/samples_per_s": reading.samples_per_s,
        "loader/mb_per_s": reading.bytes_per_s / _MB,
        "loader/wait_share": reading.wait_share,
        "loader/in_flight": reading.in_flight,
        "loader/level": reading.level,
        "loader/buffer_mb": reading.held_bytes / _MB,
    }


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0
