"""TLS: whom we trust, that sessions are taken up again, and what a connection is that ends without a farewell."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from asyncio_loader.errors import ConfigError, ConnectionLost, FetchError, LoaderError, ShortRead
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.stores.s3.tls import open_tls

URI = "s3://bucket/key"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_tls_verifies_hosts_and_certificates() -> None:
    context = open_tls(None)

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


def test_a_bundle_may_be_a_directory(tmp_path: Path) -> None:
    assert open_tls(str(tmp_path)) is not None


def test_a_bundle_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing here")

    with pytest.raises(ConfigError, match=r"ca_bundle.*empty\.pem"):
        open_tls(str(tmp_path / "empty.pem"))


LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class TlsServer:
    """Answers every request as a test wants.

    Attributes:
        reused: of each connection, whether its session was taken up again.
        url: where it listens.
    """

    def __init__(self, answer: bytes, *, after: Callable[[asyncio.StreamWriter], Awaitable[None]] | None) -> None:
        self.reused: list[bool] = []
        self.url = ""
        self._answer = answer
        self._after = after

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reused.append(bool(writer.get_extra_info("ssl_object").session_reused))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self._answer)
                await writer.drain()
                if self._after is not None:
                    await self._after(writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _serving(
    authority: Path,
    answer: bytes = OK,
    *,
    after: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> AsyncIterator[TlsServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    context.minimum_version = context.maximum_version = version
    tls_server = TlsServer(answer, after=after)
    server = await asyncio.start_server(tls_server.serve, "127.0.0.1", 0, ssl=context)
    tls_server.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield tls_server
    server.close()


def _run(loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[[], Awaitable[None]]) -> None:
    # As an application does: not the loop of the test's own.
    with asyncio.Runner(debug=True, loop_factory=loop) as runner:
        runner.run(test())  # type: ignore[arg-type]


def _store(url: str, authority: Path, timeouts: RetryPolicy | None = None) -> S3Store:
    return S3Store(S3Options(endpoint_url=url, anonymous=True, ca_bundle=str(authority)), timeouts=timeouts)


async def _close_cleanly(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _break_off(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_taken_up_again(
    loop: Callable[[], asyncio.AbstractEventLoop], version: ssl.TLSVersion, authority: Path
) -> None:
    async def test() -> None:
        async with _serving(authority, after=_close_cleanly, version=version) as server:
            store = _store(server.url, authority)
            for _ in range(4):
                assert await store.get(URI) == b"hello"
            await store.aclose()

            assert server.reused == [False, True, True, True]

    _run(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_session_that_the_server_does_not_know_costs_nothing_but_a_handshake(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Path
) -> None:
    async def test() -> None:
        async with _serving(authority, after=_close_cleanly) as server:
            store = _store(server.url, authority)
            assert await store.get(URI) == b"hello"
            port = int(server.url.rpartition(":")[2])
        # Another one in its place, which has other keys for its tickets.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority)
        again = TlsServer(OK, after=None)
        async with await asyncio.start_server(again.serve, "127.0.0.1", port, ssl=context):
            assert await store.get(URI) == b"hello"
            await store.aclose()

        assert again.reused == [False]

    _run(loop, test)


def test_a_session_is_kept_by_name_and_forgotten() -> None:
    context = open_tls(None)
    context._sessions["s3.test"] = object()  # type: ignore[assignment]
    context.forget("s3.test")
    context.forget("s3.test")

    assert context._sessions == {}


@pytest.mark.parametrize("loop", LOOPS)
def test_one_connection_serves_request_after_request(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Path
) -> None:
    async def test() -> None:
        data = bytes(range(256)) * 2000
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data
        async with _serving(authority, answer) as server:
            store = _store(server.url, authority)
            for _ in range(5):
                assert await store.get(URI) == data
            await store.aclose()

            assert server.reused == [False]

    _run(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("end", [_close_cleanly, _break_off])
@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (OK[:-2], (ShortRead, ConnectionLost)),
        (OK[:20], (ConnectionLost,)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", (ShortRead, ConnectionLost)),
        # Without a frame no one could tell a whole body from the first half of one.
        (b"HTTP/1.1 200 OK\r\n\r\nhello", (FetchError,)),
    ],
)
def test_a_connection_that_ends_in_an_answer_is_told(
    loop: Callable[[], asyncio.AbstractEventLoop],
    end: Callable[[asyncio.StreamWriter], Awaitable[None]],
    answer: bytes,
    kinds: tuple[type[FetchError], ...],
    authority: Path,
) -> None:
    async def test() -> None:
        async with _serving(authority, answer, after=end) as server:
            store = _store(server.url, authority, RetryPolicy(stall_timeout_s=5.0))
            with pytest.raises(FetchError, match=URI) as caught:
                await store.get(URI)
            await store.aclose()

        assert type(caught.value) in kinds

    _run(loop, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_closing_in_the_middle_of_bodies_leaves_nothing_open(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Path
) -> None:
    async def test() -> None:
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
        all_there = asyncio.Event()

        async def count(_: asyncio.StreamWriter) -> None:
            if len(server.reused) == 20:
                all_there.set()

        async with _serving(authority, half, after=count) as server:
            store = _store(server.url, authority)
            tasks = [asyncio.create_task(store.get(URI)) for _ in range(20)]
            await all_there.wait()
            started = asyncio.get_running_loop().time()
            await store.aclose()
            await asyncio.wait(tasks)

            assert asyncio.get_running_loop().time() - started < 1
            for task in tasks:
                assert isinstance(task.exception(), LoaderError)

    _run(loop, test)
