"""Answers to a request for a part of an object (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from asyncio_loader.allocation import allocate
from asyncio_loader.errors import FetchError, ServerFault, ShortRead
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Piece, changed
from asyncio_loader.stores.s3.integrity import checksum_of
from asyncio_loader.stores.s3.transport import Answer

__all__ = ["RangeRequest", "etag_of", "gather_body", "read_range"]

_SPAN = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})")
_NO_SPAN = re.compile(r"bytes \*/([0-9]{1,16})")

_UNANNOUNCED_LIMIT_BYTES = 4 * 1024**3
"""What a body may have whose length comes only with it; else one without an end would take all memory."""


class RangeRequest(NamedTuple):
    """What was asked for; see `RangedStore.get_range`."""

    uri: str
    start: int
    stop: int
    etag: str | None
    into: memoryview | None


async def read_range(wanted: RangeRequest, answer: Answer, _: object) -> Piece | None:
    """The piece that an answer with status 206, 200 or 416 means; None: nothing is there, and the size not told.

    Raises:
        ObjectChanged: it is of another version.
        FetchError: the server sends another range than it was asked for, or does not tell which, or not the size that
            is needed here; it would do so again.
        ShortRead: the body is shorter than it should be.
    """
    etag = etag_of(answer.headers)
    if wanted.etag is not None and etag is not None and etag != wanted.etag and answer.status != 416:
        # A server that does not know If-Match.
        raise changed(wanted.uri)
    if answer.status == 416:
        return _read_unsatisfied(wanted, answer, etag)
    # rclone sends the range, and says so, but with status 200.
    if answer.status == 200 and "Content-Range" not in answer.headers:
        return await _read_out_of_whole(wanted, answer, etag)
    size_bytes = _check_span(wanted, answer)
    stop = min(wanted.stop, size_bytes)
    data = await _read_into_place(wanted, answer, stop - wanted.start)
    is_whole = len(data) == size_bytes
    return Piece(data, wanted.start, size_bytes, etag, checksum_of(answer.headers) if is_whole else None)


async def gather_body(uri: str, answer: Answer, allocate: Callable[[int], memoryview] = allocate) -> Buffer:
    """All of the body, copied once: to its place where its size is known, else out of the pieces as they came.

    Raises:
        ShortRead: it is shorter than announced.
        FetchError: nothing tells whether it is whole, or it has no end.
    """
    announced = answer.content_length
    if announced is not None:
        target = allocate(announced)
        come_bytes = await answer.read_into(target)
        if come_bytes < announced:
            raise ShortRead(f"{uri}: {come_bytes} of {announced} bytes came", key=uri)
        return target
    if "transfer-encoding" not in answer.headers:
        # Its end would be the connection's, which may as well have broken.
        raise FetchError(f"{uri}: the server does not tell where the object ends (no Content-Length)", key=uri)
    pieces: list[Buffer] = []
    come_bytes = 0
    while piece := await answer.read():
        pieces.append(piece)
        come_bytes += len(piece)
        if come_bytes > _UNANNOUNCED_LIMIT_BYTES:
            raise FetchError(f"{uri}: more than {_UNANNOUNCED_LIMIT_BYTES} bytes come unannounced", key=uri)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def etag_of(headers: Mapping[str, str]) -> str | None:
    """The version, without quotes. A weak one (``W/"…"``) is none: bytes of the same may differ, and If-Match fails."""
    told = headers.get("ETag", "")
    return None if told.startswith("W/") else told.strip('"') or None


def _read_unsatisfied(wanted: RangeRequest, answer: Answer, etag: str | None) -> Piece | None:
    """The object ends before the range. Of an empty one that is so for every range. None: the server does not tell."""
    match = _NO_SPAN.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        return None
    size_bytes = int(match[1])
    if wanted.start < size_bytes:
        raise FetchError(f"{wanted.uri}: the server refuses the range from byte {wanted.start} on", key=wanted.uri)
    return Piece(b"", wanted.start, size_bytes, etag)


def _check_span(wanted: RangeRequest, answer: Answer) -> int:
    """Size of the whole object, if the range is the one that was asked for."""
    told = answer.headers.get("Content-Range", "")
    match = _SPAN.fullmatch(told)
    if match:
        first, last, size_bytes = (int(number) for number in match.groups())
        if wanted.start == first <= last and last + 1 == min(wanted.stop, size_bytes):
            return size_bytes
    asked = f"bytes {wanted.start}-{wanted.stop - 1}"
    raise FetchError(f"{wanted.uri}: the server was asked for {asked} and sends {told!r}", key=wanted.uri)


async def _read_into_place(wanted: RangeRequest, answer: Answer, size_bytes: int) -> memoryview:
    """The body, copied to where it belongs."""
    target = allocate(size_bytes) if wanted.into is None else wanted.into[:size_bytes]
    announced = answer.content_length
    if announced is not None and announced > size_bytes:
        raise ServerFault(f"{wanted.uri}: more than the {size_bytes} bytes of the range come", key=wanted.uri)
    come_bytes = await answer.read_into(target)
    if come_bytes < size_bytes:
        raise ShortRead(f"{wanted.uri}: {come_bytes} of {size_bytes} bytes came", key=wanted.uri)
    if announced is None and await answer.read():
        raise ServerFault(f"{wanted.uri}: more than the {size_bytes} bytes of the range came", key=wanted.uri)
    return target


async def _read_out_of_whole(wanted: RangeRequest, answer: Answer, etag: str | None) -> Piece:
    """The server does not do ranges and sends everything: all of it, or what was asked for out of it."""
    size_bytes = answer.content_length
    if size_bytes is None:
        return await _read_unannounced(wanted, answer, etag)
    if wanted.start == 0 and (wanted.into is None or size_bytes <= len(wanted.into)):
        data = await _read_into_place(wanted, answer, size_bytes)
        return Piece(data, 0, size_bytes, etag, checksum_of(answer.headers))
    start, stop = (min(place, size_bytes) for place in (wanted.start, wanted.stop))
    target = allocate(stop - start) if wanted.into is None else wanted.into[: stop - start]
    come_bytes = 0
    # The rest is left on the wire, and the connection with it.
    while come_bytes < stop and (piece := await answer.read()):
        part = piece[max(0, start - come_bytes) : stop - come_bytes]
        place = max(0, come_bytes - start)
        target[place : place + len(part)] = part
        come_bytes += len(piece)
    if come_bytes < stop:
        raise ShortRead(f"{wanted.uri}: {come_bytes} of {size_bytes} bytes came", key=wanted.uri)
    return Piece(target, start, size_bytes, etag)


async def _read_unannounced(wanted: RangeRequest, answer: Answer, etag: str | None) -> Piece:
    """Everything, from a server that does not tell beforehand how much that is: of use to who wants all of it."""
    if wanted.start > 0 or wanted.into is not None:
        raise FetchError(f"{wanted.uri}: the server does not tell the size (no Content-Length)", key=wanted.uri)
    data = await gather_body(wanted.uri, answer)
    return Piece(data, 0, len(data), etag, checksum_of(answer.headers))
