"""Credits: how many bytes and objects may be under way or waiting, and who is next to get some."""

from __future__ import annotations

import asyncio
import heapq
import time
from dataclasses import dataclass

__all__ = ["Credit", "SizeEstimate", "Window"]


@dataclass(eq=False, slots=True)
class _Request:
    order: int
    credit: Credit
    extra_bytes: int
    is_new: bool
    granted: asyncio.Future[None]

    def __lt__(self, other: _Request) -> bool:
        # That of a dataclass makes two tuples first; a heap asks several times per object.
        return self.order < other.order


class Window:
    """A budget of bytes and objects, handed out in the order of next use.

    A `Credit` is taken before the work starts and given back by the consumer, so nothing downstream ever blocks the
    loop. Requests are granted strictly by their `order` (the place in the consumer's sequence), never by luck. The
    oldest outstanding one is granted always, even beyond the budget: it is what the consumer waits for, or will wait
    for first, and an object larger than the whole budget could not come otherwise. So the bytes held never exceed
    the budget by more than that one object, and nothing can deadlock.

    Lives in one event loop; not thread-safe.

    Attributes:
        held_bytes: bytes granted and not given back.
        peak_bytes: the most bytes ever held.
    """

    def __init__(self, limit_bytes: int, limit_items: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_items = limit_items
        # Reserved in increasing order, hence the first one is the oldest.
        self._held: dict[int, Credit] = {}
        self._waiting: list[_Request] = []
        self._full_s = 0.0
        self._full_since = 0.0
        self.held_bytes = 0
        self.peak_bytes = 0

    @property
    def held_items(self) -> int:
        """Credits granted and not given back."""
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    @property
    def full_s(self) -> float:
        """Seconds so far during which somebody waited for room."""
        return self._full_s + (time.perf_counter() - self._full_since if self._waiting else 0.0)

    async def reserve(self, order: int, size_bytes: int) -> Credit:
        """A credit of so many bytes and one item; waits until it is this order's turn and there is room.

        Orders are unique, and asked for in increasing order. Cancelling it leaves the window as if never asked.
        """
        credit = self.reserve_now(order, size_bytes)
        if credit is None:
            credit = Credit(self, order)
            await self._grant(credit, size_bytes)
        return credit

    def reserve_now(self, order: int, size_bytes: int) -> Credit | None:
        """As `reserve`, where nobody has to wait for it; else None."""
        credit = Credit(self, order)
        return credit if self._take_if_free(credit, size_bytes) else None

    def close(self) -> None:
        """Take every credit back, whoever has it, and forget who waits for one, whom somebody has cancelled.

        To be called when nothing of it will be used any more; giving a credit back after that does nothing.
        """
        if self._waiting:
            self._waiting.clear()
            self._note_room()
        for credit in list(self._held.values()):
            credit.release()

    def _resize_now(self, credit: Credit, size_bytes: int) -> bool:
        extra_bytes = size_bytes - credit.size_bytes
        if extra_bytes < 0:
            self._shrink(credit, -extra_bytes)
        return extra_bytes <= 0 or self._take_if_free(credit, extra_bytes)

    def _take_if_free(self, credit: Credit, extra_bytes: int) -> bool:
        if self._waiting and self._waiting[0].order < credit.order:
            return False
        if not self._fits(credit.order, extra_bytes):
            return False
        self._take(credit, extra_bytes)
        return True

    async def _grant(self, credit: Credit, extra_bytes: int) -> None:
        if self._take_if_free(credit, extra_bytes):
            return
        is_new = credit.order not in self._held
        request = _Request(credit.order, credit, extra_bytes, is_new, asyncio.get_running_loop().create_future())
        if not self._waiting:
            self._full_since = time.perf_counter()
        heapq.heappush(self._waiting, request)
        try:
            await request.granted
        except asyncio.CancelledError:
            self._withdraw(request)
            raise

    def _fits(self, order: int, extra_bytes: int) -> bool:
        if order <= next(iter(self._held), order):
            return True
        items = len(self._held) + (order not in self._held)
        return self.held_bytes + extra_bytes <= self._limit_bytes and items <= self._limit_items

    def _take(self, credit: Credit, extra_bytes: int) -> None:
        self._held[credit.order] = credit
        credit.size_bytes += extra_bytes
        self.held_bytes += extra_bytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)

    def _withdraw(self, request: _Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
            heapq.heapify(self._waiting)
            if not self._waiting:
                self._note_room()
            self._wake()
        elif not request.granted.cancelled():
            # Granted and cancelled in the same turn of the loop.
            if request.is_new:
                request.credit.release()
            else:
                self._shrink(request.credit, request.extra_bytes)

    def _shrink(self, credit: Credit, less_bytes: int) -> None:
        credit.size_bytes -= less_bytes
        self.held_bytes -= less_bytes
        self._wake()

    def _give_back(self, credit: Credit) -> None:
        if self._held.pop(credit.order, None) is not None:
            self._shrink(credit, credit.size_bytes)

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0].order, self._waiting[0].extra_bytes):
            request = heapq.heappop(self._waiting)
            if not self._waiting:
                self._note_room()
            if not request.granted.cancelled():
                self._take(request.credit, request.extra_bytes)
                request.granted.set_result(None)

    def _note_room(self) -> None:
        """Nobody waits any more."""
        self._full_s += time.perf_counter() - self._full_since


class Credit:
    """The right to hold so many bytes of one object. Made by `Window.reserve`.

    Attributes:
        order: place in the consumer's sequence.
        size_bytes: bytes it stands for.
    """

    __slots__ = ("_window", "order", "size_bytes")

    def __init__(self, window: Window, order: int) -> None:
        self._window = window
        self.order = order
        self.size_bytes = 0

    async def __call__(self, size_bytes: int) -> None:
        """As an `Admit`: `resize`."""
        await self.resize(size_bytes)

    def now(self, size_bytes: int) -> bool:
        """`resize` if that is possible without waiting; whether it was."""
        return self._window._resize_now(self, size_bytes)

    async def resize(self, size_bytes: int) -> None:
        """Correct the size once it is known. Shrinking is immediate; growing waits for room like a reservation.

        Cancelling it leaves the credit at its old size.
        """
        if not self.now(size_bytes):
            await self._window._grant(self, size_bytes - self.size_bytes)

    def release(self) -> None:
        """Give everything back. Idempotent."""
        self._window._give_back(self)


class SizeEstimate:
    """A running guess at the size of an object whose size nobody knows yet.

    Mean plus two mean deviations of what came so far, both smoothed as TCP smooths its round-trip time (RFC 6298:
    1/8 and 1/4), and never more than the largest that came: high enough that most bodies need not wait for their
    credit to grow.
    """

    __slots__ = ("_deviation", "_largest", "_mean")

    def __init__(self, first_bytes: int = 128 * 1024) -> None:
        """Args: first_bytes: the guess before anything came; 128 KiB is a typical photograph of a dataset."""
        self._mean = float(first_bytes)
        self._deviation = 0.0
        self._largest = 0

    @property
    def size_bytes(self) -> int:
        """The guess, at least 1."""
        guess = int(self._mean + 2 * self._deviation)
        return max(1, min(guess, self._largest) if self._largest else guess)

    def learn(self, size_bytes: int) -> None:
        """Take a size into account that turned out."""
        self._largest = max(self._largest, size_bytes)
        error = size_bytes - self._mean
        self._mean += error / 8
        self._deviation += (abs(error) - self._deviation) / 4
