"""Our own HTTP client: connections that stay open, spread over the addresses of their server."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any

from asyncio_loader.errors import ConnectionLost
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.addresses import Addresses, Origin
from asyncio_loader.stores.s3.connection import SCRATCH_BYTES, Connection, StaleConnection
from asyncio_loader.stores.s3.http1 import render_request
from asyncio_loader.stores.s3.tls import ResumingContext
from asyncio_loader.stores.s3.transport import (
    KEEP_ALIVE_S,
    Answer,
    Place,
    Request,
    TransportError,
    closed,
    timed_out,
    unreachable,
    unresolved,
    untrusted,
)

__all__ = ["Http1Transport"]

# A connection that is older is not used again, so that new addresses of a server get their share. It costs a handshake,
# some 1 ms with TLS, every two minutes.
_OLDEST_S = 120.0


class Http1Transport:
    """GET and HEAD over connections of ours: see `Transport`. A PUT it does not know.

    One call of `send` is one request, but for one case: a pooled connection that turns out to have been closed by the
    server, before any byte of an answer, is replaced, once, by a new one.

    Args:
        endpoint: the server, for messages.
        scheme: ``http`` or ``https``.
        tls: None for plain http.
        timeouts: of each request.
    """

    def __init__(self, endpoint: str, scheme: str, tls: ssl.SSLContext | None, *, timeouts: RetryPolicy) -> None:
        self._endpoint = endpoint
        self._scheme = scheme
        self._tls = tls
        self._timeouts = timeouts
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        self._pools: dict[str, Pool] = {}
        self._is_closed = False

    def send(self, request: Request) -> _Sending:
        """See `Transport`."""
        return _Sending(self, request)

    async def ask(self, host: str, method: str, data: bytes, place: Place | None) -> Connection:
        """Send a request as it is; the connection with its answer, to be given back by `give_back`.

        For `send`, and for who has the request ready and does without its block. Cancelling it drops the connection.

        Args:
            host: as in its header.
            method: of the request.
            data: all of it.
            place: see `Request.place`.

        Raises:
            TransportError: there is no answer.
        """
        pool = self._pools.get(host) or self._open_pool(host)
        connection = pool.take() or await pool.connect()
        try:
            await connection.ask(data, method, place)
        except StaleConnection:
            connection.give_up()
            connection = await pool.connect()
            await _ask_anew(connection, data, method, place)
        except BaseException:
            # Cancelled ones, too: what the answer would say is for nobody now.
            connection.give_up()
            raise
        return connection

    def give_back(self, host: str, connection: Connection) -> None:
        """The answer was read, or is of no interest any more: then the connection is dropped."""
        pool = self._pools.get(host)
        if pool is None:
            # Closed meanwhile.
            connection.give_up()
        else:
            pool.give_back(connection)

    def _open_pool(self, host: str) -> Pool:
        if self._is_closed:
            raise closed()
        origin = Origin.parse(host, self._scheme)
        pool = self._pools[host] = Pool(self._endpoint, origin, self._tls, self._timeouts, self._scratch)
        return pool

    async def aclose(self) -> None:
        """See `Transport`."""
        self._is_closed = True
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.aclose()


class _Sending:
    """The block of a request."""

    __slots__ = ("_connection", "_request", "_transport")

    def __init__(self, transport: Http1Transport, request: Request) -> None:
        self._transport = transport
        self._request = request
        self._connection: Connection | None = None

    async def __aenter__(self) -> Answer:
        request = self._request
        data = render_request(request.method, request.target, request.headers)
        connection = await self._transport.ask(request.address.host, request.method, data, request.place)
        self._connection = connection
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        self._transport.give_back(self._request.address.host, self._connection)


async def _ask_anew(connection: Connection, data: bytes, method: str, place: Place | None) -> None:
    try:
        await connection.ask(data, method, place)
    except BaseException:
        connection.give_up()
        raise


class Pool:
    """The connections to one host and port: the one that was used last is taken first, so that the others grow old.

    Attributes:
        endpoint: the server, for messages.
        timeouts: of each request.
        scratch: see `connection.Home`.
    """

    def __init__(
        self,
        endpoint: str,
        origin: Origin,
        tls: ssl.SSLContext | None,
        timeouts: RetryPolicy,
        scratch: memoryview,
    ) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts
        self.scratch = scratch
        self._origin = origin
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._addresses = Addresses(origin)
        self._connecting: set[asyncio.Timeout] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None
        self._is_closed = False

    def take(self) -> Connection | None:
        """An idle connection; None where there is none that is likely to be good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_closed:
                continue
            now_s = self._loop.time()
            if now_s - connection.idle_since_s < KEEP_ALIVE_S and now_s - connection.born_s < _OLDEST_S:
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """A new connection, to the address whose turn it is, or to the next one that can be reached.

        Raises:
            TransportError: none could be had within `connect_timeout_s`.
        """
        if self._is_closed:
            raise closed()
        limit = asyncio.timeout(self.timeouts.connect_timeout_s)
        self._connecting.add(limit)
        try:
            async with limit:
                return await self._connect(limit)
        except TimeoutError:
            if self._is_closed:
                raise closed() from None
            self._addresses.expire()
            raise timed_out("connection", self.endpoint, self.timeouts) from None
        finally:
            self._connecting.discard(limit)
            self._note_end()

    def give_back(self, connection: Connection) -> None:
        """Its answer was read, or is of no interest any more."""
        if self._is_closed:
            connection.abort()
            return
        if self._tls is not None and not connection.is_reused:
            self._keep_session(connection)
        if not connection.finish():
            return
        if connection.is_full:
            # What stands behind the answer shows with the next read. As an answer to the next request it would not.
            self._loop.call_later(0.0, self._keep, connection)
        else:
            self._keep(connection)

    def remember(self, connection: Connection) -> None:
        """See `connection.Home`."""
        self._open.add(connection)

    def forget(self, connection: Connection) -> None:
        """See `connection.Home`."""
        self._open.discard(connection)
        self._note_end()

    async def aclose(self) -> None:
        """Fail what is in flight and close all connections; returns when they are closed."""
        self._is_closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.close()
        for limit in self._connecting:
            if not limit.expired():
                limit.reschedule(self._loop.time())
        if self._open or self._connecting:
            self._all_gone = self._loop.create_future()
            await self._all_gone
        self._addresses.close()

    def _note_end(self) -> None:
        if self._all_gone is not None and not self._open and not self._connecting and not self._all_gone.done():
            self._all_gone.set_result(None)

    def _keep(self, connection: Connection) -> None:
        if self._is_closed or connection.is_closed:
            connection.abort()
            return
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = self._loop.call_later(KEEP_ALIVE_S, self._reap)

    async def _connect(self, limit: asyncio.Timeout) -> Connection:
        try:
            addresses = await self._addresses.choose()
        except OSError as error:
            raise TransportError(unresolved(self.endpoint), kind=ConnectionLost) from error
        ends_s = limit.when()
        assert ends_s is not None
        for place, address in enumerate(addresses):
            # An address that swallows packets must leave time for the next one.
            share_s = (ends_s - self._loop.time()) / (2 if place + 1 < len(addresses) else 1)
            try:
                async with asyncio.timeout(share_s):
                    connection = await self._open_one(address)
            except OSError as error:
                # TimeoutError is one, too.
                self._addresses.note_bad(address)
                self._forget_session()
                if place + 1 == len(addresses):
                    raise self._error_of(error) from error
            else:
                return connection
        raise AssertionError("unreachable")

    async def _open_one(self, address: tuple[Any, ...]) -> Connection:
        connection = Connection(self)
        try:
            await self._loop.create_connection(
                lambda: connection,
                host=address[0],
                port=self._origin.port,
                ssl=self._tls,
                server_hostname=self._origin.host if self._tls is not None else None,
            )
        except BaseException:
            # A loop that is interrupted between `connection_made` and its return may never call `connection_lost`.
            connection.abort()
            self.forget(connection)
            raise
        # Closed while it was being opened.
        if self._is_closed:
            connection.abort()
            raise closed()
        return connection

    def _keep_session(self, connection: Connection) -> None:
        tls = connection.tls
        if isinstance(self._tls, ResumingContext) and tls is not None:
            self._tls.keep(self._origin.host, tls)

    def _forget_session(self) -> None:
        if isinstance(self._tls, ResumingContext):
            self._tls.forget(self._origin.host)

    def _reap(self) -> None:
        """Close what has been idle too long, as a server would."""
        self._reaper = None
        # A loop may call a little before the time.
        now_s = self._loop.time() + 0.001
        kept = []
        for connection in self._idle:
            if connection.is_closed or connection.idle_since_s + KEEP_ALIVE_S <= now_s:
                connection.abort()
            else:
                kept.append(connection)
        self._idle = kept
        if kept:
            self._reaper = self._loop.call_at(kept[0].idle_since_s + KEEP_ALIVE_S, self._reap)

    def _error_of(self, error: OSError) -> TransportError:
        endpoint = self.endpoint
        if isinstance(error, TimeoutError) and not error.errno:
            return timed_out("connection", endpoint, self.timeouts)
        match error:
            case ssl.SSLCertVerificationError():
                return untrusted(endpoint, _reason(error))
            case ssl.SSLError():
                what = f"TLS with {endpoint} failed ({_reason(error)})"
            case _:
                what = unreachable(endpoint, _reason(error))
        return TransportError(what, kind=ConnectionLost)


def _reason(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or type(error).__name__
    return " ".join(str(text).split())[:200]
