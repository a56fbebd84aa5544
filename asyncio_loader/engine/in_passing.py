"""The checksum of an object that is read part by part, compared while it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import ObjectInfo
from asyncio_loader.stores.checksum import Algorithm, Checksum, Digest, begin_digest, mismatch

__all__ = ["InPassing"]


class InPassing:
    """Compares the parts of an object with its checksum, if they are read from the first to the last.

    To go back on the way does no harm; whoever leaves parts out gets no comparison, and so does one without a checksum.

    Args:
        uri: the object.
        count: number of its parts.
        head: tells its checksum; asked once, when the second part has been read.
    """

    def __init__(self, uri: str, count: int, head: Callable[[], Awaitable[ObjectInfo]]) -> None:
        self._uri = uri
        self._count = count
        self._head = head
        self._next = 0
        self._first: Buffer = b""
        self._comparison: tuple[Checksum, Digest] | None = None
        self._is_over = False
        self._broken: Algorithm | None = None

    async def take(self, number: int, data: Buffer) -> None:
        """A part that is read.

        Raises:
            ChecksumMismatch: with the last part, and then with each: the server keeps another checksum.
            FetchError: the checksum could not be asked for; it is not tried again.

        Cancelling it ends the comparison.
        """
        if self._broken is not None:
            raise mismatch(self._uri, self._broken)
        if self._is_over or number < self._next:
            return
        if number > self._next:
            self._end()
            return
        self._next += 1
        if number == 0 and self._count > 1:
            # Many read no further, and need no HEAD.
            self._first = data
            return
        # Over, unless all goes well.
        self._is_over = True
        comparison = self._comparison or await self._begin()
        if comparison is None:
            return
        await _update(*comparison, data)
        if self._next < self._count:
            self._comparison = comparison
            self._is_over = False
            return
        checksum, digest = comparison
        if digest.digest() != checksum.digest:
            self._broken = checksum.algorithm
            raise mismatch(self._uri, self._broken)

    async def _begin(self) -> tuple[Checksum, Digest] | None:
        first, self._first = self._first, b""
        checksum = (await self._head()).checksum
        digest = None if checksum is None else begin_digest(checksum.algorithm)
        if checksum is None or digest is None:
            return None
        await _update(checksum, digest, first)
        return checksum, digest

    def _end(self) -> None:
        self._is_over = True
        self._first = b""
        self._comparison = None


async def _update(checksum: Checksum, digest: Digest, data: Buffer) -> None:
    if checksum.is_quick(len(data)):
        digest.update(data)
    else:
        await asyncio.to_thread(digest.update, data)
