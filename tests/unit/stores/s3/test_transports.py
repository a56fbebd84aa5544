"""Which client carries what, and what a proxy of the environment changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncio_loader.errors import ConfigError, FetchError
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.address import Endpoint
from asyncio_loader.stores.s3.aiohttp_transport import AiohttpTransport
from asyncio_loader.stores.s3.connections import Http1Transport
from asyncio_loader.stores.s3.site import resolve_site
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.stores.s3.transports import Transports
from asyncio_loader.testing.servers import RcloneServer
from tests.unit.stores.s3.conftest import Wire

pytestmark = pytest.mark.usefixtures("_no_proxies")

URI = "s3://bucket/key"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def _answer_ok(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


def _transports(**options: object) -> Transports:
    wanted = S3Options(**{"endpoint_url": "http://s3.invalid", **options})  # type: ignore[arg-type]
    site, _ = resolve_site(wanted)
    return Transports(site, wanted, None, RetryPolicy())


async def test_ours_reads_and_aiohttp_writes() -> None:
    transports = _transports()

    assert isinstance(transports.reading, Http1Transport)
    assert isinstance(transports.writing, AiohttpTransport)
    await transports.aclose()


async def test_aiohttp_does_both_where_it_is_wanted() -> None:
    transports = _transports(transport="aiohttp")

    assert isinstance(transports.reading, AiohttpTransport)
    assert transports.reading is transports.writing
    await transports.aclose()


async def test_nothing_is_made_that_is_not_used() -> None:
    transports = _transports()
    await transports.aclose()

    assert (transports._reading, transports._writing) == (None, None)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_behind_a_proxy_aiohttp_reads_and_says_so_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asyncio_loader.stores.s3.transports._told", set())
    monkeypatch.setenv(name, "http://user:secret@proxy.invalid:3128")
    # As for every epoch of a dataset.
    _transports()
    transports = _transports()

    assert isinstance(transports.reading, AiohttpTransport)
    assert transports.reading is transports.writing
    await transports.aclose()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert [record.getMessage() for record in caplog.records] == [
        "GETs go through aiohttp, at a multiple of the CPU time: the environment names a proxy for http://s3.invalid,"
        " which our own client does not use (NO_PROXY names exceptions)"
    ]


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://s3.test", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://s3.test", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ("https://s3.test", {"HTTPS_PROXY": "HTTP://p:1"}, "HTTP://p:1"),
        ("http://127.0.0.1:9000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://[::1]:9000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://localhost:9000", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://10.0.0.1:9000", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://s3.test", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://s3.test", {"HTTPS_PROXY": "http://p:1"}, None),
        ("http://s3.test", {"HTTP_PROXY": ""}, None),
        ("https://s3.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "s3.test"}, None),
        ("https://a.s3.test:9000", {"HTTPS_PROXY": "http://p:1", "no_proxy": ".s3.test"}, None),
        ("https://s3.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://s3.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.test"}, "http://p:1"),
    ],
)
def test_a_proxy_is_found_as_curl_finds_it(
    url: str, environ: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert resolve_site(S3Options(endpoint_url=url))[0].proxy == proxy


def test_the_password_of_a_proxy_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@p:1")

    assert "secret" not in repr(resolve_site(S3Options(endpoint_url="http://s3.test"))[0])


def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@p:1")

    with pytest.raises(ConfigError, match=r"a proxy of scheme 'socks5' .* set HTTP_PROXY, or .*NO_PROXY") as caught:
        resolve_site(S3Options(endpoint_url="http://s3.test"))

    assert "secret" not in str(caught.value)


class Proxy:
    """Forwards GETs of plain http.

    Attributes:
        lines: the request lines that came.
    """

    def __init__(self, server: asyncio.Server) -> None:
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.lines: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version = head.split(b"\r\n", 1)[0].split(b" ")
        self.lines.append(b" ".join([method, target, version]))
        scheme, _, rest = target.partition(b"://")
        host, _, path = rest.partition(b"/")
        port = int(host.rpartition(b":")[2])
        assert (method, scheme) == (b"GET", b"http")
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        # One request a connection is enough here.
        rest_of_head = head.split(b"\r\n", 1)[1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        far_writer.write(b" ".join([method, b"/" + path, version]) + b"\r\n" + rest_of_head)
        writer.write(await far_reader.read())
        await writer.drain()
        for end in (far_writer, writer):
            end.close()


@asynccontextmanager
async def _proxying() -> AsyncIterator[Proxy]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxy.serve(reader, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy = Proxy(server)
        yield proxy


async def test_gets_go_through_the_proxy_with_their_signature(
    rclone_environ: RcloneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store()
    await store.create_bucket("s3://behind-a-proxy")
    await store.put("s3://behind-a-proxy/a b+c.jpg", b"data")
    await store.aclose()

    async with _proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        # The server shall count as one far away.
        monkeypatch.setattr(Endpoint, "is_loopback", False)
        store = S3Store()
        # rclone verifies the signature.
        data = await store.get("s3://behind-a-proxy/a b+c.jpg")
        await store.aclose()

    assert data == b"data"
    assert proxy.lines == [f"GET {rclone_environ.endpoint_url}/behind-a-proxy/a%20b%2Bc.jpg HTTP/1.1".encode()]


async def test_a_proxy_that_is_not_there_is_told(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:1")

    with pytest.raises(
        FetchError, match=r"the proxy does not lead to http://s3.invalid .*look at HTTPS_PROXY"
    ) as caught:
        await wire.store("http://s3.invalid").get(URI)

    assert "secret" not in str(caught.value)


async def test_only_the_endpoint_counts_for_who_is_behind_a_proxy(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")

    assert await wire.store(await wire.listen(_answer_ok)).get(URI) == b"hello"
