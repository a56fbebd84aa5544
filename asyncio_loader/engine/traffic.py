"""GETs under way: how many there may be, and at what pace they begin, the oldest object first."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable

from asyncio_loader.engine.pace import Pace
from asyncio_loader.engine.pressure import Ended, Level
from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout, Throttled

__all__ = ["Gate", "Traffic"]

# So often is looked whether it is time, and twice as much may be made up for: finer than a server looks, and cheap.
_TICK_S = 0.01


class Traffic:
    """What the GETs of a prefetcher tell about level and pace, and what level and pace tell them.

    Lives in one event loop.

    Attributes:
        level: how many at once.
        pace: how many per second.
        gate: lets them begin.
    """

    __slots__ = ("_is_bound", "_loop", "gate", "level", "pace")

    def __init__(self, ceiling: int, is_bound: Callable[[], bool]) -> None:
        """Args: ceiling: GETs at once, at the most. is_bound: see `Level.note`; asked when a GET ends."""
        self._loop = asyncio.get_running_loop()
        self._is_bound = is_bound
        self.level = Level(ceiling, self._loop.time())
        self.pace = Pace()
        self.gate = Gate(self.level, self.pace)

    def note_well(self, size_bytes: int, latency_s: float) -> None:
        """A GET has brought its object, after so many seconds of the server's."""
        self._note(Ended.WELL, size_bytes, latency_s)

    def note_failed(self, error: FetchError, latency_s: float) -> None:
        """A GET has failed."""
        match error:
            case Throttled():
                ended = Ended.REFUSED
            case FetchTimeout() | ConnectionLost():
                ended = Ended.STRAINED
            case _:
                ended = Ended.OTHERWISE
        self._note(ended, 0, latency_s)

    def close(self) -> None:
        """Let no GET begin any more. Idempotent."""
        self.gate.close()

    def _note(self, ended: Ended, size_bytes: int, latency_s: float) -> None:
        now_s = self._loop.time()
        self.pace.note(ended, latency_s, now_s)
        is_paced = self.pace.is_on and self.pace.is_wanted
        is_bound = not is_paced and self._is_bound()
        self.level.note(ended, size_bytes, latency_s, now_s, is_bound=is_bound, is_paced=is_paced)


class Gate:
    """Lets GETs begin while fewer than `Level.limit` are under way, and at `Pace.rate`; both may change at any time.

    Lives in one event loop. Where nobody has to wait it costs a look at two numbers.

    Attributes:
        under_way: GETs that have entered and not left.
    """

    def __init__(self, level: Level, pace: Pace) -> None:
        self._level = level
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self._allowance = 0.0
        self._earned_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.under_way = 0

    def enter_now(self) -> bool:
        """Enter, if that is possible without waiting."""
        if self._waiting or not self._has_turn():
            return False
        self._take_turn()
        return True

    async def enter(self, order: int) -> None:
        """Wait until there is room and it is time; the least order is next. Cancelling it leaves all as it was."""
        if self.enter_now():
            return
        self._count += 1
        future: asyncio.Future[None] = self._loop.create_future()
        heapq.heappush(self._waiting, (order, self._count, future))
        self._set_timer()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """A GET has ended, or waits for something that is not the server's."""
        self.under_way -= 1
        if self._waiting:
            self._let_in()

    def come_back(self) -> None:
        """A GET that has left goes on: its request was let in before, and is not begun again."""
        self.under_way += 1

    def close(self) -> None:
        """Let nobody in any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _has_turn(self) -> bool:
        if self.under_way >= self._level.limit:
            return False
        if self._pace.rate == math.inf:
            return True
        self._earn()
        return self._allowance >= 1.0

    def _take_turn(self) -> None:
        self.under_way += 1
        self._allowance -= 1.0

    def _earn(self) -> None:
        now_s = self._loop.time()
        rate = self._pace.rate
        # What was taken while there was no pace is not owed.
        allowance = max(0.0, self._allowance) + rate * (now_s - self._earned_s)
        self._allowance = min(1.0 + 2.0 * rate * _TICK_S, allowance)
        self._earned_s = now_s

    def _let_in(self) -> None:
        while self._waiting and self._has_turn():
            future = heapq.heappop(self._waiting)[2]
            if not future.cancelled():
                self._take_turn()
                future.set_result(None)
        self._set_timer()

    def _set_timer(self) -> None:
        # Room is told by `leave`, time by nobody.
        if self._waiting and self.under_way < self._level.limit:
            self._pace.is_wanted = True
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._let_in()
