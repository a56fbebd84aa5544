"""The few objects that were waited for longest."""

from __future__ import annotations

import heapq
from typing import NamedTuple

__all__ = ["SlowObject", "Slowest"]

_KEPT = 10


class SlowObject(NamedTuple):
    """An object that was waited for.

    Attributes:
        wait_s: seconds that nothing could be transformed or trained for want of it.
        uri: which one.
    """

    wait_s: float
    uri: str


class Slowest:
    """Keeps the ten longest waits. For one writing thread at a time; `ranking` is for any."""

    __slots__ = ("_heap", "least_s")

    def __init__(self) -> None:
        self._heap: list[SlowObject] = []
        self.least_s = 0.0
        """A shorter wait is not kept."""

    def add(self, wait_s: float, uri: str) -> None:
        """Note a wait."""
        if wait_s <= self.least_s:
            return
        if len(self._heap) < _KEPT:
            heapq.heappush(self._heap, SlowObject(wait_s, uri))
        else:
            heapq.heapreplace(self._heap, SlowObject(wait_s, uri))
            self.least_s = self._heap[0].wait_s

    def frozen(self) -> tuple[SlowObject, ...]:
        """The longest first."""
        return tuple(sorted(self._heap, reverse=True))
