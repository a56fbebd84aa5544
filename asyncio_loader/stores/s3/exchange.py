"""One request and its answer: signed by us, through aiohttp, one attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from aiohttp import ClientResponse, ClientSession
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.base import Admit
from asyncio_loader.stores.s3.address import Address, Endpoint
from asyncio_loader.stores.s3.connections import TRANSPORT_ERRORS, PhaseClock, cause_of, error_of_transport
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import ERROR_BODY_BYTES, error_of, parse_answer
from asyncio_loader.stores.s3.sigv4 import EMPTY_SHA256, Keys, Signer

__all__ = ["Body", "Exchange", "Slot", "Use"]

T = TypeVar("T")

_PLAIN_HEADERS = {"accept-encoding": "identity", "user-agent": "asyncio-loader"}
_OK = (200,)

# A step of a body that is sent: large enough that the loop turns some thousand times per gigabyte.
_STEP_BYTES = 256 * 1024


class Exchange:
    """Talks to one endpoint, on one loop.

    Args:
        session: from `open_session`; closed with this.
        endpoint: the server.
        region: what requests are signed for.
        credentials: None for anonymous requests.
        timeouts: of each request.
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
        self.endpoint = endpoint
        self._session = session
        self._region = region
        self._credentials = credentials
        self._timeouts = timeouts
        self._slots = asyncio.Semaphore(max_connections)
        self._clocks: set[PhaseClock] = set()
        self._keys: Keys | None = None
        self._signer: Signer | None = None

    async def run(
        self,
        method: str,
        uri: str,
        use: Use[T],
        *,
        query: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        body: Body | None = None,
        wanted: tuple[int, ...] = _OK,
    ) -> T:
        """Send a request and give its answer to `use`; what that returns.

        Args:
            method: ``GET``, ``HEAD`` or ``PUT``.
            uri: the object.
            use: reads the answer; called if its status is one of `wanted`.
            query: parameters, sorted by name.
            extra: more headers, see `Signer.sign`.
            body: what to send.
            wanted: the statuses that are no errors.

        Raises:
            FetchError: anything went wrong.
            ConfigError: no such URI, or options that do not fit the bucket.
        """
        address = self.endpoint.locate(uri)
        encoded = "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in query.items()) if query else ""
        url = URL(f"{address.url}?{encoded}", encoded=True) if encoded else address.url
        async with Slot(self._slots) as slot:
            # Signed only now: a signature is good for 15 minutes, and the wait for a slot may be longer.
            headers = await self._headers(method, address, encoded, extra, body)
            if self._session.closed:
                raise FetchError(f"{uri}: the store was closed", key=uri)
            clock = PhaseClock(self._timeouts)
            self._clocks.add(clock)
            data = None if body is None else _Sending(body.data, clock)
            request = self._session.request(method, url, headers=headers, data=data, allow_redirects=False)
            try:
                async with clock, request as response:
                    if response.status not in wanted:
                        raise await self._refused(method, uri, response, clock)
                    return await use(response, clock, slot)
            except TRANSPORT_ERRORS as error:
                # Ours are OSErrors, too, some of them.
                if isinstance(error, LoaderError):
                    raise
                raise error_of_transport(uri, error, self.endpoint.url, clock) from cause_of(error)
            finally:
                self._clocks.discard(clock)

    async def aclose(self) -> None:
        """Fail what is in flight and close the session."""
        for clock in self._clocks:
            clock.cut()
        await self._session.close()

    async def _headers(
        self, method: str, address: Address, query: str, extra: Mapping[str, str] | None, body: Body | None
    ) -> dict[str, str]:
        if self._credentials is None:
            return {"host": address.host, **(extra or {}), **_PLAIN_HEADERS}
        keys = self._credentials.fresh_keys() or await self._credentials.renew_keys()
        if keys is not self._keys or self._signer is None:
            self._keys, self._signer = keys, Signer(keys, self._region)
        headers = self._signer.sign(
            method,
            address.host,
            address.path,
            now_s=time.time(),
            query=query,
            extra=extra,
            body_sha256=EMPTY_SHA256 if body is None else body.sha256,
        )
        headers.update(_PLAIN_HEADERS)
        return headers

    async def _refused(self, method: str, uri: str, response: ClientResponse, clock: PhaseClock) -> LoaderError:
        clock.expect_bytes()
        body = bytearray()
        while len(body) < ERROR_BODY_BYTES and (piece := await response.content.read(ERROR_BODY_BYTES - len(body))):
            body += piece
            clock.expect_bytes()
        answer = parse_answer(response.status, response.reason or "", response.headers, bytes(body))
        return error_of(uri, answer, region=self._region, action=_ACTIONS[method])


_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}


class Body:
    """What a request sends.

    Attributes:
        data: the bytes; they stay as they are until the request has ended.
        sha256: what `Signer.sign` wants of them.
    """

    __slots__ = ("data", "sha256")

    def __init__(self, data: memoryview, sha256: str) -> None:
        self.data = data
        self.sha256 = sha256


class _Sending(Payload):
    """A body on its way. aiohttp's own for bytes neither tells the clock of progress nor likes them large."""

    # Nothing to close; aiohttp warns of a payload that was left open.
    _autoclose = True

    def __init__(self, data: memoryview, clock: PhaseClock) -> None:
        super().__init__(data)
        self._size = len(data)
        self._clock = clock

    async def write(self, writer: AbstractStreamWriter) -> None:
        for start in range(0, len(self._value), _STEP_BYTES):
            self._clock.expect_room()
            await writer.write(self._value[start : start + _STEP_BYTES])
        self._clock.expect_head()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)


class Slot:
    """A place among the connections. It is given up while its body waits for the window.

    Else those who wait for the window would keep from a connection the very object that the window waits for.
    """

    __slots__ = ("_is_held", "_semaphore")

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._is_held = False

    async def __aenter__(self) -> Slot:
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


Use: TypeAlias = Callable[[ClientResponse, PhaseClock, Slot], Awaitable[T]]
"""Reads an answer."""
