"""GETs that tell a trace when they began, had a head, ended. Without a trace nobody makes one, and none pays for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from asyncio_loader.engine.fetch import Getting
from asyncio_loader.engine.hedge import Hedging
from asyncio_loader.engine.race import HedgedGet, _SecondAdmit
from asyncio_loader.engine.traffic import Gate
from asyncio_loader.errors import FetchError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectStore
from asyncio_loader.trace import ObjectRecord
from asyncio_loader.trace.objects import Attempt, SecondGet

__all__ = ["RecordedGet", "RecordedHedgedGet"]


class RecordedGet(Getting):
    """One object's GETs, without second ones."""

    __slots__ = ("_attempt", "_record")

    _attempt: Attempt

    def __init__(self, store: ObjectStore, uri: str, admit: Admit | None, record: ObjectRecord) -> None:
        super().__init__(store, uri, admit)
        self._record = record

    async def attempt(self) -> Buffer:
        """See `Getting`."""
        self._attempt = self._record.begin()
        return await _told(super().attempt(), self._record, self._attempt)

    def now(self, size_bytes: int) -> bool:
        """See `Getting`: the head is there."""
        self._attempt.head_s = time.perf_counter()
        return super().now(size_bytes)


class RecordedHedgedGet(HedgedGet):
    """One object's GETs, and the second ones against them."""

    __slots__ = ("_attempt", "_latest", "_record")

    _attempt: Attempt
    _latest: SecondGet

    def __init__(
        self,
        hedging: Hedging,
        store: ObjectStore,
        uri: str,
        admit: Admit,
        *,
        order: int,
        size_bytes: int,
        record: ObjectRecord,
    ) -> None:
        super().__init__(hedging, store, uri, admit, order=order, size_bytes=size_bytes)
        self._record = record

    async def attempt(self) -> Buffer:
        """See `HedgedGet`."""
        self._attempt = self._record.begin()
        return await _told(super().attempt(), self._record, self._attempt)

    async def _enter(self, gate: Gate) -> None:
        await super()._enter(gate)
        self._attempt.begun_s = time.perf_counter()

    def _note_head(self) -> None:
        if not self._attempt.is_second:
            self._attempt.head_s = time.perf_counter()
        super()._note_head()

    def claim(self, admit: _SecondAdmit) -> bool:
        """See `HedgedGet`: the second GET has a head, and may be the one that is read."""
        is_read = super().claim(admit)
        if is_read and not self._attempt.is_second:
            self._attempt.is_second = True
            self._attempt.head_s = self._latest.head_s = time.perf_counter()
        return is_read

    async def _get_second(self, admit: _SecondAdmit) -> Buffer | FetchError:
        # This runs when the task does, and `claim` is for the one that began last.
        second = self._latest = self._record.begin_second()
        outcome = "dropped"
        try:
            answer = await super()._get_second(admit)
            outcome = type(answer).__name__ if isinstance(answer, FetchError) else "came"
            return answer
        finally:
            second.end(outcome)


async def _told(awaitable: Awaitable[Buffer], record: ObjectRecord, attempt: Attempt) -> Buffer:
    try:
        data = await awaitable
    except FetchError as error:
        record.note_failed(attempt, error)
        raise
    except BaseException as error:
        attempt.end(error)
        raise
    attempt.end()
    return data
