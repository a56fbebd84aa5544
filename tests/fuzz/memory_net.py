"""A network in memory: connections whose other end is a list of packets, on a loop of virtual time.

It reads as asyncio's own loops do: one `get_buffer` and `buffer_updated` per readiness, or, as uvloop does, again and
again while a read fills its buffer.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, ParamSpec, TypeAlias

from asyncio_loader.testing.virtual_time import VirtualTimeLoop

__all__ = [
    "EOF",
    "RESET",
    "MemoryLoop",
    "MemoryTransport",
    "Packet",
    "Reuse",
    "Server",
    "in_memory",
    "memory_loop",
    "timers_left",
]

P = ParamSpec("P")

EOF = "EOF"
RESET = "RESET"

Packet: TypeAlias = tuple[float, bytes | str]
"""Seconds after the one before, and bytes, `EOF` or `RESET`."""


class Reuse(NamedTuple):
    """A request on a connection that has carried one before.

    Attributes:
        request: the one before.
        arrived: all bytes that have come since.
        unread_bytes: how many of them the client has not read yet.
    """

    request: bytes
    arrived: bytes
    unread_bytes: int


class Server:
    """What answers: a function from the bytes of a request to packets.

    Args:
        answer: that function.
        greeting: what comes before any request.
        reads_on: whether the loop reads on while a read fills its buffer.
        turns: of the loop between the beginning of a connection and the moment that the client hears of it.

    Attributes:
        transports: of all connections that were opened.
        crashes: what the client's protocol raised into the loop.
        reuses: of connections.
    """

    def __init__(
        self,
        answer: Callable[[bytes], list[Packet]],
        *,
        greeting: list[Packet] | None = None,
        reads_on: bool = False,
        turns: int = 1,
    ) -> None:
        self.answer = answer
        self.greeting = greeting or []
        self.reads_on = reads_on
        self.turns = turns
        self.transports: list[MemoryTransport] = []
        self.crashes: list[BaseException] = []
        self.reuses: list[Reuse] = []

    @property
    def open_transports(self) -> list[MemoryTransport]:
        """Those that the client has not closed."""
        return [transport for transport in self.transports if not transport.is_lost]


class MemoryTransport(asyncio.Transport):
    """The client's end of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BufferedProtocol, server: Server) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._server = server
        self._request = b""
        self._arrived = bytearray()
        self._kernel = bytearray()
        # Of what lies in the kernel, so much was there already at the last read.
        self._seen = 0
        self._end: str | None = None
        self._coming: deque[Packet] = deque()
        self._timer: asyncio.Handle | None = None
        self._reading: asyncio.Handle | None = None
        self._is_paused = False
        self._is_closing = False
        self.is_lost = False

    def write(self, data: Any) -> None:
        """A request. What of earlier answers has not arrived yet never will: the server has thought better of it."""
        if self._is_closing:
            return
        # As if these had not arrived either: nobody can tell them from an answer to this request.
        late = len(self._kernel) - self._seen
        del self._kernel[len(self._kernel) - late :], self._arrived[len(self._arrived) - late :]
        if self._request:
            self._server.reuses.append(Reuse(self._request, bytes(self._arrived), len(self._kernel)))
        self._request = bytes(data)
        self._arrived.clear()
        self.stop()
        self.send(self._server.answer(self._request))

    def send(self, packets: list[Packet]) -> None:
        """Let these arrive, one after the other."""
        self._coming.extend(packets)
        self._wait_for_next()

    def stop(self) -> None:
        """Nothing more arrives."""
        self._coming.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def unread_bytes(self) -> int:
        """What has arrived and waits to be read."""
        return len(self._kernel)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._be_ready()

    def is_closing(self) -> bool:
        return self._is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def close(self) -> None:
        self._close(None)

    def abort(self) -> None:
        self._close(None)

    def _close(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.stop()
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self.is_lost = True
        self._call(self._protocol.connection_lost, error)

    def _wait_for_next(self) -> None:
        if self._timer is None and self._coming and not self._is_closing:
            delay_s, _ = self._coming[0]
            call = self._loop.call_later if delay_s else _call_soon(self._loop)
            self._timer = call(delay_s, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        _, what = self._coming.popleft()
        if isinstance(what, bytes):
            self._kernel += what
            self._arrived += what
        else:
            self._end = what
        self._be_ready()
        self._wait_for_next()

    def _be_ready(self) -> None:
        if self._reading is None and not self._is_paused and not self._is_closing and (self._kernel or self._end):
            self._reading = self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._reading = None
        is_full = True
        while is_full and self._kernel and not self._is_paused and not self._is_closing:
            is_full = self._read_once() and self._server.reads_on
        if not self._kernel and self._end is not None and not self._is_paused and not self._is_closing:
            self._call(self._protocol.eof_received)
            self._close(None if self._end == EOF else ConnectionResetError(104, "Connection reset by peer"))
        self._be_ready()

    def _read_once(self) -> bool:
        """Whether it filled the buffer."""
        buffer = self._call(self._protocol.get_buffer, -1)
        if buffer is None:
            return False
        room = memoryview(buffer)
        count = min(len(room), len(self._kernel))
        room[:count] = self._kernel[:count]
        del self._kernel[:count]
        self._seen = len(self._kernel)
        is_full = count == len(room)
        self._call(self._protocol.buffer_updated, count)
        return is_full

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        # As a loop does: it tells of the bug and closes.
        try:
            return method(*args)
        except Exception as error:  # noqa: BLE001  # that there is none is what is tested
            self._server.crashes.append(error)
            self._close(error)
            return None


class MemoryLoop(VirtualTimeLoop):
    """Connects to `server`, whatever the address.

    Attributes:
        addresses: of every name.
        dead: addresses where nobody listens.
        silent: addresses that never answer.
        looked_up: the names, in order.
        dialled: the addresses, in order.
    """

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.addresses = ["192.0.2.1"]
        self.dead: set[str] = set()
        self.silent: set[str] = set()
        self.looked_up: list[str] = []
        self.dialled: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        self.looked_up.append(host)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]

    async def create_connection(self, protocol_factory: Any, host: Any = None, *_: Any, **__: Any) -> Any:
        self.dialled.append(host)
        if host in self.silent:
            await asyncio.Event().wait()
        if host in self.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = protocol_factory()
        transport = MemoryTransport(self, protocol, self.server)
        self.server.transports.append(transport)
        protocol.connection_made(transport)
        transport.send(list(self.server.greeting))
        # The caller hears of it some turns later, as with sockets.
        for _ in range(self.server.turns):
            await asyncio.sleep(0)
        return transport, protocol


def in_memory(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a `MemoryLoop`, which must be left without a timer."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def run_and_look() -> None:
            await test(*args, **kwargs)
            assert timers_left() == []

        with asyncio.Runner(debug=True, loop_factory=MemoryLoop) as runner:
            runner.run(run_and_look())

    return run


def memory_loop() -> MemoryLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MemoryLoop)
    return loop


def timers_left() -> list[asyncio.TimerHandle]:
    """What the running loop would still call one day."""
    scheduled: list[asyncio.TimerHandle] = memory_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


def _call_soon(loop: asyncio.AbstractEventLoop) -> Callable[[float, Callable[[], None]], asyncio.Handle]:
    return lambda _, callback: loop.call_soon(callback)
