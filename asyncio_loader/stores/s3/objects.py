"""GET and HEAD: the hot path. One attempt each, signed by us, through aiohttp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias, TypeVar

from aiohttp import ClientResponse, ClientSession

from asyncio_loader.errors import FetchError, LoaderError, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectInfo
from asyncio_loader.stores.s3.address import Address, Endpoint
from asyncio_loader.stores.s3.connections import TRANSPORT_ERRORS, PhaseClock, cause_of, error_of_transport
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import ERROR_BODY_BYTES, error_of, parse_answer
from asyncio_loader.stores.s3.sigv4 import Keys, Signer

__all__ = ["ObjectReader"]

T = TypeVar("T")

_PLAIN_HEADERS = {"accept-encoding": "identity", "user-agent": "asyncio-loader"}


class ObjectReader:
    """Fetches objects from one endpoint, on one loop.

    Args:
        session: from `open_session`; the reader closes it.
        endpoint: the server.
        region: what requests are signed for.
        credentials: None for anonymous requests.
        timeouts: of each GET.
        max_connections: requests at the same time; more wait their turn, and that wait has no timeout.
    """

    def __init__(
        self,
        session: ClientSession,
        endpoint: Endpoint,
        region: str,
        credentials: Credentials | None,
        *,
        timeouts: RetryPolicy,
        max_connections: int,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._region = region
        self._credentials = credentials
        self._timeouts = timeouts
        self._slots = asyncio.Semaphore(max_connections)
        self._clocks: set[PhaseClock] = set()
        self._keys: Keys | None = None
        self._signer: Signer | None = None

    async def get(self, uri: str, admit: Admit | None) -> Buffer:
        """See `ObjectStore.get`."""
        return await self._exchange("GET", uri, partial(_read_body, uri, admit))

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._exchange("HEAD", uri, partial(_read_head, uri))

    async def aclose(self) -> None:
        """Fail what is in flight and close the session."""
        for clock in self._clocks:
            clock.cut()
        await self._session.close()

    async def _exchange(self, method: str, uri: str, use: _Use[T]) -> T:
        address = self._endpoint.locate(uri)
        async with _Slot(self._slots) as slot:
            # Signed only now: a signature is good for 15 minutes, and the wait for a slot may be longer.
            headers = await self._headers(method, address)
            if self._session.closed:
                raise FetchError(f"{uri}: the store was closed", key=uri)
            clock = PhaseClock(self._timeouts)
            self._clocks.add(clock)
            request = self._session.request(method, address.url, headers=headers, allow_redirects=False)
            try:
                async with clock, request as response:
                    if response.status != 200:
                        raise await self._refused(uri, response, clock)
                    return await use(response, clock, slot)
            except TRANSPORT_ERRORS as error:
                # Ours are OSErrors, too, some of them.
                if isinstance(error, LoaderError):
                    raise
                raise error_of_transport(uri, error, self._endpoint.url, clock) from cause_of(error)
            finally:
                self._clocks.discard(clock)

    async def _headers(self, method: str, address: Address) -> dict[str, str]:
        if self._credentials is None:
            return {"host": address.host, **_PLAIN_HEADERS}
        keys = self._credentials.fresh_keys() or await self._credentials.renew_keys()
        if keys is not self._keys or self._signer is None:
            self._keys, self._signer = keys, Signer(keys, self._region)
        headers = self._signer.sign(method, address.host, address.path, now_s=time.time())
        headers.update(_PLAIN_HEADERS)
        return headers

    async def _refused(self, uri: str, response: ClientResponse, clock: PhaseClock) -> LoaderError:
        clock.expect_bytes()
        body = bytearray()
        while len(body) < ERROR_BODY_BYTES and (piece := await response.content.read(ERROR_BODY_BYTES - len(body))):
            body += piece
            clock.expect_bytes()
        answer = parse_answer(response.status, response.reason or "", response.headers, bytes(body))
        return error_of(uri, answer, region=self._region)


class _Slot:
    """A place among the connections. It is given up while its body waits for the window.

    Else those who wait for the window would keep from a connection the very object that the window waits for.
    """

    __slots__ = ("_is_held", "_semaphore")

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._is_held = False

    async def __aenter__(self) -> _Slot:
        await self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._give()

    async def rest(self, admit: Admit, size_bytes: int) -> None:
        """Await `admit` without holding the place, then take it again."""
        self._give()
        await admit(size_bytes)
        await self._take()

    async def _take(self) -> None:
        await self._semaphore.acquire()
        self._is_held = True

    def _give(self) -> None:
        if self._is_held:
            self._is_held = False
            self._semaphore.release()


_Use: TypeAlias = Callable[[ClientResponse, PhaseClock, _Slot], Awaitable[T]]


async def _read_body(uri: str, admit: Admit | None, response: ClientResponse, clock: PhaseClock, slot: _Slot) -> Buffer:
    """The body, copied once: out of the pieces as the socket gave them, and not even that if there is only one."""
    announced = response.content_length
    if admit is not None and announced is not None:
        clock.rest()
        await slot.rest(admit, announced)
    pieces = []
    clock.expect_bytes()
    while piece := await response.content.readany():
        pieces.append(piece)
        clock.expect_bytes()
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if announced is not None and len(data) != announced:
        raise ShortRead(f"{uri}: {len(data)} of {announced} bytes came", key=uri)
    if admit is not None and announced is None:
        clock.rest()
        await slot.rest(admit, len(data))
    return data


async def _read_head(uri: str, response: ClientResponse, *_: object) -> ObjectInfo:
    size_bytes = response.content_length
    if size_bytes is None:
        raise ServerFault(f"{uri}: the server does not tell the size (no Content-Length)", key=uri)
    etag = response.headers.get("ETag", "").removeprefix("W/").strip('"')
    return ObjectInfo(uri, size_bytes, etag or None)
