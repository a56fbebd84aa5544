"""The line of something that goes step by step."""

from __future__ import annotations

import time
from collections.abc import Callable

from asyncio_loader.progress.layout import Field, fit_row, whole_row
from asyncio_loader.progress.words import as_duration, as_percent, bar

__all__ = ["StepLine"]


class StepLine:
    """How many steps are done. Advanced by one thread, read by another.

    Args:
        name: of what goes on.
        total: steps in all, at least 1.
        clock: seconds.
    """

    def __init__(self, name: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._total = total
        self._clock = clock
        self._began_s = clock()
        # Together: the one that reads must not see a part of them.
        self._at: tuple[int, str] = (0, "")
        self._done_before: int | None = None

    def advance(self, done: int, note: str) -> None:
        """So many steps are done; `note` tells of the last one. What was done before the first call took no time."""
        if self._done_before is None:
            self._done_before = done - 1
        self._at = done, note

    def rows(self, width: int) -> list[str]:
        """See `Line`: one row."""
        return [fit_row(self._fields(has_bar=True), width)]

    def plain(self) -> str:
        """See `Line`."""
        return whole_row(self._fields(has_bar=False))

    def summary(self, width: int | None = None) -> str:
        """See `Line`."""
        done, note = self._at
        took = f"{done:,}/{self._total:,} in {as_duration(self._clock() - self._began_s)}"
        fields = [Field(2, (self._name,)), Field(1, (took,)), Field(3, (note,) if note else ())]
        return whole_row(fields) if width is None else fit_row(fields, width)

    def _fields(self, *, has_bar: bool) -> list[Field]:
        done, note = self._at
        share = done / self._total
        seconds = self._clock() - self._began_s
        before = self._done_before
        left_s = None if before is None else seconds / (done - before) * (self._total - done)
        return [
            Field(3, (self._name,)),
            Field(2, (f"{done:,}/{self._total:,}",)),
            Field(1, (as_percent(share),)),
            Field(6, tuple(bar(share, size) for size in (30, 20, 10)) if has_bar else ()),
            Field(4, (f"ETA {as_duration(left_s)}",)),
            Field(5, (note,) if note else ()),
        ]
