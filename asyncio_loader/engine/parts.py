"""Large objects in parts: several at the same time, all of one version."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from asyncio_loader.allocation import allocate
from asyncio_loader.engine.fetch import fetch_object
from asyncio_loader.engine.in_passing import InPassing
from asyncio_loader.errors import ChecksumMismatch, ObjectChanged
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import ObjectInfo, ObjectStore, Piece, RangedStore, changed
from asyncio_loader.stores.checksum import verify_checksum
from asyncio_loader.stores.retry import RetryLog, retry_calls
from asyncio_loader.stores.upload import PartWriter

__all__ = ["PartReader", "PartWriter", "read_object"]

T = TypeVar("T")

# Whoever replaces an object more often than it can be read needs another remedy.
_MAX_READS = 3


async def read_object(
    store: ObjectStore, uri: str, *, retry: RetryPolicy, part_bytes: int, parts_in_flight: int
) -> Buffer:
    """The whole object: in one request if it fits into a part, else in parts that come at the same time.

    All parts are of one version. If another one appears in the meantime, all of it is read anew, three times at the
    most. A checksum of the whole object is verified where the server keeps one; of a large object that takes a HEAD.
    Other bytes are read anew, too, see `RetryPolicy.checksum_attempts`.

    Beside the object itself it needs no more memory than the parts that move, and the first one. A store without
    ranges is asked for everything at once.

    Args:
        store: where it lives.
        uri: the object.
        retry: when a part is tried again.
        part_bytes: size of a part.
        parts_in_flight: parts that move at the same time.

    Raises:
        ObjectChanged: the object changed during each of the reads.
        ChecksumMismatch: the bytes were never those that the server keeps a checksum of.
        FetchError: as `fetch_object`.

    Cancelling it cancels all requests.
    """
    log = RetryLog()
    for number in itertools.count(1):
        source = _Source(store, uri, retry, part_bytes, log)
        try:
            return await _read_version(source, parts_in_flight)
        except (ObjectChanged, ChecksumMismatch) as error:
            if number >= _most_reads(error, retry):
                raise type(error)(f"{error} (in each of {number} reads)", key=uri, attempts=number) from error
            log(error, number, 0.0)
    raise AssertionError("unreachable")


def _most_reads(error: ObjectChanged | ChecksumMismatch, retry: RetryPolicy) -> int:
    if isinstance(error, ObjectChanged):
        return min(_MAX_READS, retry.max_attempts)
    # With a number of attempts it comes from a store that compares by itself, and has been asked often enough.
    return 1 if error.attempts else min(retry.checksum_attempts, retry.max_attempts)


async def _read_version(source: _Source, parts_in_flight: int) -> Buffer:
    first = await source.read_first()
    if first.is_whole:
        await verify_checksum(source.uri, first.checksum, first.data)
        return first.data
    whole = allocate(first.size_bytes)
    whole[: len(first.data)] = first.data
    starts = iter(range(len(first.data), first.size_bytes, source.part_bytes))

    async def read_next() -> None:
        for start in starts:
            await source.read(start, whole[start : start + source.part_bytes])

    try:
        async with asyncio.TaskGroup() as group:
            info = group.create_task(source.head(), name=f"{source.uri} (HEAD)")
            for worker in range(parts_in_flight):
                group.create_task(read_next(), name=f"{source.uri} ({worker})")
    except ExceptionGroup as failures:
        # The first failure cancelled the others; it tells the story alone.
        raise failures.exceptions[0] from None
    await verify_checksum(source.uri, info.result().checksum, whole)
    return whole


class _Source:
    """One version of an object: whichever the first piece is of.

    Attributes:
        uri: the object.
        part_bytes: size of its parts.
    """

    def __init__(
        self, store: ObjectStore, uri: str, retry: RetryPolicy, part_bytes: int, log: RetryLog | None = None
    ) -> None:
        self.uri = uri
        self.part_bytes = part_bytes
        self._store = store
        self._retry = retry
        self._log = log or RetryLog()
        self._version: tuple[int, str | None] = (0, None)

    async def read_first(self) -> Piece:
        """The first part, or all of it from a store without ranges; what else is read must be of its version."""
        if not isinstance(self._store, RangedStore):
            data, _ = await fetch_object(self._store, self.uri, retry=self._retry, on_retry=self._log)
            return Piece(data, 0, len(data))
        piece = await self._try(partial(self._store.get_range, self.uri, 0, self.part_bytes))
        self._version = piece.size_bytes, piece.etag
        return piece

    async def read(self, start: int, target: memoryview) -> None:
        """Fill the target with the bytes from `start` on.

        Raises:
            ObjectChanged: they are of another version.
        """
        assert isinstance(self._store, RangedStore)
        stop = start + len(target)
        piece = await self._try(
            partial(self._store.get_range, self.uri, start, stop, etag=self._version[1], into=target)
        )
        self._check(piece.size_bytes, piece.etag)

    async def head(self) -> ObjectInfo:
        """Size, version and checksum. Raises as `read`."""
        info = await self._try(partial(self._store.head, self.uri))
        self._check(info.size_bytes, info.etag)
        return info

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T:
        result, _ = await retry_calls(call, self.uri, retry=self._retry, on_retry=self._log)
        return result

    def _check(self, size_bytes: int, etag: str | None) -> None:
        first_size_bytes, first_etag = self._version
        # A store without versions leaves the size to compare.
        if size_bytes != first_size_bytes or (etag != first_etag and None not in (etag, first_etag)):
            raise changed(self.uri)


class PartReader:
    """One version of an object, part by part, for a reader that goes on mostly where it was and sometimes jumps.

    From the second part in a row it reads ahead; a jump cancels what it makes useless. Parts that were read lately
    stay as long as there is room, so a reader may go to and fro. It holds at most ``parts_in_flight + 2`` parts, what
    is under way and the part that was returned last included; from a store without ranges the whole object.

    A checksum of the whole object is verified where the server keeps one and all parts are read in order (`InPassing`).

    One call at a time, all in one event loop. The parts that move are tasks of its own, for they outlast the call that
    began them: `aclose` awaits them all, and must be called.

    Args:
        store: where it lives.
        uri: the object.
        retry: when a part is tried again.
        part_bytes: size of a part.
        parts_in_flight: parts that move at the same time.
    """

    def __init__(
        self, store: ObjectStore, uri: str, *, retry: RetryPolicy, part_bytes: int, parts_in_flight: int
    ) -> None:
        self._source = _Source(store, uri, retry, part_bytes)
        self._parts_in_flight = parts_in_flight
        self._size_bytes = 0
        self._whole: memoryview | None = None
        self._in_passing: InPassing | None = None
        self._last = 0
        self._reads_ahead = False
        # The least recently used first.
        self._parts: dict[int, asyncio.Future[Buffer]] = {}
        # Cancelled, and not over yet: whoever dropped them may have been cancelled himself.
        self._dropped: set[asyncio.Future[Buffer]] = set()

    async def open(self) -> ObjectInfo:
        """Size and version, and the first part with them. To be called once, before `part`.

        Raises:
            FetchError: as `fetch_object`.
        """
        first = await self._source.read_first()
        self._size_bytes = first.size_bytes
        if first.is_whole:
            await verify_checksum(self._source.uri, first.checksum, first.data)
            self._whole = memoryview(first.data)
        else:
            count = -(-first.size_bytes // self._source.part_bytes)
            self._in_passing = InPassing(self._source.uri, count, self._source.head)
            self._parts[0] = asyncio.get_running_loop().create_future()
            self._parts[0].set_result(first.data)
        return ObjectInfo(self._source.uri, first.size_bytes, first.etag)

    async def part(self, number: int) -> Buffer:
        """The bytes from ``number * part_bytes`` on, `part_bytes` of them or up to the end; not to be changed.

        Cancelling it leaves the part to come, for the next call or `aclose`; the object may then go unverified.

        Raises:
            IndexError: the object ends before it.
            ChecksumMismatch: the parts so far, this last one included, are not those that the server keeps a checksum
                of; from then on for every part.
            ObjectChanged: another version is there now; this one cannot be had any more.
            FetchError: as `fetch_object`. A later call tries again.
        """
        start = number * self._source.part_bytes
        if not 0 <= start < self._size_bytes:
            raise IndexError(f"{self._source.uri} has {self._size_bytes} bytes: there is no part {number}")
        if self._whole is not None:
            return self._whole[start : start + self._source.part_bytes]
        await self._start(self._choose(number))
        part = self._parts[number]
        await asyncio.wait((part,))
        if part.cancelled() or part.exception() is not None:
            del self._parts[number]
        data = part.result()
        if self._in_passing is not None:
            await self._in_passing.take(number, data)
        return data

    async def aclose(self) -> None:
        """Drop everything, and wait for the end of what was under way. Idempotent; cancelled, to be called again."""
        self._whole, self._size_bytes = None, 0
        await self._drop(list(self._parts))

    def _choose(self, number: int) -> range:
        """The parts that should be here or under way, now that this one is wanted."""
        if number != self._last:
            self._reads_ahead = number == self._last + 1
        self._last = number
        count = -(-self._size_bytes // self._source.part_bytes)
        return range(number, min(count, number + 1 + self._parts_in_flight * self._reads_ahead))

    async def _start(self, wanted: range) -> None:
        await self._drop([number for number, part in self._parts.items() if not part.done() and number not in wanted])
        missing = [number for number in wanted if number not in self._parts]
        rest = [number for number in self._parts if number not in wanted]
        room = self._parts_in_flight + 2 - len(wanted)
        await self._drop(rest[: max(0, len(rest) - room)])
        under_way = sum(not part.done() for part in self._parts.values())
        for number in missing[: max(1, self._parts_in_flight - under_way)]:
            name = f"{self._source.uri}#{number}"
            self._parts[number] = asyncio.create_task(self._fetch(number), name=name)
        self._parts[wanted.start] = self._parts.pop(wanted.start)

    async def _fetch(self, number: int) -> Buffer:
        start = number * self._source.part_bytes
        target = allocate(min(self._source.part_bytes, self._size_bytes - start))
        await self._source.read(start, target)
        return target

    async def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            part = self._parts.pop(number)
            part.cancel()
            self._dropped.add(part)
        if self._dropped:
            await asyncio.wait(self._dropped)
        for part in self._dropped:
            # asyncio complains of an error that nobody has looked at.
            _ = part.cancelled() or part.exception()
        self._dropped.clear()
