"""One multipart upload: its parts under way, its end, and what is left of it when that goes wrong."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias

from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.stores.base import MultipartStore

__all__ = ["AbortedOnError", "Listeners", "MultipartUpload", "Tell"]

logger = logging.getLogger(__name__)

# "Amazon S3 multipart upload limits", Amazon S3 User Guide.
_MAX_PARTS = 10_000

# How long a cancelled caller waits for the name of an upload that is just being created, to abort it by.
_CREATION_S = 5.0

Tell: TypeAlias = Callable[[str], object]


class Listeners(NamedTuple):
    """Who is told of an upload, by its id. See `PartWriter`."""

    on_open: Tell | None = None
    on_end: Tell | None = None
    on_left: Tell | None = None


class MultipartUpload:
    """The parts of one multipart upload: begun with the first, so many of them under way.

    They are tasks of its own, for they outlast the call that began them: `complete` or `abort` awaits them all.

    Args:
        store: where it goes.
        uri: the object.
        parts_in_flight: parts that move at the same time.
        listeners: told of its beginning and its end; what the first one raises ends the upload.
    """

    def __init__(
        self, store: MultipartStore, uri: str, parts_in_flight: int, listeners: Listeners | None = None
    ) -> None:
        self._store = store
        self._uri = uri
        self._parts_in_flight = parts_in_flight
        self._listeners = listeners or Listeners()
        self._etags: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._id: str | None = None
        self._creation: asyncio.Task[str] | None = None
        self._abortion: asyncio.Task[None] | None = None

    @property
    def next_number(self) -> int:
        """Number of the next part, from 1."""
        return len(self._etags) + 1

    async def send(self, data: memoryview, when_sent: Callable[[memoryview], object] | None = None) -> None:
        """Begin with the next part once there is room, or raise what an earlier one failed with."""
        number = self.next_number
        if number > _MAX_PARTS:
            raise FetchError(f"{self._uri}: more than {_MAX_PARTS} parts; choose larger ones", key=self._uri)
        if self._id is None:
            self._id = await self._create()
            _tell(self._listeners.on_open, self._id)
        await self._drain(self._parts_in_flight - 1)
        self._etags.append("")
        put = self._put(self._id, number, data, when_sent)
        self._tasks.add(asyncio.create_task(put, name=f"{self._uri}#{number}"))

    async def complete(self) -> None:
        """Wait for all parts, and make the object of them."""
        await self._drain(0)
        if self._id is not None:
            await self._store.complete_upload(self._uri, self._id, self._etags)
            upload_id, self._id = self._id, None
            _tell(self._listeners.on_end, upload_id)

    async def abort(self) -> None:
        """Cancel what is under way and drop it all. Nothing after `complete`.

        One task for all callers: the second one must not be told that it is over while the first still waits.
        """
        if self._abortion is None:
            self._abortion = asyncio.create_task(self._abort(), name=f"{self._uri} (abort)")
            self._abortion.add_done_callback(_look_at)
        await asyncio.shield(self._abortion)

    async def _create(self) -> str:
        # Cancelled, the request might still get through, and nobody would know the name of the upload: see `_abort`.
        self._creation = asyncio.create_task(self._store.create_upload(self._uri), name=f"{self._uri} (create)")
        self._creation.add_done_callback(_look_at)
        upload_id = await asyncio.shield(self._creation)
        self._creation = None
        return upload_id

    async def _await_creation(self) -> None:
        """Learn the name of an upload that was just being created, if it exists."""
        creation, self._creation = self._creation, None
        if creation is None:
            return
        done, _ = await asyncio.wait((creation,), timeout=_CREATION_S)
        if not done:
            creation.cancel()
            await asyncio.wait((creation,))
        if not creation.cancelled() and creation.exception() is None:
            self._id = creation.result()
            with suppress(FetchError):
                # Noted for the case that it cannot be aborted; if it can, nobody misses the note.
                _tell(self._listeners.on_open, self._id)

    async def _abort(self) -> None:
        try:
            await self._stop()
            if self._id is not None:
                await self._store.abort_upload(self._uri, self._id)
        except BaseException:
            if self._id is not None:
                _tell(self._listeners.on_left, self._id)
            raise
        if self._id is not None:
            _tell(self._listeners.on_end, self._id)

    async def _stop(self) -> None:
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            # No news any more, but asyncio complains of an error that nobody has looked at.
            _first_error(tasks)
        await self._await_creation()

    async def _put(
        self, upload_id: str, number: int, data: memoryview, when_sent: Callable[[memoryview], object] | None
    ) -> None:
        self._etags[number - 1] = await self._store.put_part(self._uri, upload_id, number, data)
        if when_sent is not None:
            when_sent(data)

    async def _drain(self, most: int) -> None:
        """Wait until no more than `most` parts are under way."""
        while True:
            done = {task for task in self._tasks if task.done()}
            self._tasks -= done
            error = _first_error(done)
            if error is not None:
                raise error
            if len(self._tasks) <= most:
                return
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)


class Abortable(Protocol):
    """What can be dropped."""

    async def abort(self) -> None:
        """Drop it; raises FetchError where the server could not be told."""
        ...


class AbortedOnError:
    """Whatever comes out of the block ends the upload first."""

    def __init__(self, uri: str, upload: Abortable) -> None:
        self._uri = uri
        self._upload = upload

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        try:
            await self._upload.abort()
        except LoaderError as failure:
            # What comes out already says that the upload failed.
            logger.warning("%s: the upload could not be aborted, its parts stay: %s", self._uri, failure)


def _first_error(tasks: Iterable[asyncio.Task[None]]) -> BaseException | None:
    errors = [task.exception() for task in tasks if not task.cancelled()]
    return next((error for error in errors if error is not None), None)


def _tell(listener: Tell | None, upload_id: str) -> None:
    if listener is not None:
        listener(upload_id)


def _look_at(task: asyncio.Task[Any]) -> None:
    # asyncio complains of an error that nobody has looked at, and whoever waited may have been cancelled.
    _ = task.cancelled() or task.exception()
