"""The transport that aiohttp makes: for PUT, behind a proxy, and for whoever asks for it. Its exceptions end here."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.payload import Payload
from yarl import URL

from asyncio_loader.errors import ConnectionLost, FetchError, LoaderError, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.s3.echoes import cause_of
from asyncio_loader.stores.s3.http1 import check_headers
from asyncio_loader.stores.s3.proxy_errors import turned_away
from asyncio_loader.stores.s3.transport import (
    DNS_TTL_S,
    KEEP_ALIVE_S,
    Answer,
    Request,
    TransportError,
    closed,
    timed_out,
    unreachable,
    unresolved,
    untrusted,
)

__all__ = ["AiohttpTransport", "PhaseClock"]

# At most twice this and one receive lie in a connection before its body is asked for, that is before `admit` lets it.
_READ_BUFFER_BYTES = 64 * 1024

# A step of a body that is sent: large enough that the loop turns some thousand times per gigabyte.
_STEP_BYTES = 256 * 1024

_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError)
"""All that a request through aiohttp raises because of network or server. OSError covers TimeoutError."""


class PhaseClock:
    """The one timer of a request: first for the connection, then for the head, then for each gap in the body.

    A body that is sent comes before the head: `expect_room` at each step of it.

    An async context manager that raises TimeoutError out of its block when a phase lasts too long. aiohttp's own
    timeouts don't fit: `sock_read` is one figure for head and body, and would count the time that the window keeps a
    body waiting.
    """

    __slots__ = ("_loop", "_phase", "_timeouts", "_timer", "_token", "_wire", "is_cut", "is_over")

    _token: Token[PhaseClock]

    def __init__(self, timeouts: RetryPolicy) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._phase = "connection"
        self._wire: asyncio.Transport | None = None
        self.is_cut = False
        self.is_over = False
        self._timer = asyncio.timeout(timeouts.connect_timeout_s)

    async def __aenter__(self) -> PhaseClock:
        await self._timer.__aenter__()
        self._token = _running_clock.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_over = True
        _running_clock.reset(self._token)
        await self._timer.__aexit__(kind, error, trace)

    def start(self, wire: asyncio.Transport | None) -> None:
        """The connection stands, and carries this request until its answer has been read."""
        self._wire = wire
        self.expect_head()

    def tear(self) -> None:
        """The request has failed: drop what of it waits to be sent, rather than wait for a server to take it.

        aiohttp closes the connection, which first sends what lies in its buffer: to a server that reads no more, for
        ever, and beyond the end of the loop. Only before the answer is the connection surely that of this request.
        """
        wire = self._wire
        if wire is None:
            return
        # Once its socket is closed, asyncio's own transport cannot be aborted any more.
        its_socket = wire.get_extra_info("socket")
        if its_socket is not None and its_socket.fileno() >= 0:
            wire.abort()

    def forget(self) -> None:
        """The request is over. A connection keeps the context that it was made in, and so the clock."""
        self._wire = None

    def expect_head(self) -> None:
        """The connection stands: the head must come within `first_byte_timeout_s`."""
        self._expect("head", self._timeouts.first_byte_timeout_s)

    def expect_bytes(self) -> None:
        """The next bytes of the body must come within `stall_timeout_s`."""
        self._expect("bytes", self._timeouts.stall_timeout_s)

    def expect_room(self) -> None:
        """The server must take the next bytes of the body that is sent within `stall_timeout_s`."""
        self._expect("room", self._timeouts.stall_timeout_s)

    def rest(self) -> None:
        """Nothing is wanted from the server now."""
        self._set_timer(None)

    def cut(self) -> None:
        """End the block now, from outside: aiohttp lets a body wait for ever when its session closes."""
        self._set_timer(self._loop.time())
        self.is_cut = True

    def error(self, endpoint: str) -> TransportError:
        """What did not come in time."""
        return timed_out(self._phase, endpoint, self._timeouts)

    def _expect(self, phase: str, limit_s: float) -> None:
        self._phase = phase
        self._set_timer(self._loop.time() + limit_s)

    def _set_timer(self, when_s: float | None) -> None:
        # What was cut stays so, even if its task runs once more before the timer does; and a body may still be on its
        # way to a server that has refused it.
        if not (self.is_cut or self.is_over or self._timer.expired()):
            self._timer.reschedule(when_s)


_running_clock: ContextVar[PhaseClock] = ContextVar("asyncio_loader.stores.s3.running_clock")


class _Connector(aiohttp.TCPConnector):
    """Tells the clock of the request when its connection stands, be it a new one or one from the pool."""

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*args, **kwargs)
        _running_clock.get().start(connection.transport)
        return connection


class AiohttpTransport:
    """See `Transport`.

    Args:
        endpoint: the server, for messages.
        tls: None for plain http.
        timeouts: of each request.
        proxy: URL of a proxy, with user and password where it wants them; None: straight to the server.
    """

    def __init__(
        self, endpoint: str, tls: ssl.SSLContext | None, *, timeouts: RetryPolicy, proxy: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._way = endpoint if proxy is None else f"{endpoint} through the proxy"
        self._timeouts = timeouts
        self._proxy = proxy
        self._session = _open_session(tls)
        self._clocks: set[PhaseClock] = set()

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Answer]:
        """See `Transport`."""
        if self._session.closed:
            raise closed()
        check_headers(request.headers)
        address = request.address
        # Encoded already: yarl and the server shall see what was signed.
        url = URL(f"{address.scheme}://{address.host}{request.target}", encoded=True)
        clock = PhaseClock(self._timeouts)
        self._clocks.add(clock)
        data = None if request.body is None else _Sending(request.body, clock)
        sending = self._session.request(
            request.method, url, headers=request.headers, data=data, allow_redirects=False, proxy=self._proxy
        )
        is_answered = False
        try:
            async with clock, sending as response:
                is_answered = True
                yield _Answer(response, clock)
        except _ERRORS as error:
            # Ours are OSErrors, too, some of them.
            if isinstance(error, LoaderError):
                raise
            # aiohttp keeps it in the answer, which the frames of its traceback have: only a collector would end that.
            error.__traceback__ = None
            raise _error_of(error, self._endpoint, self._way, clock) from cause_of(error)
        finally:
            self._clocks.discard(clock)
            if not is_answered or (data is not None and not data.is_sent):
                clock.tear()
            clock.forget()

    async def aclose(self) -> None:
        """See `Transport`."""
        for clock in self._clocks:
            clock.cut()
        await self._session.close()


class _Answer:
    """See `Answer`. What goes wrong comes out of the block of `send`."""

    __slots__ = ("_clock", "_early", "_response")

    placed = None

    def __init__(self, response: aiohttp.ClientResponse, clock: PhaseClock) -> None:
        self._response = response
        self._clock = clock
        self._early = memoryview(b"")

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str:
        return self._response.reason or ""

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def content_length(self) -> int | None:
        return self._response.content_length

    def drop(self) -> None:
        # aiohttp has taken it back at the end of the body; what it may carry by now is lost, and tried again.
        self._clock.tear()

    def rest(self) -> None:
        self._clock.rest()

    async def read(self) -> Buffer:
        if self._early:
            early, self._early = self._early, memoryview(b"")
            return early
        self._clock.expect_bytes()
        return await self._response.content.readany()

    async def read_into(self, target: memoryview) -> int:
        come = 0
        while come < len(target) and (piece := memoryview(await self.read())):
            part = piece[: len(target) - come]
            target[come : come + len(part)] = part
            self._early = piece[len(part) :]
            come += len(part)
        return come


class _Sending(Payload):
    """A body on its way. aiohttp's own for bytes neither tells the clock of progress nor likes them large."""

    # Nothing to close; aiohttp warns of a payload that was left open.
    _autoclose = True

    def __init__(self, data: memoryview, clock: PhaseClock) -> None:
        super().__init__(data)
        self._size = len(data)
        self._clock = clock
        self.is_sent = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        for start in range(0, len(self._value), _STEP_BYTES):
            self._clock.expect_room()
            await writer.write(self._value[start : start + _STEP_BYTES])
        self.is_sent = True
        self._clock.expect_head()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)


