"""A function on several threads, with the order kept and what waits bounded in bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from asyncio_loader.bridge.loop_thread import WAKE_S
from asyncio_loader.bridge.native_threads import OpenCvShare, TorchShare
from asyncio_loader.bridge.thread_end import wait_until_gone
from asyncio_loader.stats import Counters
from asyncio_loader.trace import Recorder

__all__ = ["OrderedThreadMap"]

# A thread that Python has joined is gone within microseconds.
_GONE_S = 5.0

T = TypeVar("T")
R = TypeVar("R")


class OrderedThreadMap(Generic[T, R]):
    """Applies a function to items as they come, on daemon threads; results come out in the items' order.

    The threads take items only while fewer than `budget_items` results wait for the consumer and hold less than
    `budget_bytes`; each thread may exceed that by the one result it is making. The consumer's next result is always
    either there, being made, or next to be taken, so the budget cannot deadlock.

    The threads share what OpenCV and torch have of their own: see `native_threads`. OpenCV's number is lowered until
    `close`.

    One consumer thread; `close` may be called from any thread, and after a fork does nothing harmful.
    """

    def __init__(
        self,
        take: Callable[[], T | None],
        apply: Callable[[T], tuple[R, int]],
        *,
        threads: int,
        budget_bytes: int,
        budget_items: int,
        counters: Counters | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Start the threads.

        Args:
            take: the next item in order, blocking; None at the end, then and ever after.
            apply: the function: a result and its size in bytes; what it raises comes out of `get` in its place.
            threads: how many, at least 1.
            budget_bytes: bound on the bytes of the results that wait.
            budget_items: bound on their number.
            counters: where it counts how long the function takes, and how long a thread waits for the consumer.
            recorder: of a trace, for the latter. None: there is none.
        """
        self._counters = counters or Counters()
        self._counters.threads = threads
        self._recorder = recorder
        self._take = take
        self._apply = apply
        self._budget_bytes = budget_bytes
        self._budget_items = budget_items
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._done: dict[int, tuple[R | None, BaseException | None, int]] = {}
        self._taken = 0
        self._next = 0
        self._wanted = 1
        self._end: int | None = None
        self._waiting_bytes = 0
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"asyncio-loader-transform-{n}", daemon=True)
            for n in range(threads)
        ]
        self._opencv, self._torch = OpenCvShare(threads), TorchShare(threads)
        for thread in self._threads:
            thread.start()
        self._torch.settle()

    def get(self, wanted: int = 1) -> R | None:
        """The next result in order, or None at the end. Blocks; raises what `apply` or `take` raised in its place.

        Args:
            wanted: results that the consumer needs before it can do anything. Where it has to wait, it is woken when
                about so many are there, or no further one is made before it takes some: waking it for each one takes
                the GIL from the threads each time. There must be as many to come.
        """
        with self._changed:
            if self._next not in self._done:
                self._wanted = wanted
                while not self._is_worth_waking():
                    if self._is_closed or self._next == self._end:
                        return None
                    self._changed.wait(WAKE_S)
            result, error, size = self._done.pop(self._next)
            self._next += 1
            self._waiting_bytes -= size
            self._changed.notify_all()
        if error is not None:
            raise error
        return result

    @property
    def is_ready(self) -> bool:
        """Whether `get` returns or raises at once."""
        with self._changed:
            return self._next in self._done or self._is_closed or self._next == self._end

    def close(self) -> None:
        """End the threads as soon as they have finished the item in hand; drop all results. Idempotent.

        `take` must have been made to return first (see `Feed.close`); this waits for the threads, unless it is run by
        one of them, which happens when the collector finds the owner there.
        """
        with self._changed:
            self._is_closed = True
            self._done.clear()
            self._changed.notify_all()
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()
            wait_until_gone([thread.native_id for thread in self._threads if thread.native_id], _GONE_S)
        self._opencv.release()

    def _work(self) -> None:
        self._torch.enter()
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """One item; whether there was one. With this frame goes what it holds, before the next item is waited for."""
        with self._turn:
            ticket = self._draw()
        if ticket is None:
            return False
        order, item = ticket
        started_s = time.perf_counter()
        result, error, size_bytes = self._attempt(item)
        self._settle(order, result, error, size_bytes, time.perf_counter() - started_s)
        return True

    def _draw(self) -> tuple[int, T] | None:
        """The next item and its number, once there is room for its result; one thread at a time."""
        with self._changed:
            if self._is_full() and not self._is_closed:
                self._wait_for_room()
            if self._is_closed or self._end is not None:
                return None
        try:
            item = self._take()
        except BaseException as error:  # noqa: BLE001 - not handled here: `get` raises it in the consumer's thread
            self._stop_at(self._taken + 1)
            self._settle(self._taken, None, error, 0, 0.0)
            return None
        if item is None:
            self._stop_at(self._taken)
            return None
        self._taken += 1
        return self._taken - 1, item

    def _wait_for_room(self) -> None:
        started_s = time.perf_counter()
        while self._is_full() and not self._is_closed:
            self._changed.wait()
        self._counters.blocked_s += time.perf_counter() - started_s
        if self._recorder is not None:
            self._recorder.wait("waits for the consumer", started_s)

    def _is_worth_waking(self) -> bool:
        """Whether the next result is there, with as many as the consumer wants, or all that there will be."""
        if self._next not in self._done:
            return False
        return len(self._done) >= self._wanted or self._end is not None or self._is_full()

    def _is_full(self) -> bool:
        return self._waiting_bytes >= self._budget_bytes or len(self._done) >= self._budget_items

    def _attempt(self, item: T) -> tuple[R | None, BaseException | None, int]:
        try:
            result, size_bytes = self._apply(item)
        except BaseException as error:  # noqa: BLE001 - not handled here: `get` raises it in the consumer's thread
            return None, error, 0
        return result, None, size_bytes

    def _settle(
        self, order: int, result: R | None, error: BaseException | None, size_bytes: int, took_s: float
    ) -> None:
        with self._changed:
            if self._is_closed:
                return
            self._counters.note_transform(took_s)
            self._waiting_bytes += size_bytes
            self._done[order] = result, error, size_bytes
            if self._is_worth_waking():
                self._changed.notify_all()

    def _stop_at(self, order: int) -> None:
        with self._changed:
            self._end = order
            self._changed.notify_all()
