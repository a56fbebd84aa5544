"""One request and its answer: signed by us, through a `Transport`, one attempt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.s3.address import Address, Endpoint
from asyncio_loader.stores.s3.basis import MOST_SIGNATURES, Basis, is_mended
from asyncio_loader.stores.s3.clock import ServerClock
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.faults import ERROR_BODY_BYTES, Refusal, error_of, parse_refusal
from asyncio_loader.stores.s3.http1 import render_request
from asyncio_loader.stores.s3.routes import Route, Routes
from asyncio_loader.stores.s3.sigv4 import EMPTY_SHA256, Keys, Signer
from asyncio_loader.stores.s3.transport import Answer, Place, Request, TransportError
from asyncio_loader.stores.s3.transports import Transports

__all__ = ["Body", "Exchange", "Slot", "Use"]

T = TypeVar("T")

_PLAIN_HEADERS = {"accept-encoding": "identity", "user-agent": "asyncio-loader"}
_OK = (200,)

# A bucket that lies elsewhere sends a request on, once to its region; S3 adds a second step for buckets that are new.
_MOST_HOPS = 2

_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}


class Exchange:
    """Talks to one S3 service, on one loop.

    Args:
        transports: closed with this.
        endpoint: the server.
        region: what requests are signed for, unless a bucket turns out to lie in another one.
        credentials: closed with this; None for anonymous requests.
        clock: the time of the signatures; None: one of its own.
        max_connections: requests at the same time; more wait their turn, and that wait has no timeout.
    """

    def __init__(
        self,
        transports: Transports,
        endpoint: Endpoint,
        region: str,
        credentials: Credentials | None,
        *,
        clock: ServerClock | None = None,
        max_connections: int,
    ) -> None:
        self.endpoint = endpoint
        self._transports = transports
        self._routes = Routes(endpoint, region)
        self._credentials = credentials
        self._clock = clock or ServerClock(endpoint.url)
        self._slots = asyncio.Semaphore(max_connections)
        self._keys: Keys | None = None
        self._signers: dict[str, Signer] = {}

    async def run(
        self,
        method: str,
        uri: str,
        use: Use[T],
        *,
        query: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        body: Body | None = None,
        place: Place | None = None,
        wanted: tuple[int, ...] = _OK,
        elsewhere: Route | None = None,
    ) -> T:
        """Send a request and give its answer to `use`; what that returns.

        A bucket that lies in another region is asked there, and from then on at once. Where the server refuses the time
        or the keys of the signature, and there are better ones, it is signed anew.

        Args:
            method: ``GET``, ``HEAD`` or ``PUT``.
            uri: the object.
            use: reads the answer; called if its status is one of `wanted`.
            query: parameters, sorted by name.
            extra: more headers, see `Signer.sign`.
            body: what to send.
            place: see `Request.place`.
            wanted: the statuses that are no errors.
            elsewhere: where the usual route of the bucket has led to already; None: it is tried first.

        Raises:
            FetchError: anything went wrong.
            ConfigError: no such URI, or options that do not fit the bucket.
        """
        encoded = "&".join(f"{name}={quote(value, safe='-._~')}" for name, value in query.items()) if query else ""
        first = self._routes.of(uri)
        route = elsewhere or first
        slot = Slot(self._slots)
        await slot.take()
        try:
            hops = 0 if elsewhere is None else 1
            signatures = 0
            while True:
                address = route.locate(uri)
                # Signed only now: a signature is good for 15 minutes, and the wait for a slot may be longer.
                basis = await self._basis()
                signatures += 1
                headers = self._headers(basis, method, route.region, address, encoded, extra, body)
                target = f"{address.path}?{encoded}" if encoded else address.path
                data = None if body is None else body.data
                transport = self._transports.reading if body is None else self._transports.writing
                async with transport.send(Request(method, address, target, headers, data, place)) as answer:
                    if answer.status in wanted:
                        if hops:
                            self._routes.remember(uri, route)
                        return await use(answer, slot)
                    refusal = await self._read_refusal(answer)
                elsewhere = self._routes.elsewhere(uri, route, refusal) if hops < _MOST_HOPS else None
                if elsewhere is not None:
                    hops += 1
                    signatures = 0
                    route = elsewhere
                elif signatures == MOST_SIGNATURES or not await self._is_mended(refusal, basis):
                    raise self._error_of(uri, refusal, first, method)
        except TransportError as error:
            raise error.kind(f"{uri}: {error.what}", key=uri) from error.__cause__
        except MemoryError as error:
            raise _too_large(uri, error) from error
        finally:
            slot.give()

    async def fetch(self, uri: str, use: Use[Buffer], place: Place, extra: Mapping[str, str]) -> Buffer:
        """A GET of a whole object: `run` with less around it, because this is done for every sample.

        Args:
            uri: the object.
            use: see `run`.
            place: see `run`.
            extra: see `run`; the same object at every call.

        Raises: as `run`.
        """
        ours = self._transports.ours
        if ours is None:
            return await self.run("GET", uri, use, extra=extra, place=place)
        route = self._routes.of(uri)
        slot = Slot(self._slots)
        await slot.take()
        try:
            address = route.locate(uri)
            host = address.host
            # What `_basis` does, without its coroutine.
            credentials, keys, offset_s = self._credentials, None, 0.0
            if credentials is None:
                data = render_request("GET", address.path, {"host": host, **extra, **_PLAIN_HEADERS})
            else:
                keys = credentials.fresh_keys() or await credentials.renew_keys()
                offset_s = self._clock.offset_s
                now_s = time.time() + offset_s
                data = self._signer(keys, route.region).get(host, address.path, now_s, _PLAIN_HEADERS, extra)
            answer = await ours.ask(host, "GET", data, place)
            try:
                if answer.status == 200:
                    return await use(answer, slot)
                refusal = await self._read_refusal(answer)
            finally:
                ours.give_back(host, answer)
        except TransportError as error:
            raise error.kind(f"{uri}: {error.what}", key=uri) from error.__cause__
        except MemoryError as error:
            raise _too_large(uri, error) from error
        finally:
            slot.give()
        elsewhere = self._routes.elsewhere(uri, route, refusal)
        basis = None if keys is None else Basis(keys, offset_s)
        if elsewhere is None and not await self._is_mended(refusal, basis):
            raise self._error_of(uri, refusal, route, "GET")
        return await self.run("GET", uri, use, extra=extra, place=place, elsewhere=elsewhere)

    async def aclose(self) -> None:
        """Fail what is in flight and close the connections."""
        if self._credentials is not None:
            await self._credentials.aclose()
        await self._transports.aclose()

    async def _basis(self) -> Basis | None:
        """What the next signature rests on; None where requests are anonymous."""
        if self._credentials is None:
            return None
        keys = self._credentials.fresh_keys() or await self._credentials.renew_keys()
        return Basis(keys, self._clock.offset_s)

    async def _is_mended(self, refusal: Refusal, basis: Basis | None) -> bool:
        if basis is None or self._credentials is None:
            return False
        return await is_mended(refusal, basis, self._credentials, self._clock)

    async def _read_refusal(self, answer: Answer) -> Refusal:
        body = bytearray()
        while len(body) < ERROR_BODY_BYTES and (piece := await answer.read()):
            body += piece
        return parse_refusal(answer.status, answer.reason, answer.headers, bytes(body), self._clock.now_s())

    def _error_of(self, uri: str, refusal: Refusal, route: Route, method: str) -> LoaderError:
        renewal = ""
        if self._credentials is not None and refusal.is_of_keys(has_token=False):
            renewal = self._credentials.renewal
        return error_of(uri, refusal, region=route.region, action=_ACTIONS[method], renewal=renewal)

    def _headers(
        self,
        basis: Basis | None,
        method: str,
        region: str,
        address: Address,
        query: str,
        extra: Mapping[str, str] | None,
        body: Body | None,
    ) -> dict[str, str]:
        if basis is None:
            return {"host": address.host, **(extra or {}), **_PLAIN_HEADERS}
        headers = self._signer(basis.keys, region).sign(
            method,
            address.host,
            address.path,
            now_s=time.time() + basis.offset_s,
            query=query,
            extra=extra,
            body_sha256=EMPTY_SHA256 if body is None else body.sha256,
        )
        headers.update(_PLAIN_HEADERS)
        return headers

    def _signer(self, keys: Keys, region: str) -> Signer:
        if keys is not self._keys:
            self._keys = keys
            self._signers.clear()
        signer = self._signers.get(region)
        if signer is None:
            signer = self._signers[region] = Signer(keys, region)
        return signer


def _too_large(uri: str, error: MemoryError) -> FetchError:
    return FetchError(f"{uri}: {str(error) or 'there is no memory for it'}", key=uri)


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


class Slot:
    """A place among the connections. It is given up while its body waits for the window.

    Else those who wait for the window would keep from a connection the very object that the window waits for.
    """

    __slots__ = ("_is_held", "_semaphore")

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self._semaphore = semaphore
        self._is_held = False

    async def take(self) -> None:
        """Wait for a place."""
        await self._semaphore.acquire()
        self._is_held = True

    def give(self) -> None:
        """Give the place up, if it is held."""
        if self._is_held:
            self._is_held = False
            self._semaphore.release()

    async def rest(self, permission: Awaitable[None]) -> None:
        """Await a permission without holding the place, then take it again."""
        self.give()
        await permission
        await self.take()


Use: TypeAlias = Callable[[Answer, Slot], Awaitable[T]]
"""Reads an answer."""
