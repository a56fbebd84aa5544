"""Host names whose addresses a test decides about, and changes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

__all__ = ["ScriptedNames", "scripted_names"]


class ScriptedNames:
    """What `scripted_names` yields. Usable from any thread.

    Attributes:
        addresses: of each name, those that a look-up finds from now on. An empty list: the name is not found.
        looked_up: names that were asked for, in that order.
    """

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self.addresses = {name: list(found) for name, found in addresses.items()}
        self.looked_up: list[str] = []

    def find(self, name: str, port: int) -> list[tuple[Any, ...]]:
        """As `socket.getaddrinfo` has it for IPv4 and TCP."""
        self.looked_up.append(name)
        found = self.addresses[name]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in found]


@contextmanager
def scripted_names(addresses: Mapping[str, Sequence[str]]) -> Iterator[ScriptedNames]:
    """Have ``loop.getaddrinfo`` of every loop of this process, uvloop's included, find these names where told.

    ``127.0.0.2`` and all others of ``127.0.0.0/8`` are this machine on Linux: one that nobody listens on is a server
    that is gone. All other names are looked up as ever. Addresses that a client gives to a connection at once, without
    ``loop.getaddrinfo``, are not its concern.
    """
    names = ScriptedNames(addresses)
    with ExitStack() as patches:
        for kind in _loop_types():
            patches.enter_context(patch.object(kind, "getaddrinfo", _scripted(names, kind.getaddrinfo)))
        yield names


def _loop_types() -> list[Any]:
    kinds: list[Any] = [asyncio.BaseEventLoop]
    try:
        import uvloop
    except ImportError:
        return kinds
    return [*kinds, uvloop.Loop]


def _scripted(names: ScriptedNames, original: Callable[..., Any]) -> Callable[..., Any]:
    async def getaddrinfo(loop: Any, host: Any, port: Any, **options: Any) -> Any:
        if host in names.addresses:
            return names.find(host, port)
        return await original(loop, host, port, **options)

    return getaddrinfo
