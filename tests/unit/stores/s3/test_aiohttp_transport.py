"""The timers of a request through aiohttp, and what a request that is given up leaves behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.address import Address
from asyncio_loader.stores.s3.aiohttp_transport import AiohttpTransport, PhaseClock
from asyncio_loader.stores.s3.transport import Request, TransportError
from asyncio_loader.testing.virtual_time import in_virtual_time


@in_virtual_time
async def test_each_phase_has_its_own_limit_and_rest_has_none() -> None:
    timeouts = RetryPolicy(connect_timeout_s=1, first_byte_timeout_s=10, stall_timeout_s=5)

    async with PhaseClock(timeouts) as clock:
        await asyncio.sleep(0.9)
        clock.expect_head()
        await asyncio.sleep(9.9)
        clock.rest()
        await asyncio.sleep(10_000)
        for _ in range(3):
            clock.expect_bytes()
            await asyncio.sleep(4.9)


@pytest.mark.parametrize(("phase", "limit_s"), [(None, 1.0), ("expect_head", 10.0), ("expect_bytes", 5.0)])
@in_virtual_time
async def test_a_phase_ends_at_its_limit(phase: str | None, limit_s: float) -> None:
    async def wait() -> None:
        async with PhaseClock(RetryPolicy(connect_timeout_s=1, first_byte_timeout_s=10, stall_timeout_s=5)) as clock:
            if phase is not None:
                getattr(clock, phase)()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()

    assert asyncio.get_running_loop().time() == pytest.approx(limit_s)


@pytest.mark.parametrize("size", [40_000, 4_000_000])
def test_a_put_that_is_given_up_leaves_no_connection_behind(
    size: int, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """The server takes no byte: what is sent lies in the client's buffers for ever."""

    async def put(transport: AiohttpTransport, host: str) -> None:
        address, body = Address(host, "/bucket/key", "http"), memoryview(bytes(size))
        request = Request("PUT", address, address.path, {"host": host}, body=body)
        async with transport.send(request):
            pytest.fail("nobody answers")

    async def give_up(host: str) -> None:
        transport = AiohttpTransport(f"http://{host}", None, timeouts=RetryPolicy())
        putting = asyncio.ensure_future(put(transport, host))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(putting, 0.1)
        await transport.aclose()

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        server.bind(("127.0.0.1", 0))
        server.listen()
        uvloop.run(give_up(f"127.0.0.1:{server.getsockname()[1]}"))
    gc.collect()

    assert capfd.readouterr().err == ""
    assert [str(warning.message) for warning in recwarn] == []


class Ending(asyncio.Protocol):
    def __init__(self) -> None:
        self.has_ended = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended.set()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_that_has_ended_meanwhile_is_not_torn(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Closed with something to send, then sent and gone: asyncio's own transport cannot be aborted any more."""

    async def tear_late(ours: socket.socket, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        wire, protocol = await loop.create_connection(Ending, sock=ours)
        async with PhaseClock(RetryPolicy()) as clock:
            clock.start(wire)
        wire.write(bytes(4_000_000))
        wire.close()
        assert wire.get_write_buffer_size()
        theirs.setblocking(False)
        while await loop.sock_recv(theirs, 65536):
            pass
        await protocol.has_ended.wait()

        clock.tear()

    ours, theirs = socket.socketpair()
    with theirs:
        run(tear_late(ours, theirs))


@pytest.mark.parametrize("size", [4, 4_000_000])
def test_what_comes_in_place_of_an_answer_is_shown_nowhere(size: int) -> None:
    """It may echo the request. A connection that breaks in the middle of sending names it as its cause."""

    async def put(host: str) -> str:
        transport = AiohttpTransport(f"http://{host}", None, timeouts=RetryPolicy())
        address, body = Address(host, "/bucket/key", "http"), memoryview(bytes(size))
        try:
            async with transport.send(Request("PUT", address, address.path, {"host": host}, body=body)):
                pytest.fail("that was no answer")
        except TransportError as error:
            return "".join(traceback.format_exception(error))
        finally:
            await transport.aclose()

    def answer_unasked(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"x-amz-security-token: echoed\r\n\r\n")
            while connection.recv(65536):
                pass

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        answering = threading.Thread(target=answer_unasked, args=(server,))
        answering.start()
        shown = asyncio.run(put(f"127.0.0.1:{server.getsockname()[1]}"))
        answering.join()

    assert "TransportError" in shown
    assert "echoed" not in shown
