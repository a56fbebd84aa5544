"""The connections that objects come and go on: their session, their timers, and what can go wrong on the way.

aiohttp's exceptions end here; botocore's end in `admin`.
"""

from __future__ import annotations

import asyncio
import ssl
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy

__all__ = ["TRANSPORT_ERRORS", "PhaseClock", "cause_of", "error_of_transport", "open_session"]

# At most twice this and one receive lie in a connection before its body is asked for, that is before `admit` lets it.
_READ_BUFFER_BYTES = 64 * 1024

# Long enough for the pauses between bursts of GETs; S3 itself closes an idle connection after some 20 s.
_KEEP_ALIVE_S = 15.0

# S3 changes the addresses behind its names within seconds to spread the load: a minute would stick to the slow ones.
_DNS_TTL_S = 10

TRANSPORT_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError)
"""All that a request through aiohttp raises because of network or server. OSError covers TimeoutError."""

_PHASES = {
    "connection": ("connect_timeout_s", "no connection to"),
    "head": ("first_byte_timeout_s", "no answer from"),
    "bytes": ("stall_timeout_s", "no further byte from"),
    "room": ("stall_timeout_s", "no further byte taken by"),
}


class PhaseClock:
    """The one timer of a request: first for the connection, then for the head, then for each gap in the body.

    A body that is sent comes before the head: `expect_room` at each step of it.

    An async context manager that raises TimeoutError out of its block when a phase lasts too long. aiohttp's own
    timeouts don't fit: `sock_read` is one figure for head and body, and would count the time that the window keeps a
    body waiting.
    """

    __slots__ = ("_loop", "_phase", "_timeouts", "_timer", "_token", "is_cut", "is_over")

    _token: Token[PhaseClock]

    def __init__(self, timeouts: RetryPolicy) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._phase = "connection"
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

    def describe(self, endpoint: str) -> str:
        """What did not come in time."""
        option, what = _PHASES[self._phase]
        return f"{what} {endpoint} within {getattr(self._timeouts, option):g} s ({option})"

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
        _running_clock.get().expect_head()
        return connection


def open_session(tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session for signed requests on the running loop; `tls` is None for plain http.

    Nothing is added to a request that its signature does not know: no cookies, no automatic headers, no redirects.
    Proxies of the environment (``HTTPS_PROXY``) and ``.netrc`` are not looked at. The number of connections is the
    caller's to bound: a wait for a free one inside aiohttp would count as time to connect.
    """
    connector = _Connector(
        limit=0,
        ttl_dns_cache=_DNS_TTL_S,
        keepalive_timeout=_KEEP_ALIVE_S,
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


def error_of_transport(uri: str, error: BaseException, endpoint: str, clock: PhaseClock) -> FetchError:
    """What one of `TRANSPORT_ERRORS` means. No message of it repeats a header."""
    kind: type[FetchError] = ConnectionLost
    match error:
        case _ if clock.is_cut:
            # Not for a retry, which would open the store again behind the back of who closed it.
            kind, what = FetchError, "the store was closed"
        case TimeoutError():
            kind, what = FetchTimeout, clock.describe(endpoint)
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            what = (
                f"TLS: the certificate of {endpoint} is not trusted ({_reason(error)}); if an authority of your own"
                " signed it, name its PEM file in S3Options.ca_bundle or AWS_CA_BUNDLE"
            )
        case aiohttp.ClientConnectorDNSError():
            what = f"cannot resolve the host of {endpoint}; look at S3Options.endpoint_url and region_name"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            what = f"TLS with {endpoint} failed ({_reason(error)})"
        case aiohttp.ClientConnectorError():
            what = f"cannot reach {endpoint} ({_reason(error)}); look at S3Options.endpoint_url"
        case aiohttp.ClientPayloadError():
            kind, what = ShortRead, f"{endpoint} ended the body before it was complete"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            kind, what = ServerFault, f"the answer of {endpoint} is not HTTP"
        case _:
            what = f"{endpoint} closed the connection ({type(error).__name__})"
    return kind(f"{uri}: {what}", key=uri)


def cause_of(error: BaseException) -> BaseException | None:
    """The error to chain to ours: None for those that carry the request's headers, or bytes of the response."""
    return None if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError) else error


def _reason(error: BaseException) -> str:
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or type(inner).__name__
    return " ".join(str(text).split())[:200]
