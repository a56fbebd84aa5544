"""A proxy that leads to https servers (CONNECT, RFC 9110, section 9.3.6), as far as tests need one."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

__all__ = ["ConnectProxy", "in_tls_before"]

_CHUNK_BYTES = 64 * 1024


class ConnectProxy:
    """Tunnels to ports of this machine, by whatever name they are asked for. A context manager; one loop.

    Args:
        keys: ``user:password`` that it wants; None: nothing.
        tls: it speaks TLS itself.

    Attributes:
        asked: the authority of each CONNECT, in order, refused ones included.
        carried: all that clients sent through tunnels.
        refusals: answers to the next CONNECTs, instead of a tunnel.
        is_silent: whether it takes requests and answers none.
    """

    def __init__(self, *, keys: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.carried = bytearray()
        self.refusals: list[bytes] = []
        self.is_silent = False
        self._keys = keys
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self._address = self.address
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Be gone, with all tunnels. Idempotent."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            # A client that has gone; TLS errors are OSErrors, too.
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, authority, _ = head.partition("\r\n")[0].split(" ")
        assert method == "CONNECT"
        self.asked.append(authority)
        if self.is_silent:
            await reader.read()
        elif self._keys is not None and f"Basic {b64encode(self._keys.encode()).decode()}" not in head:
            # It repeats what it was sent, as a proxy may: no error may show it.
            writer.write(f"HTTP/1.1 407 Proxy Authentication Required\r\nX-Sent: {head.split()[-1]}\r\n\r\n".encode())
            await writer.drain()
        elif self.refusals:
            writer.write(self.refusals.pop(0))
            await writer.drain()
        else:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
            self._writers.add(far_writer)
            writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
            await _join(reader, writer, far_reader, far_writer, self.carried)
            self._writers.discard(far_writer)


@asynccontextmanager
async def in_tls_before(port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that speaks TLS and hands all to the one at `port`, which does not; the port of the first."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", port), bytearray())
        except OSError:
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
    carried: bytearray,
) -> None:
    """Carry bytes both ways until both ends have ended; what comes from the near one is noted."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(reader, far_writer, carried))
            group.create_task(_carry(far_reader, writer, bytearray()))
    except* OSError:
        pass
    finally:
        far_writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, carried: bytearray) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        carried += data
        writer.write(data)
        await writer.drain()
    # A reader at its end tells the writer behind it, so that neither end waits for the other.
    writer.close()
