"""The serving process: ``python -m asyncio_loader.testing.simulator DIRECTORY``, started by `S3Simulator`.

DIRECTORY holds the settings, the spool and perhaps a certificate. The ports, that of S3 and that of `control`, go to
the standard output as one line once the sockets listen; after that the directory is not needed any more. The process
ends when its standard input does, or its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from asyncio_loader.testing.simulator.control import Control
from asyncio_loader.testing.simulator.server import Server
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import read_spool
from asyncio_loader.testing.simulator.tls import open_server_context

# One object of the usual size goes to the kernel in one call, not in as many as its send buffer starts small.
_SEND_BUFFER_BYTES = 1024 * 1024
_BACKLOG_ITEMS = 1024


def main(directory: Path, parent: int) -> None:
    """Serve until there is nobody left to serve."""
    settings = ServerSettings.load((directory / "settings").read_text(encoding="utf-8"))
    server = Server(settings, read_spool(directory))
    tls = open_server_context(directory, server.breaks_handshake)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, server, tls, parent))


async def _serve(settings: ServerSettings, server: Server, tls: ssl.SSLContext | None, parent: int) -> None:
    loop = asyncio.get_running_loop()
    is_orphaned = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), is_orphaned.set)
    control = Control(server)
    with _watch_parent(loop, parent, is_orphaned), socket.create_server((settings.host, settings.port)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listening = await loop.create_server(server.connect, sock=listener, ssl=tls, backlog=_BACKLOG_ITEMS)
        controlling = await loop.create_server(control.connect, "127.0.0.1", 0)
        print(listener.getsockname()[1], controlling.sockets[0].getsockname()[1], flush=True)
        await is_orphaned.wait()
        controlling.close()
        listening.close()


@contextlib.contextmanager
def _watch_parent(loop: asyncio.AbstractEventLoop, parent: int, is_orphaned: asyncio.Event) -> Iterator[None]:
    """The end of the standard input is not enough: a process forked from the parent holds its other end open."""
    if not hasattr(os, "pidfd_open"):
        yield
        return
    handle = os.pidfd_open(parent)
    try:
        loop.add_reader(handle, is_orphaned.set)
        yield
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
