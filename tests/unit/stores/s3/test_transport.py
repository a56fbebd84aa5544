"""What connections do, in our words: the same for either transport."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, ConnectionLost, FetchError, FetchTimeout, ServerFault
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.backoff import is_retryable
from asyncio_loader.stores.retry import RetryLog, retry_calls
from tests.unit.stores.s3.conftest import Wire

URI = "s3://bucket/key"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
SHORT_S = 0.05


async def _stay_silent(_: bytes, writer: asyncio.StreamWriter) -> None:
    return None


async def _send_half(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(HALF)


async def test_a_missing_head_times_out(wire: Wire) -> None:
    endpoint = await wire.listen(_stay_silent)
    store = wire.store(endpoint, RetryPolicy(first_byte_timeout_s=SHORT_S))

    with pytest.raises(FetchTimeout) as caught:
        await store.get(URI)

    assert str(caught.value) == f"{URI}: no answer from {endpoint} within 0.05 s (first_byte_timeout_s)"


async def test_a_stalled_body_times_out(wire: Wire) -> None:
    endpoint = await wire.listen(_send_half)
    store = wire.store(endpoint, RetryPolicy(stall_timeout_s=SHORT_S))

    with pytest.raises(FetchTimeout) as caught:
        await store.get(URI)

    assert str(caught.value) == f"{URI}: no further byte from {endpoint} within 0.05 s (stall_timeout_s)"


async def test_a_connection_that_is_not_made_times_out(wire: Wire) -> None:
    # To a client that speaks TLS a silent server is one whose handshake never ends.
    endpoint = (await wire.listen(_stay_silent)).replace("http:", "https:")
    store = wire.store(endpoint, RetryPolicy(connect_timeout_s=SHORT_S))

    with pytest.raises(FetchTimeout) as caught:
        await store.get(URI)

    assert str(caught.value) == f"{URI}: no connection to {endpoint} within 0.05 s (connect_timeout_s)"


async def test_a_stalled_error_document_times_out(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\n")

    store = wire.store(await wire.listen(script), RetryPolicy(stall_timeout_s=SHORT_S))

    with pytest.raises(FetchTimeout, match="stall_timeout_s"):
        await store.get(URI)


async def test_a_reset_in_the_body_is_retryable(wire: Wire) -> None:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HALF)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    store = wire.store(await wire.listen(script))

    with pytest.raises(Exception, match=URI) as caught:
        await store.get(URI)

    assert type(caught.value).__name__ in ("ConnectionLost", "ShortRead")


async def test_a_connection_closed_without_an_answer_is_lost(wire: Wire) -> None:
    store = await wire.answering(b"")

    with pytest.raises(ConnectionLost, match="closed the connection"):
        await store.get(URI)


async def test_one_call_is_one_request_even_if_no_answer_comes(wire: Wire) -> None:
    store = await wire.answering(b"")

    for call in (store.get, store.head):
        with pytest.raises(ConnectionLost):
            await call(URI)

    assert [head.split()[0] for head in wire.heads] == [b"GET", b"HEAD"]


async def test_stale_connections_of_the_pool_are_mended_with_one_warning(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    # Six connections come into the pool; each is closed when a second request comes on it.
    served: set[asyncio.StreamWriter] = set()
    is_full = asyncio.Barrier(6)

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        if writer in served:
            writer.close()
            return
        served.add(writer)
        if len(wire.heads) <= 6:
            await is_full.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    store = wire.store(await wire.listen(script))
    retry, log = RetryPolicy(backoff_initial_s=0.0), RetryLog()

    async def fetch() -> bytes:
        return bytes((await retry_calls(lambda: store.get(URI), URI, retry=retry, on_retry=log))[0])

    for _ in range(2):
        async with asyncio.TaskGroup() as group:
            bodies = [group.create_task(fetch()) for _ in range(6)]

    assert {body.result() for body in bodies} == {b"hello"}
    # Our own client asks anew by itself.
    warnings = [record.levelname for record in caplog.records].count("WARNING")
    assert warnings == (1 if wire.transport == "aiohttp" else 0)


async def test_an_answer_that_is_not_http_is_a_fault(wire: Wire) -> None:
    store = await wire.answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    with pytest.raises(ServerFault, match="is not HTTP"):
        await store.get(URI)


async def test_a_server_that_is_not_there_is_named(wire: Wire) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"

        with pytest.raises(ConnectionLost) as caught:
            await wire.store(endpoint).get(URI)

    assert f"cannot reach {endpoint}" in str(caught.value)
    assert "endpoint_url" in str(caught.value)


async def test_a_host_that_does_not_resolve_is_named(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)

    with pytest.raises(ConnectionLost, match=r"cannot resolve the host of http://nowhere\.invalid"):
        await wire.store("http://nowhere.invalid").get(URI)


@pytest.fixture
async def https_endpoint(authority: Path) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def test_an_authority_of_ones_own_is_trusted(wire: Wire, https_endpoint: str, authority: Path) -> None:
    assert await wire.store(https_endpoint, ca_bundle=str(authority)).get(URI) == b"hello"


async def test_the_authority_may_come_from_the_environment(
    wire: Wire, https_endpoint: str, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))

    assert await wire.store(https_endpoint).get(URI) == b"hello"


async def test_an_unknown_authority_is_refused_with_advice(wire: Wire, https_endpoint: str) -> None:
    with pytest.raises(FetchError) as caught:
        await wire.store(https_endpoint).get(URI)

    # Another try would meet the same one.
    assert not is_retryable(caught.value)
    assert f"TLS: the certificate of {https_endpoint} is not trusted (self-signed certificate)" in str(caught.value)
    assert "ca_bundle" in str(caught.value)


async def test_a_bundle_that_is_missing_is_named(wire: Wire, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca_bundle .*nothing\.pem.*No such file"):
        await wire.store("https://127.0.0.1:1", ca_bundle=f"{tmp_path}/nothing.pem").get(URI)


async def test_speaking_tls_to_a_server_that_does_not_is_told(wire: Wire) -> None:
    async def answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_plainly, "127.0.0.1", 0)
    async with server:
        endpoint = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        with pytest.raises(ConnectionLost, match="TLS with"):
            await wire.store(endpoint).get(URI)
