"""Where the connections to a server go: its addresses, in turn."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from asyncio_loader.stores.s3.transport import DNS_TTL_S

__all__ = ["Addresses", "Origin"]

# An address that could not be reached is the last choice for so long.
_BAD_ADDRESS_S = 30.0


class Origin(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    @classmethod
    def parse(cls, host: str, scheme: str) -> Origin:
        """Of a Host header, as ``example.com``, ``127.0.0.1:9000``, ``[::1]:9000``."""
        name, colon, port = host.rpartition(":")
        if not colon or port.endswith("]"):
            name, port = host, "443" if scheme == "https" else "80"
        return cls(name.removeprefix("[").removesuffix("]"), int(port))


class Addresses:
    """The addresses of a host, in turn; looked up again when they are old or one of them fails."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._found: list[tuple[Any, ...]] = []
        self._turns: Iterator[int] = itertools.count()
        self._expires_s = 0.0
        self._bad_until_s: dict[Any, float] = {}
        self._looking: asyncio.Task[None] | None = None

    async def choose(self) -> list[tuple[Any, ...]]:
        """All addresses, the one whose turn it is first, and those that failed of late last.

        Raises:
            OSError: the name has none, or nobody answers who knows.
        """
        if not self._found or self._loop.time() >= self._expires_s:
            await self._look_up()
        turn = next(self._turns) % len(self._found)
        now_s = self._loop.time()
        in_turn = self._found[turn:] + self._found[:turn]
        return sorted(in_turn, key=lambda address: self._bad_until_s.get(address[0], 0.0) > now_s)

    def note_bad(self, address: tuple[Any, ...]) -> None:
        """It could not be reached."""
        self._bad_until_s[address[0]] = self._loop.time() + _BAD_ADDRESS_S
        self.expire()

    def expire(self) -> None:
        """Look the name up before the next connection."""
        self._expires_s = 0.0

    def close(self) -> None:
        """End a look-up that nobody waits for any more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look_up(self) -> None:
        # Hundreds of connections begin at the same time: one look-up is enough. It outlives who began it.
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._resolve(), name=f"resolve {self._origin.host}")
            # Whoever waits for it gets its error; where nobody does any more, it is of no interest.
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._looking)

    async def _resolve(self) -> None:
        host, port = self._origin
        try:
            infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            # Of the encoding of names that are not ASCII: an empty label, or one of more than 63 characters.
            raise OSError(f"{host} cannot be looked up") from error
        found = list(dict.fromkeys(info[4] for info in infos))
        if not found:
            raise OSError(f"{host} has no address")
        self._found = found
        now_s = self._loop.time()
        self._expires_s = now_s + DNS_TTL_S
        self._bad_until_s = {name: until_s for name, until_s in self._bad_until_s.items() if until_s > now_s}
