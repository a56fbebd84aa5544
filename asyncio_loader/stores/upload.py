"""An object written in order, of unknown length: whole or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeAlias

from asyncio_loader.errors import ConfigError, FetchError, LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.allocation import allocate
from asyncio_loader.stores.base import MultipartStore

__all__ = ["PartWriter", "part_size_bytes", "put_in_parts"]

logger = logging.getLogger(__name__)

# "Amazon S3 multipart upload limits", Amazon S3 User Guide.
_MAX_PARTS = 10_000
_GROWS_EVERY_PARTS = 1_000

_Tell: TypeAlias = Callable[[str], object]


def part_size_bytes(number: int, first_bytes: int) -> int:
    """Size of part `number`, from 1: that of the first thousand parts, twice as much in the second, and so on.

    So an object of unknown length never needs more parts than the 10,000 that S3 takes: with the least first size,
    5 MiB, they hold 1,023,000 × 5 MiB = 4.9 TiB, and with the default of 8 MiB more than S3's largest object.
    """
    return first_bytes << ((number - 1) // _GROWS_EVERY_PARTS)


class PartWriter:
    """Writes one object piece by piece; parts go up while the next one fills.

    The object is there after `finish`, and never otherwise: when a part fails or a call is cancelled, the other parts
    are cancelled, the upload is aborted, and the first error is raised; the writer has ended then. What fits into one
    part is a plain put at `finish`.

    It holds at most ``parts_in_flight + 1`` parts, each of `part_size_bytes`. One call at a time, all in one event
    loop; the last one must be `finish` or `abort`, which leaves no task behind.

    Args:
        store: where it goes.
        uri: the object.
        part_bytes: size of the first parts; S3 wants at least 5 MiB.
        parts_in_flight: parts that move at the same time.
        on_open: called with the upload's id once there is one, before the first part goes.
        on_end: called with the upload's id once it is complete or aborted; not if the server could not be told.
    """

    def __init__(
        self,
        store: MultipartStore,
        uri: str,
        *,
        part_bytes: int,
        parts_in_flight: int,
        on_open: _Tell | None = None,
        on_end: _Tell | None = None,
    ) -> None:
        if not isinstance(store, MultipartStore):
            raise ConfigError(f"{uri}: {store!r} takes no object in parts")
        self._store = store
        self._uri = uri
        self._part_bytes = part_bytes
        self._upload = _Upload(store, uri, parts_in_flight, on_open or _tell_nobody, on_end or _tell_nobody)
        self._part = memoryview(b"")
        self._filled_bytes = 0
        self._spare: list[memoryview] = []
        self._has_ended = False

    async def write(self, data: Buffer) -> None:
        """Take more bytes; they may be reused once it returns. It waits while too many parts are under way.

        Raises:
            FetchError: this or an earlier part did not get through.
        """
        self._check()
        rest = memoryview(data).cast("B")
        async with _AbortedOnError(self._uri, self):
            while rest:
                # Only now, with more to come: what fits into one part needs no upload in parts.
                if self._filled_bytes == len(self._part):
                    await self._send()
                    self._part = self._take_part()
                rest = rest[self._fill(rest) :]

    async def finish(self) -> None:
        """Wait for the last parts and make the object.

        Cancelled at the very end, the object may be there all the same, whole.

        Raises:
            FetchError: it did not get through.
        """
        self._check()
        async with _AbortedOnError(self._uri, self):
            if self._upload.next_number == 1:
                await self._store.put(self._uri, self._part[: self._filled_bytes])
            else:
                await self._send()
                await self._upload.complete()
        self._end()

    async def abort(self) -> None:
        """Drop all of it. Idempotent, and nothing after `finish`.

        Raises:
            FetchError: the server could not be told: the parts that it has stay until `abort_upload` is called.
        """
        self._end()
        await self._upload.abort()

    async def _send(self) -> None:
        data, self._part = self._part[: self._filled_bytes], memoryview(b"")
        self._filled_bytes = 0
        if data:
            await self._upload.send(data, self._spare.append)

    def _take_part(self) -> memoryview:
        size_bytes = part_size_bytes(self._upload.next_number, self._part_bytes)
        while self._spare:
            part = self._spare.pop()
            if len(part) == size_bytes:
                return part
        return allocate(size_bytes)

    def _fill(self, data: memoryview) -> int:
        """Copy as much as the part has room for; how much that was."""
        start = self._filled_bytes
        size_bytes = min(len(data), len(self._part) - start)
        self._part[start : start + size_bytes] = data[:size_bytes]
        self._filled_bytes += size_bytes
        return size_bytes

    def _check(self) -> None:
        if self._has_ended:
            raise LoaderError(f"{self._uri}: this upload has ended")

    def _end(self) -> None:
        self._has_ended = True
        self._part = memoryview(b"")
        self._filled_bytes = 0
        self._spare.clear()


async def put_in_parts(store: MultipartStore, uri: str, data: Buffer, *, part_bytes: int, parts_in_flight: int) -> None:
    """Write an object that is all there, in parts and without a copy. Fails and is cancelled as a `PartWriter`."""
    upload = _Upload(store, uri, parts_in_flight, _tell_nobody, _tell_nobody)
    rest = memoryview(data).cast("B")
    async with _AbortedOnError(uri, upload):
        while rest:
            size_bytes = part_size_bytes(upload.next_number, part_bytes)
            await upload.send(rest[:size_bytes])
            rest = rest[size_bytes:]
        await upload.complete()


class _Upload:
    """The parts of one multipart upload: begun with the first, so many of them under way.

    They are tasks of its own, for they outlast the call that began them: `complete` or `abort` awaits them all.
    """

    def __init__(self, store: MultipartStore, uri: str, parts_in_flight: int, on_open: _Tell, on_end: _Tell) -> None:
        self._store = store
        self._uri = uri
        self._parts_in_flight = parts_in_flight
        self._on_open = on_open
        self._on_end = on_end
        self._etags: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._id: str | None = None

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
            self._id = await self._store.create_upload(self._uri)
            self._on_open(self._id)
        await self._drain(self._parts_in_flight - 1)
        self._etags.append("")
        put = self._put(self._id, number, data, when_sent)
        self._tasks.add(asyncio.create_task(put, name=f"{self._uri}#{number}"))

    async def complete(self) -> None:
        """Wait for all parts, and make the object of them."""
        await self._drain(0)
        if self._id is not None:
            await self._store.complete_upload(self._uri, self._id, self._etags)
            self._end(self._id)

    async def abort(self) -> None:
        """Cancel what is under way and drop it all. Idempotent; nothing after `complete`."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            # No news any more, but asyncio complains of an error that nobody has looked at.
            _first_error(tasks)
        if self._id is not None:
            upload_id, self._id = self._id, None
            await self._store.abort_upload(self._uri, upload_id)
            self._on_end(upload_id)

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

    def _end(self, upload_id: str) -> None:
        self._id = None
        self._on_end(upload_id)


class _AbortedOnError:
    """Whatever comes out of the block ends the upload first."""

    def __init__(self, uri: str, upload: PartWriter | _Upload) -> None:
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
        except FetchError as failure:
            # What comes out already says that the upload failed.
            logger.warning("%s: the upload could not be aborted, its parts stay: %s", self._uri, failure)


def _first_error(tasks: Iterable[asyncio.Task[None]]) -> BaseException | None:
    errors = [task.exception() for task in tasks if not task.cancelled()]
    return next((error for error in errors if error is not None), None)


def _tell_nobody(_: str) -> None:
    return None
