"""A part of an object as it goes over the wire, and what servers make of it."""

from __future__ import annotations

import asyncio
import base64
import zlib

import pytest

from asyncio_loader.errors import FetchError, ObjectChanged, ServerFault, ShortRead
from asyncio_loader.stores.backoff import is_retryable
from asyncio_loader.stores.s3.ranges import etag_of
from tests.unit.stores.s3.conftest import Wire

URI = "s3://bucket/key"
BODY = b"0123456789"


def answer(status: bytes, body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    announced = b"Content-Length: %d" % (len(body) if length is None else length)
    return b"\r\n".join([b"HTTP/1.1 " + status, announced, *headers, b"", body])


async def test_range_and_version_are_asked_for(wire: Wire) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"234", b"Content-Range: bytes 2-4/10", b'ETag: "v"'))

    piece = await store.get_range(URI, 2, 5, etag="v")

    head = wire.heads[0].lower()
    assert b"\r\nrange: bytes=2-4\r\n" in head
    assert b'\r\nif-match: "v"\r\n' in head
    assert b"\r\nx-amz-checksum-mode: enabled\r\n" in head
    assert (bytes(piece.data), piece.start, piece.size_bytes, piece.etag) == (b"234", 2, 10, "v")


async def test_the_headers_of_a_range_are_signed(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"206 Partial Content", b"234", b"Content-Range: bytes 2-4/10"))

    store = wire.store(await wire.listen(script), anonymous=False)
    await store.get_range(URI, 2, 5, etag="v")

    assert b"SignedHeaders=host;if-match;range;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date" in wire.heads[0]


@pytest.mark.parametrize(
    "told",
    [b"Content-Range: bytes 0-2/10", b"Content-Range: bytes 2-3/10", b"Content-Range: bytes 2-4/*", b"X: y"],
)
async def test_another_range_than_the_one_asked_for_is_not_worth_another_try(wire: Wire, told: bytes) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"234", told))

    with pytest.raises(FetchError, match=f"{URI}: the server was asked for bytes 2-4 and sends") as caught:
        await store.get_range(URI, 2, 5)

    assert not is_retryable(caught.value)


async def test_a_range_with_status_200_is_a_range(wire: Wire) -> None:
    store = await wire.answering(answer(b"200 OK", b"234", b"Content-Range: bytes 2-4/10"))

    piece = await store.get_range(URI, 2, 5)

    assert (bytes(piece.data), piece.size_bytes) == (b"234", 10)


async def test_a_range_that_ends_early_is_a_short_read(wire: Wire) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"23", b"Content-Range: bytes 2-4/10", length=3))

    with pytest.raises(ShortRead, match=URI):
        await store.get_range(URI, 2, 5)


async def test_a_body_shorter_than_its_range_is_a_short_read(wire: Wire) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"23", b"Content-Range: bytes 2-4/10"))

    with pytest.raises(ShortRead, match=f"{URI}: 2 of 3 bytes came"):
        await store.get_range(URI, 2, 5)


async def test_a_body_longer_than_its_range_is_a_fault(wire: Wire) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"2345", b"Content-Range: bytes 2-4/10"))

    with pytest.raises(ServerFault, match=f"{URI}: more than the 3 bytes"):
        await store.get_range(URI, 2, 5)


async def test_a_server_without_ranges_sends_all_to_a_request_from_0(wire: Wire) -> None:
    store = await wire.answering(answer(b"200 OK", BODY))

    piece = await store.get_range(URI, 0, 5)

    assert (bytes(piece.data), piece.is_whole) == (BODY, True)


@pytest.mark.parametrize(("start", "stop", "data"), [(2, 5, b"234"), (0, 4, b"0123"), (8, 20, b"89"), (12, 14, b"")])
async def test_out_of_the_whole_comes_what_was_asked_for(wire: Wire, start: int, stop: int, data: bytes) -> None:
    store = await wire.answering(answer(b"200 OK", BODY))
    place = bytearray(stop - start)

    piece = await store.get_range(URI, start, stop, into=memoryview(place))

    assert (bytes(piece.data), piece.size_bytes) == (data, 10)
    assert place.startswith(data)


