"""GET and HEAD: the hot path. One attempt each."""

from __future__ import annotations

from functools import partial

from aiohttp import ClientResponse

from asyncio_loader.errors import FetchError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectInfo, Piece, changed
from asyncio_loader.stores.s3.connections import PhaseClock
from asyncio_loader.stores.s3.exchange import Exchange, Slot, Use
from asyncio_loader.stores.s3.ranges import RangeRequest, checksum_of, etag_of, gather_body, read_range

__all__ = ["ObjectReader"]

# Without it S3 keeps the checksum to itself.
_WITH_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}


class ObjectReader:
    """Fetches objects through an `Exchange`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def get(self, uri: str, admit: Admit | None) -> Buffer:
        """See `ObjectStore.get`."""
        return await self._exchange.run("GET", uri, partial(_read_body, uri, admit))

    async def get_range(self, uri: str, start: int, stop: int, etag: str | None, into: memoryview | None) -> Piece:
        """See `RangedStore.get_range`."""
        wanted = RangeRequest(uri, start, stop, etag, into)
        headers = {**_WITH_CHECKSUM, "range": f"bytes={start}-{stop - 1}"}
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
        return await self._exchange.run("HEAD", uri, partial(_read_head, uri), extra=_WITH_CHECKSUM)


async def _read_body(uri: str, admit: Admit | None, response: ClientResponse, clock: PhaseClock, slot: Slot) -> Buffer:
    announced = response.content_length
    if admit is not None and announced is not None:
        clock.rest()
        await slot.rest(admit, announced)
    data = await gather_body(uri, response, clock)
    if admit is not None and announced is None:
        clock.rest()
        await slot.rest(admit, len(data))
    return data


async def _read_head(uri: str, response: ClientResponse, *_: object) -> ObjectInfo:
    size_bytes = response.content_length
    if size_bytes is None:
        raise FetchError(f"{uri}: the server does not tell the size (no Content-Length)", key=uri)
    return ObjectInfo(uri, size_bytes, etag_of(response.headers), checksum_of(response.headers))
