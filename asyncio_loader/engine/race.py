"""One object's GET, and a second one against it: whichever has the head of its answer first is read."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable
from typing import Any

from asyncio_loader.engine.fetch import Getting
from asyncio_loader.engine.frames import without_frames
from asyncio_loader.engine.hedge import Hedging, SizeClass, StartTask
from asyncio_loader.engine.traffic import Gate, Traffic
from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout
from asyncio_loader.records import Buffer
from asyncio_loader.stores.backoff import is_retryable
from asyncio_loader.stores.base import Admit, ObjectStore

__all__ = ["HedgedGet"]

MIB = 1024 * 1024

# A body of which more than this is under way is not given up for a second GET; it is not the first byte that is late.
_SMALL_BYTES = MIB


class _State(enum.Enum):
    FIRST = enum.auto()  # the first GET runs
    LOST = enum.auto()  # it has been cancelled, since the second has the head of an answer
    SECOND = enum.auto()  # the second one alone runs
    LATE = enum.auto()  # given up


class HedgedGet(Getting):
    """One object's GETs, watched by a `Hedging`.

    `attempt` runs in one task at a time. Cancelling that cancels both GETs.

    Attributes:
        order: place in the consumer's sequence.
        size_bytes: of the object, known or expected.
        given_up: attempts that were too slow.
        begun_s: when the latest of them was, on the loop's clock.
        started_s: when that GET of it was begun that is now waited for.
        took_s: how long the server took for the last attempt.
    """

    __slots__ = (
        "_cancelling",
        "_first_end",
        "_has_head",
        "_hedging",
        "_kind",
        "_replaced",
        "_rested_before_s",
        "_second",
        "_second_admit",
        "_second_since_s",
        "_sign_s",
        "_state",
        "_task",
        "begun_s",
        "given_up",
        "order",
        "size_bytes",
        "started_s",
        "took_s",
    )

    _kind: SizeClass
    _second_since_s: float
    _sign_s: float
    _task: asyncio.Task[Any]

    def __init__(
        self, hedging: Hedging, store: ObjectStore, uri: str, admit: Admit, *, order: int, size_bytes: int
    ) -> None:
        super().__init__(store, uri, admit)
        self._hedging = hedging
        self.order = order
        self.size_bytes = size_bytes
        self.given_up = 0
        self._replaced = 0
        self._second: asyncio.Task[Buffer | FetchError] | None = None
        self._second_admit: _SecondAdmit | None = None
        self._first_end: asyncio.Future[None] | None = None

    def may_hedge(self, now_s: float, patience_s: float) -> bool:
        """Whether a second GET could be of use now; there is none for who is about to be cancelled.

        There is one at a time, which is replaced if it has taken `patience_s`, the next one after twice as long; but
        not one that has ended in what no other GET would mend.
        """
        return (
            self._state is _State.FIRST
            and (self._second is None or self._is_second_slow(now_s, patience_s))
            and not self.is_resting
            and not (self._has_head and self.size_bytes > _SMALL_BYTES)
            and self._task.cancelling() == self._cancelling
        )

    def _is_second_slow(self, now_s: float, patience_s: float) -> bool:
        assert self._second is not None
        return not self._second.done() and now_s - self._second_since_s >= patience_s * 2.0**self._replaced

    def is_second_stuck(self, now_s: float, patience_s: float) -> bool:
        """Whether the second GET alone is left, and has given no sign for so long; twice as long the next time."""
        return (
            self._state in (_State.LOST, _State.SECOND)
            and self.size_bytes <= _SMALL_BYTES
            and self.quiet_s(now_s) >= patience_s * 2.0**self.given_up
        )

    def age_s(self, now_s: float) -> float:
        """How long the server has been taking; 0 while it is we who keep it waiting."""
        return 0.0 if self.is_resting else now_s - self.started_s - (self.rested_s - self._rested_before_s)

    def quiet_s(self, now_s: float) -> float:
        """As `age_s`, but from the head of the answer on, if it has come: then it is the body that is slow."""
        return min(self.age_s(now_s), now_s - self._sign_s)

    def attempt(self) -> Awaitable[Buffer]:
        """One GET, or two, when it is its turn."""
        traffic = self._hedging.traffic
        return self._watched() if traffic is None else self._in(traffic)

    async def _in(self, traffic: Traffic) -> Buffer:
        gate = traffic.gate
        if not gate.enter_now():
            await self._enter(gate)
        try:
            data = await self._watched()
        except FetchError as error:
            traffic.note_failed(error, self.took_s)
            raise
        finally:
            gate.leave()
        traffic.note_well(len(data), self.took_s)
        return data

    async def _enter(self, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        try:
            await gate.enter(self.order)
        finally:
            self.rested_s += loop.time() - since_s

    async def _watched(self) -> Buffer:
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        self._task = task
        self._cancelling = task.cancelling()
        self._state = _State.FIRST
        self._has_head = False
        self._replaced = 0
        self._first_end = None
        self._rested_before_s = self.rested_s
        self.begun_s = self.started_s = self._sign_s = loop.time()
        kind = self._kind = self._hedging.enter(self)
        try:
            data = await self._race()
        except asyncio.CancelledError:
            if self._state is _State.LATE and task.uncancel() <= self._cancelling:
                raise self._late_error(loop.time()) from None
            raise
        else:
            now_s = loop.time()
            kind.learn(self.age_s(now_s), now_s)
            return data
        finally:
            self.took_s = self.age_s(loop.time())
            kind.running.pop(self.order, None)
            self._drop_second()

    async def _race(self) -> Buffer:
        try:
            return await self._store.get(self.uri, admit=self)
        except asyncio.CancelledError:
            is_cancelled = self._task.cancelling() > self._cancelling
            # As `asyncio.timeout` does: somebody else may have cancelled the task just now, too.
            if is_cancelled and (self._state is not _State.LOST or self._task.uncancel() > self._cancelling):
                raise
            if not is_cancelled and self._second is None:
                raise _abandoned(self.uri) from None
        except FetchError as error:
            if self._second is None or not is_retryable(error):
                raise
        self._state = _State.SECOND
        if self._first_end is not None:
            self._first_end.set_result(None)
            self._first_end = None
        self.started_s, self._rested_before_s = self._second_since_s, self.rested_s
        assert self._second is not None
        outcome = await self._second
        if not isinstance(outcome, FetchError):
            return outcome
        try:
            raise outcome
        finally:
            # Its traceback has this frame.
            del outcome

    def hedge(self, start: StartTask, now_s: float) -> None:
        """Begin a second GET, in place of the one that there may be."""
        if self._second is not None:
            self._replaced += 1
            self._drop_second()
        self._second_since_s = now_s
        self._second_admit = _SecondAdmit(self)
        self._second = start(self._get_second(self._second_admit))

    async def _get_second(self, admit: _SecondAdmit) -> Buffer | FetchError:
        """Its failure is a value: the first GET may still succeed."""
        task = asyncio.current_task()
        try:
            return await self._store.get(self.uri, admit=admit)
        except asyncio.CancelledError:
            if task is None or task.cancelling():
                raise
            return _abandoned(self.uri)
        except FetchError as error:
            if admit is self._second_admit and self._state is _State.FIRST and is_retryable(error):
                # Another one may follow.
                self._second = self._second_admit = None
            return without_frames(error)

    def give_up(self) -> None:
        """End this attempt: it fails with FetchTimeout."""
        if self._state in (_State.FIRST, _State.SECOND):
            # It teaches nothing: a tail of our own patience would be waited for four times as long, and so on.
            self.given_up += 1
            self._state = _State.LATE
            self._task.cancel()

    def claim(self, admit: _SecondAdmit) -> bool:
        """The second GET has a head: whether it is the one to be read. The first one is cancelled then.

        A store may ask from a callback of its connection, between the cancelling of a task and the end of it.
        """
        if admit is not self._second_admit:
            return False
        now_s = self._task.get_loop().time()
        if self._state is _State.FIRST and not (self._has_head and self.size_bytes > _SMALL_BYTES):
            # The first one took at least as long.
            self._kind.learn(self.age_s(now_s), now_s)
            self._hedging.note_won()
            self._state = _State.LOST
            self._task.cancel()
            if self._has_head:
                self._first_end = self._task.get_loop().create_future()
        elif self._state not in (_State.LOST, _State.SECOND):
            return False
        self._sign_s = now_s
        return True

    def admit_second(self, size_bytes: int) -> bool:
        """`now` for the second GET."""
        return self._first_end is None and super().now(size_bytes)

    async def wait_second(self, size_bytes: int) -> None:
        """The wait for room for the second GET: until the first one has dropped what it had of the body."""
        if self._first_end is not None:
            await self._first_end
        await self._rest(size_bytes)

    def now(self, size_bytes: int) -> bool:
        """See `stores.base.Admit`: the first GET has a head."""
        self._note_head()
        return self._state is _State.FIRST and super().now(size_bytes)

    async def __call__(self, size_bytes: int) -> None:
        self._note_head()
        await self._rest(size_bytes)
        self._sign_s = self._task.get_loop().time()

    async def _rest(self, size_bytes: int) -> None:
        """The wait for room, without a place among those under way.

        Else those who wait for the window would keep from the gate the very object that the window waits for.
        """
        traffic = self._hedging.traffic
        if traffic is None:
            await super().__call__(size_bytes)
            return
        traffic.gate.leave()
        try:
            await super().__call__(size_bytes)
        finally:
            traffic.gate.come_back()

    def _note_head(self) -> None:
        self._has_head = True
        self._sign_s = self._task.get_loop().time()
        if self._state is _State.FIRST:
            # Its body may be slow, too, and get another one.
            self._drop_second()

    def _drop_second(self) -> None:
        second, self._second = self._second, None
        self._second_admit = None
        if second is not None:
            second.cancel()

    def _late_error(self, now_s: float) -> FetchTimeout:
        age_s = now_s - self.started_s
        return FetchTimeout(f"{self.uri}: not there after {age_s:.1f} s, which is far slower than usual", key=self.uri)


class _SecondAdmit:
    """See `stores.base.Admit`."""

    __slots__ = ("_get",)

    def __init__(self, get: HedgedGet) -> None:
        self._get = get

    def now(self, size_bytes: int) -> bool:
        return self._get.claim(self) and self._get.admit_second(size_bytes)

    async def __call__(self, size_bytes: int) -> None:
        if not self._get.claim(self):
            raise FetchError(f"{self._get.uri}: the first GET was faster", key=self._get.uri)
        await self._get.wait_second(size_bytes)


def _abandoned(uri: str) -> ConnectionLost:
    """Nobody has cancelled this GET: something that it shares with others was, in the store, and is worth a retry."""
    return ConnectionLost(f"{uri}: the store itself has cancelled the GET", key=uri)