CHUNKED = b'HTTP/1.1 200 OK\r\nETag: "v"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n'


async def test_a_whole_of_unannounced_size_comes_to_a_request_from_0(wire: Wire) -> None:
    store = await wire.answering(CHUNKED)

    piece = await store.get_range(URI, 0, 5)

    assert (bytes(piece.data), piece.is_whole, piece.etag) == (BODY, True, "v")


@pytest.mark.parametrize(("start", "into"), [(2, None), (0, memoryview(bytearray(3)))])
async def test_no_part_of_unannounced_size_is_worth_another_try(
    wire: Wire, start: int, into: memoryview | None
) -> None:
    store = await wire.answering(CHUNKED)

    with pytest.raises(FetchError, match="does not tell the size") as caught:
        await store.get_range(URI, start, start + 3, into=into)

    assert not is_retryable(caught.value)


async def test_an_empty_object_takes_one_request(wire: Wire) -> None:
    store = await wire.answering(answer(b"416 Range Not Satisfiable", b"<Error/>", b"Content-Range: bytes */0"))

    piece = await store.get_range(URI, 0, 5)

    assert (bytes(piece.data), piece.size_bytes, piece.is_whole, len(wire.heads)) == (b"", 0, True, 1)


@pytest.mark.parametrize("size_bytes", [0, 7])
async def test_a_refusal_that_tells_no_size_makes_no_object_empty(wire: Wire, size_bytes: int) -> None:
    async def refuse_ranges(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size_bytes)
        else:
            writer.write(answer(b"416 Range Not Satisfiable", b"<Error/>"))

    store = wire.store(await wire.listen(refuse_ranges))

    if size_bytes:
        with pytest.raises(FetchError, match=f"{URI}: the server refuses the range from byte 0 on"):
            await store.get_range(URI, 0, 5)
    else:
        piece = await store.get_range(URI, 0, 5)
        assert (bytes(piece.data), piece.size_bytes, piece.is_whole) == (b"", 0, True)


async def test_a_refused_range_inside_the_object_is_not_worth_another_try(wire: Wire) -> None:
    store = await wire.answering(answer(b"416 Range Not Satisfiable", b"", b"Content-Range: bytes */10"))

    with pytest.raises(FetchError, match=f"{URI}: the server refuses the range from byte 2 on") as caught:
        await store.get_range(URI, 2, 5)

    assert not is_retryable(caught.value)


async def test_412_is_another_version(wire: Wire) -> None:
    body = b"<Error><Code>PreconditionFailed</Code></Error>"
    store = await wire.answering(answer(b"412 Precondition Failed", body))

    with pytest.raises(ObjectChanged, match=f"{URI}: another version .*HTTP 412 PreconditionFailed"):
        await store.get_range(URI, 2, 5, etag="v")


async def test_a_server_that_ignores_the_version_is_noticed(wire: Wire) -> None:
    store = await wire.answering(answer(b"206 Partial Content", b"234", b"Content-Range: bytes 2-4/10", b'ETag: "w"'))

    with pytest.raises(ObjectChanged, match=URI):
        await store.get_range(URI, 2, 5, etag="v")


@pytest.mark.parametrize(("stop", "has_checksum"), [(5, False), (10, True), (20, True)])
async def test_only_the_whole_has_the_checksum_of_the_whole(wire: Wire, stop: int, has_checksum: bool) -> None:
    crc = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big"))
    body = BODY[:stop]
    told = b"Content-Range: bytes 0-%d/10" % (len(body) - 1)
    store = await wire.answering(answer(b"206 Partial Content", body, told, b"x-amz-checksum-crc32: " + crc))

    piece = await store.get_range(URI, 0, stop)

    assert (piece.checksum is not None) == has_checksum


@pytest.mark.parametrize(("told", "etag"), [('"v"', "v"), ('W/"v"', None), ("", None)])
def test_a_weak_version_pins_nothing(told: str, etag: str | None) -> None:
    assert etag_of({"ETag": told}) == etag
