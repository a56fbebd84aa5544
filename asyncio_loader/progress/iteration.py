"""The line of a loader, for the length of an iteration."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from asyncio_loader.errors import ConfigError
from asyncio_loader.progress.figures import Reading, RecentFigures
from asyncio_loader.progress.layout import Field, fit_row, whole_row
from asyncio_loader.progress.modes import choose_mode
from asyncio_loader.progress.words import as_bytes_of, as_duration, as_mb_per_s, as_percent, as_rate, bar
from asyncio_loader.stats import Limit, LoaderStats, Verdict, judge

__all__ = ["IterationLine", "check_progress"]

T = TypeVar("T")

# Below this a wait is no news.
_LONG_WAIT_S = 3.0


def check_progress(progress: bool | str) -> str | None:
    """The name of the line that `Loader(progress=...)` asks for, "" for none of its own; None: no line.

    Raises:
        ConfigError: it is neither True, False nor a text; or the environment asks for what there is not.
    """
    if progress is False:
        return None
    if progress is not True and not (isinstance(progress, str) and progress):
        raise ConfigError(f"progress must be True, False or a name to show, not {progress!r}")
    # Not only when the line is shown: that may be hours later.
    choose_mode(sys.stderr)
    return "" if progress is True else progress


class IterationLine:
    """How an epoch of a loader goes. Read by one thread at a time; `waiting` is the consumer's.

    Args:
        name: of the loader; "": it has none.
        epoch: which epoch.
        stats: the figures now.
        left: samples that the consumer has still to get.
        total: samples of the epoch, those included that were consumed before a resume.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        epoch: int,
        *,
        stats: Callable[[], LoaderStats],
        left: Callable[[], int],
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._names = (f"{name}, epoch {epoch}", name) if name else (f"epoch {epoch}",)
        self._left = left
        self._total = total
        self._clock = clock
        self._figures = RecentFigures(stats, clock)
        self._stats = stats
        self._waiting_since_s: float | None = None

    def waiting(self, wait: Callable[[], T]) -> T:
        """Do something that may wait for data."""
        self._waiting_since_s = self._clock()
        try:
            return wait()
        finally:
            self._waiting_since_s = None

    def rows(self, width: int) -> list[str]:
        """See `Line`: two rows."""
        return [fit_row(fields, width) for fields in self._fields(has_bar=True)]

    def plain(self) -> str:
        """See `Line`."""
        first, second = self._fields(has_bar=False)
        return whole_row([*first, *second])

    def summary(self, width: int | None = None) -> str:
        """See `Line`."""
        done, _ = self._done(self._left())
        stats = self._stats().since(self._figures.began)
        seconds = max(self._clock() - self._figures.began_s, 1e-9)
        fields = [
            Field(3, self._names),
            Field(1, (f"{done:,}/{self._total:,} in {as_duration(seconds)}",)),
            Field(2, (as_rate(stats.samples / seconds, "img"),)),
            Field(6, (as_mb_per_s(stats.bytes_fetched / seconds),)),
            Field(4, (f"wait {as_percent(stats.wait_s / seconds)}",)),
            Field(5, _forms(judge(stats))),
        ]
        return whole_row(fields) if width is None else fit_row(fields, width)

    def _fields(self, *, has_bar: bool) -> tuple[list[Field], list[Field]]:
        """Those of two rows. The rank says which go first as the terminal gets narrower."""
        reading = self._figures.read(self._waiting_since_s)
        left = self._left()
        done, share = self._done(left)
        first = [
            Field(4, self._names),
            Field(5, (f"{done:,}/{self._total:,}",)),
            Field(1, (as_percent(share),)),
            Field(6, tuple(bar(share, size) for size in (30, 20, 10)) if has_bar else ()),
            Field(2, (as_rate(reading.samples_per_s, "img"),)),
            Field(3, (f"ETA {_eta(left, reading)}",)),
        ]
        second = [
            Field(3, (as_mb_per_s(reading.bytes_per_s),)),
            Field(4, (f"in flight {reading.in_flight}/{reading.level}",)),
            Field(5, (f"buffer {as_bytes_of(reading.held_bytes, reading.window_bytes)}",)),
            Field(1, (f"wait {as_percent(reading.wait_share)}",)),
            Field(2, _long_wait(reading) or _forms(reading.verdict)),
        ]
        return first, second

    def _done(self, left: int) -> tuple[int, float]:
        done = max(0, self._total - left)
        return done, done / self._total if self._total else 1.0


def _forms(verdict: Verdict) -> tuple[str, ...]:
    if verdict.limit is Limit.UNKNOWN:
        return (verdict.finding,)
    return verdict.finding, f"limit: {verdict.limit.value}", verdict.limit.value


def _long_wait(reading: Reading) -> tuple[str, ...]:
    if reading.waiting_s < _LONG_WAIT_S:
        return ()
    return f"waiting for data for {reading.waiting_s:.0f} s", f"waiting {reading.waiting_s:.0f} s"


def _eta(left: int, reading: Reading) -> str:
    return as_duration(left / reading.steady_per_s if reading.steady_per_s > 0 else None)
