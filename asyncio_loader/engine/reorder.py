"""What comes in any order goes out in the order it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ReorderBuffer"]

T = TypeVar("T")


class ReorderBuffer(Generic[T]):
    """Holds back what came early. Its size is bounded by whoever hands out the orders.

    Lives in one thread; `deliver` is called in it, once per item, in the order 0, 1, 2, …
    """

    __slots__ = ("_deliver", "_early", "_next")

    def __init__(self, deliver: Callable[[T], object]) -> None:
        self._deliver = deliver
        self._early: dict[int, T] = {}
        self._next = 0

    def next_order(self) -> int:
        """The order of the item that is to be delivered next."""
        return self._next

    def put(self, order: int, item: T) -> None:
        """Take an item in; delivers it and all that waited for it, if its turn has come."""
        self._early[order] = item
        while self._next in self._early:
            self._deliver(self._early.pop(self._next))
            self._next += 1
