"""A function on several threads, with the order kept and what waits bounded in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["OrderedThreadMap"]

T = TypeVar("T")
R = TypeVar("R")


class OrderedThreadMap(Generic[T, R]):
    """Applies a function to items as they come, on daemon threads; results come out in the items' order.

    The threads take items only while the results that wait for the consumer hold fewer than `budget_bytes`; each
    thread may exceed that by the one result it is making. The consumer's next result is always either there, being
    made, or next to be taken, so the budget cannot deadlock.

    One consumer thread; `close` may be called from any thread, and after a fork does nothing harmful.
    """

    def __init__(
        self,
        take: Callable[[], T | None],
        apply: Callable[[T], R],
        *,
        threads: int,
        budget_bytes: int,
        size_of: Callable[[R], int],
    ) -> None:
        """Start the threads.

        Args:
            take: the next item in order, blocking; None at the end, then and ever after.
            apply: the function; what it raises comes out of `get` in that item's place.
            threads: how many, at least 1.
            budget_bytes: bound on the results that wait.
            size_of: bytes of a result.
        """
        self._take = take
        self._apply = apply
        self._size_of = size_of
        self._budget_bytes = budget_bytes
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._done: dict[int, tuple[R | None, BaseException | None, int]] = {}
        self._taken = 0
        self._next = 0
        self._end: int | None = None
        self._waiting_bytes = 0
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"asyncio-loader-transform-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def get(self) -> R | None:
        """The next result in order, or None at the end. Blocks; raises what `apply` or `take` raised in its place."""
        with self._changed:
            while self._next not in self._done:
                if self._is_closed or self._next == self._end:
                    return None
                self._changed.wait()
            result, error, size = self._done.pop(self._next)
            self._next += 1
            self._waiting_bytes -= size
            self._changed.notify_all()
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the threads as soon as they have finished the item in hand; drop all results. Idempotent.

        `take` must have been made to return first (see `Feed.close`); this waits for the threads.
        """
        with self._changed:
            self._is_closed = True
            self._done.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self) -> None:
        while True:
            with self._turn:
                ticket = self._draw()
            if ticket is None:
                return
            order, item = ticket
            self._settle(order, *self._attempt(item))

    def _draw(self) -> tuple[int, T] | None:
        """The next item and its number, once there is room for its result; one thread at a time."""
        with self._changed:
            while self._waiting_bytes >= self._budget_bytes and not self._is_closed:
                self._changed.wait()
            if self._is_closed or self._end is not None:
                return None
        try:
            item = self._take()
        except BaseException as error:  # noqa: BLE001 - not handled here: `get` raises it in the consumer's thread
            self._stop_at(self._taken + 1)
            self._settle(self._taken, None, error)
            return None
        if item is None:
            self._stop_at(self._taken)
            return None
        self._taken += 1
        return self._taken - 1, item

    def _attempt(self, item: T) -> tuple[R | None, BaseException | None]:
        try:
            return self._apply(item), None
        except BaseException as error:  # noqa: BLE001 - not handled here: `get` raises it in the consumer's thread
            return None, error

    def _settle(self, order: int, result: R | None, error: BaseException | None) -> None:
        size = 0 if result is None else self._size_of(result)
        with self._changed:
            self._waiting_bytes += size
            self._done[order] = result, error, size
            if order == self._next:
                self._changed.notify_all()

    def _stop_at(self, order: int) -> None:
        with self._changed:
            self._end = order
            self._changed.notify_all()
