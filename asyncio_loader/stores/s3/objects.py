"""GET and HEAD: the hot path. One attempt each."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import Any

from asyncio_loader.allocation import BlockPool
from asyncio_loader.errors import FetchError
from asyncio_loader.options import Verify
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectInfo, Piece, admits_now, changed
from asyncio_loader.stores.s3.exchange import Exchange, Slot, Use
from asyncio_loader.stores.s3.integrity import WITH_CHECKSUM, Verifier, checksum_of
from asyncio_loader.stores.s3.ranges import RangeRequest, etag_of, gather_body, read_range
from asyncio_loader.stores.s3.transport import Answer

__all__ = ["ObjectReader"]


class ObjectReader:
    """Fetches objects through an `Exchange`.

    Args:
        exchange: not closed with this.
        pool_bytes: see `S3Store`.
        verify: see `FetchOptions`; for `get` alone.
    """

    def __init__(self, exchange: Exchange, *, pool_bytes: int, verify: Verify) -> None:
        self._exchange = exchange
        self._blocks = BlockPool(pool_bytes)
        self._verifier = Verifier(verify)

    def get(self, uri: str, admit: Admit | None) -> Coroutine[Any, Any, Buffer]:
        """See `ObjectStore.get`."""
        taking = _Taking(uri, admit, self._blocks, self._verifier)
        return self._exchange.fetch(uri, taking.read, taking.place, self._verifier.headers)

    async def get_range(self, uri: str, start: int, stop: int, etag: str | None, into: memoryview | None) -> Piece:
        """See `RangedStore.get_range`."""
        wanted = RangeRequest(uri, start, stop, etag, into)
        headers = {**WITH_CHECKSUM, "range": f"bytes={start}-{stop - 1}"}
        if etag is not None:
            headers["if-match"] = f'"{etag}"'
        read: Use[Piece | None] = partial(read_range, wanted)
        piece = await self._exchange.run("GET", uri, read, extra=headers, wanted=(200, 206, 416))
        if piece is not None:
            return piece
        info = await self.head(uri)
        if etag not in (None, info.etag):
            raise changed(uri)
        if start < info.size_bytes:
            raise FetchError(f"{uri}: the server refuses the range from byte {start} on", key=uri)
        return Piece(b"", start, info.size_bytes, info.etag)

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._exchange.run("HEAD", uri, partial(_read_head, uri), extra=WITH_CHECKSUM)


class _Taking:
    """Takes a body, once the window lets it, and looks whether it is the right one.

    `place` is for transports that can bring it to its place; where the window has no room just then, it waits for
    `read`, as with those that cannot.
    """

    __slots__ = ("_admit", "_blocks", "_uri", "_verifier")

    def __init__(self, uri: str, admit: Admit | None, blocks: BlockPool, verifier: Verifier) -> None:
        self._uri = uri
        self._admit = admit
        self._blocks = blocks
        self._verifier = verifier

    def place(self, size_bytes: int) -> memoryview | None:
        """See `transport.Place`."""
        if self._admit is not None and not admits_now(self._admit, size_bytes):
            return None
        return self._blocks.take(size_bytes + 1)

    async def read(self, answer: Answer, slot: Slot) -> Buffer:
        """See `exchange.Use`."""
        data: Buffer | None = answer.placed
        if data is None:
            data = await self._gather(answer, slot)
        verdict = self._verifier.verify(self._uri, answer, data)
        if verdict is not None:
            await verdict
        return data

    async def _gather(self, answer: Answer, slot: Slot) -> Buffer:
        announced = answer.content_length
        if self._admit is not None and announced is not None:
            answer.rest()
            await slot.rest(self._admit(announced))
        data = await gather_body(self._uri, answer, self._blocks.take)
        if self._admit is not None and announced is None:
            answer.rest()
            await slot.rest(self._admit(len(data)))
        return data


async def _read_head(uri: str, answer: Answer, _: Slot) -> ObjectInfo:
    size_bytes = answer.content_length
    if size_bytes is None:
        raise FetchError(f"{uri}: the server does not tell the size (no Content-Length)", key=uri)
    return ObjectInfo(uri, size_bytes, etag_of(answer.headers), checksum_of(answer.headers))
