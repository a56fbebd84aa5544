"""An object written in order, of unknown length: whole or not at all."""

from __future__ import annotations

from asyncio_loader.allocation import allocate
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import MultipartStore
from asyncio_loader.stores.multipart import AbortedOnError, Listeners, MultipartUpload, Tell

__all__ = ["PartWriter", "part_size_bytes", "put_in_parts"]

_GROWS_EVERY_PARTS = 1_000


def part_size_bytes(number: int, first_bytes: int) -> int:
    """Size of part `number`, from 1: that of the first thousand parts, twice as much in the second, and so on.

    So an object of unknown length never needs more parts than the 10,000 that S3 takes: with the least first size,
    5 MiB, they hold 1,023,000 × 5 MiB = 4.9 TiB, and with the default of 8 MiB more than S3's largest object.
    """
    return first_bytes << ((number - 1) // _GROWS_EVERY_PARTS)


class PartWriter:
    """Writes one object piece by piece; parts go up while the next one fills.

    The object is there after `finish`, and never in part: when a part fails or a call is cancelled, the other parts
    are cancelled, the upload is aborted, and the first error is raised; the writer has ended then. What fits into one
    part is a plain put at `finish`. Where the answer to the very last request is lost with every try, `finish` raises,
    and the object may be there all the same: whole.

    It holds at most ``parts_in_flight + 1`` parts, each of `part_size_bytes`. One call at a time, all in one event
    loop; the last one must be `finish` or `abort`, which leaves no task behind.

    Args:
        store: where it goes.
        uri: the object.
        part_bytes: size of the first parts; S3 wants at least 5 MiB.
        parts_in_flight: parts that move at the same time.
        on_open: called with the upload's id once there is one, before the first part goes.
        on_end: called with the upload's id once it is complete or aborted.
        on_left: called with the upload's id instead of `on_end` if it could not be aborted, and will not be.
    """

    def __init__(
        self,
        store: MultipartStore,
        uri: str,
        *,
        part_bytes: int,
        parts_in_flight: int,
        on_open: Tell | None = None,
        on_end: Tell | None = None,
        on_left: Tell | None = None,
    ) -> None:
        if not isinstance(store, MultipartStore):
            raise ConfigError(f"{uri}: {store!r} takes no object in parts")
        self._store = store
        self._uri = uri
        self._part_bytes = part_bytes
        listeners = Listeners(on_open, on_end, on_left)
        self._upload = MultipartUpload(store, uri, parts_in_flight, listeners)
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
        async with AbortedOnError(self._uri, self):
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
        async with AbortedOnError(self._uri, self):
            if self._upload.next_number == 1:
                await self._store.put(self._uri, self._part[: self._filled_bytes])
            else:
                await self._send()
                await self._upload.complete()
        self._end()

    async def abort(self) -> None:
        """Drop all of it, once its parts have stopped. Nothing after `finish`; a later call awaits the first one's end.

        Cancelling it leaves that to go on by itself.

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
    upload = MultipartUpload(store, uri, parts_in_flight)
    rest = memoryview(data).cast("B")
    async with AbortedOnError(uri, upload):
        while rest:
            size_bytes = part_size_bytes(upload.next_number, part_bytes)
            await upload.send(rest[:size_bytes])
            rest = rest[size_bytes:]
        await upload.complete()