def _open_session(tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session for signed requests on the running loop; `tls` is None for plain http.

    Nothing is added to a request that its signature does not know: no cookies, no automatic headers, no redirects.
    ``.netrc`` is not looked at, and a proxy is named for each request. The number of connections is the caller's to
    bound: a wait for a free one inside aiohttp would count as time to connect.
    """
    connector = _Connector(
        limit=0,
        ttl_dns_cache=int(DNS_TTL_S),
        keepalive_timeout=KEEP_ALIVE_S,
        ssl=tls if tls is not None else True,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        read_bufsize=_READ_BUFFER_BYTES,
        trust_env=False,
    )
    # aiohttp sends a GET, HEAD or PUT whose connection closes before the answer once more by itself: twice the requests
    # that the policy allows, and unseen. A pooled connection that the server closes just then is told as lost instead,
    # which the caller's policy mends after a pause of 0.1 s at most. The attribute is private, and may go.
    if hasattr(session, "_retry_connection"):
        session._retry_connection = False
    return session


def _error_of(error: BaseException, endpoint: str, way: str, clock: PhaseClock) -> TransportError:
    """What one of `_ERRORS` means. No message of it repeats a header."""
    kind: type[FetchError] = ConnectionLost
    match error:
        case _ if clock.is_cut:
            return closed()
        case TimeoutError():
            return clock.error(way)
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return untrusted(endpoint, _reason(error))
        case aiohttp.ClientConnectorDNSError():
            what = unresolved(endpoint)
        case aiohttp.ClientSSLError() | ssl.SSLError():
            what = f"TLS with {endpoint} failed ({_reason(error)})"
        case aiohttp.ClientHttpProxyError() | aiohttp.ClientProxyConnectionError():
            return turned_away(endpoint, error)
        case aiohttp.ClientConnectorError():
            what = unreachable(endpoint, _reason(error))
        case aiohttp.ClientPayloadError():
            kind, what = ShortRead, f"{endpoint} ended the body before it was complete"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            kind, what = ServerFault, f"the answer of {endpoint} is not HTTP"
        case _:
            what = f"{endpoint} closed the connection ({type(error).__name__})"
    return TransportError(what, kind=kind)


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or type(inner).__name__
    return " ".join(str(text).split())[:200]
