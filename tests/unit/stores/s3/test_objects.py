"""GET and HEAD as they go over the wire."""

from __future__ import annotations

import asyncio
import re

import pytest

from asyncio_loader.errors import ConfigError, FetchError, LoaderError, ServerFault, ShortRead, Throttled
from asyncio_loader.options import S3Options
from asyncio_loader.stores.backoff import is_retryable
from asyncio_loader.stores.s3.store import S3Store
from tests.unit.stores.s3.conftest import Wire

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "abc"\r\n\r\nhello'


async def _answer_ok(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("a b+%.jpg", "/bucket/a%20b%2B%25.jpg"),
        ("a//b/../c/./d", "/bucket/a//b/../c/./d"),
        ("../../up", "/bucket/../../up"),
        ("/lead", "/bucket//lead"),
        ("é?x=1#y", "/bucket/%C3%A9%3Fx%3D1%23y"),
        ("%41%2F", "/bucket/%2541%252F"),
    ],
)
async def test_the_request_line_has_the_key_as_it_is(wire: Wire, key: str, target: str) -> None:
    store = wire.store(await wire.listen(_answer_ok))

    await store.get(f"s3://bucket/{key}")

    assert wire.heads[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


async def test_nothing_is_sent_that_was_not_asked_for(wire: Wire) -> None:
    endpoint = await wire.listen(_answer_ok)

    await wire.store(endpoint, verify="never").get("s3://bucket/key")

    names = sorted(line.split(b":")[0].decode().lower() for line in wire.heads[0].split(b"\r\n")[1:] if line)
    assert names == ["accept-encoding", "host", "user-agent"]
    assert f"host: {endpoint.removeprefix('http://')}".encode() in wire.heads[0].lower()
    assert b"accept-encoding: identity" in wire.heads[0].lower()


async def test_a_connection_serves_one_request_after_another(wire: Wire) -> None:
    ports = set()

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername"))
        writer.write(OK)

    store = wire.store(await wire.listen(script))
    for _ in range(3):
        assert await store.get("s3://bucket/key") == b"hello"

    assert (len(wire.heads), len(ports)) == (3, 1)


async def test_no_more_requests_than_max_connections_at_once(wire: Wire) -> None:
    open_now, most = 0, 0
    both = asyncio.Event()

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 2:
            both.set()
        await both.wait()
        open_now -= 1
        writer.write(OK)

    store = S3Store(S3Options(endpoint_url=await wire.listen(script), anonymous=True), max_connections=2)
    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(store.get("s3://bucket/key"))
    await store.aclose()

    assert most == 2


async def test_head_reads_size_and_etag(wire: Wire) -> None:
    store = await wire.answering(b'HTTP/1.1 200 OK\r\nContent-Length: 123\r\nETag: "abc"\r\n\r\n')

    info = await store.head("s3://bucket/key")

    assert (info.size_bytes, info.etag) == (123, "abc")


async def test_head_without_a_size_is_not_worth_another_try(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\n\r\n")

    with pytest.raises(FetchError, match="no Content-Length") as caught:
        await store.head("s3://bucket/key")

    assert not is_retryable(caught.value)


async def test_a_compressed_object_comes_as_it_is_stored(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8bx")

    assert await store.get("s3://bucket/key") == b"\x1f\x8bx"


async def test_a_body_that_ends_early_is_a_short_read(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    with pytest.raises(ShortRead, match="s3://bucket/key"):
        await store.get("s3://bucket/key")


async def test_a_chunked_body_is_admitted_when_it_has_come(wire: Wire) -> None:
    store = await wire.answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    sizes = []

    async def admit(size_bytes: int) -> None:
        sizes.append(size_bytes)

    assert await store.get("s3://bucket/key", admit=admit) == b"hello"
    assert sizes == [5]


async def test_a_chunked_body_without_its_end_is_a_short_read(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n")

    with pytest.raises(ShortRead):
        await store.get("s3://bucket/key")


async def test_an_error_document_is_read(wire: Wire) -> None:
    body = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
    store = await wire.answering(b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with pytest.raises(Throttled, match=re.escape("(HTTP 503 SlowDown)")):
        await store.get("s3://bucket/key")


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See Other", b"307 Temporary", b"308 Permanent"])
async def test_a_location_is_not_followed(wire: Wire, status: bytes) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 %s\r\nLocation: %s/\r\nContent-Length: 0\r\n\r\n" % (status, elsewhere.encode()))

    other = Wire(wire.transport)
    elsewhere = await other.listen(_answer_ok)
    store = wire.store(await wire.listen(script))

    with pytest.raises(LoaderError, match=status[:3].decode()):
        await store.get("s3://bucket/key")
    await other.aclose()

    assert (len(wire.heads), other.heads) == (1, [])


async def test_a_bucket_in_another_region_is_asked_once_more_at_the_same_server(wire: Wire) -> None:
    # Where it cannot be told from the headers (anonymous) that the second request is another one.
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-1\r\nContent-Length: 0\r\n\r\n")

    store = wire.store(await wire.listen(script))

    with pytest.raises(ConfigError, match="is in region 'eu-west-1'"):
        await store.get("s3://bucket/key")

    assert len(wire.heads) == 2


async def test_one_get_is_one_request_whatever_fails(wire: Wire) -> None:
    store = await wire.answering(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(ServerFault):
        await store.get("s3://bucket/key")

    assert len(wire.heads) == 1


async def test_a_get_under_way_fails_when_the_store_closes(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    store = wire.store(await wire.listen(script))
    admitted = asyncio.Event()

    async def admit(_: int) -> None:
        admitted.set()

    async def get() -> None:
        with pytest.raises(FetchError, match="s3://bucket/key: the store was closed") as caught:
            await store.get("s3://bucket/key", admit=admit)
        assert not is_retryable(caught.value)

    async with asyncio.TaskGroup() as group:
        group.create_task(get())
        await admitted.wait()
        await store.aclose()


async def test_a_get_that_waits_for_its_turn_fails_when_the_store_closes(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    store = S3Store(S3Options(endpoint_url=await wire.listen(script), anonymous=True), max_connections=1)
    admitted = asyncio.Event()

    async def admit(_: int) -> None:
        admitted.set()

    async def get() -> None:
        with pytest.raises(FetchError, match="the store was closed"):
            await store.get("s3://bucket/key", admit=admit)

    async with asyncio.TaskGroup() as group:
        group.create_task(get())
        group.create_task(get())
        await admitted.wait()
        await store.aclose()

    assert len(wire.heads) == 1
