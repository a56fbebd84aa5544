"""What carries requests and answers: the seam between `Exchange` and the HTTP clients below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from asyncio_loader.errors import FetchError, FetchTimeout
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.s3.address import Address

__all__ = [
    "DNS_TTL_S",
    "KEEP_ALIVE_S",
    "Answer",
    "Place",
    "Request",
    "Transport",
    "TransportError",
    "closed",
    "timed_out",
    "unreachable",
    "unresolved",
    "untrusted",
]

KEEP_ALIVE_S = 15.0
"""How long an idle connection is kept: long enough for the pauses between bursts of GETs; S3 itself closes it after
some 20 s."""

DNS_TTL_S = 10.0
"""How long addresses are good: S3 changes those behind its names within seconds to spread the load."""

Place: TypeAlias = Callable[[int], memoryview | None]
"""Asked once for the place of a body of so many bytes, before any of it is read; None: it has to wait.

The place is one byte longer: what comes there was not announced, and shows at once. (It spares a system call, too: a
read that fills all of its memory has to be followed by another one.) What it raises comes out of `Transport.send`.
"""


class Request:
    """What is sent. Not to be changed.

    Attributes:
        method: ``GET``, ``HEAD`` or ``PUT``.
        address: where to.
        target: path and query, percent-encoded.
        headers: in lower case, ``host`` included.
        body: what a PUT sends; it stays as it is until the request has ended.
        place: where the body of an answer with status 200 and a Content-Length goes; None: who reads it decides.
    """

    __slots__ = ("address", "body", "headers", "method", "place", "target")

    def __init__(
        self,
        method: str,
        address: Address,
        target: str,
        headers: Mapping[str, str],
        body: memoryview | None = None,
        place: Place | None = None,
    ) -> None:
        self.method = method
        self.address = address
        self.target = target
        self.headers = headers
        self.body = body
        self.place = place


class Answer(Protocol):
    """An answer whose head has come. It is read by one task, within the block of `Transport.send`.

    All of its methods raise TransportError where the connection, the server or a timeout ends the body too early.

    Attributes:
        status: the HTTP status.
        reason: its phrase.
        headers: by names in any case.
        content_length: bytes that the head announces; None where it does not.
        placed: the whole body, where `Request.place` had a place for it.
    """

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def content_length(self) -> int | None: ...

    @property
    def placed(self) -> memoryview | None: ...

    def drop(self) -> None:
        """No other request shall follow on its connection."""
        ...

    def rest(self) -> None:
        """Nothing is wanted from the server until the next read: no timeout runs."""
        ...

    async def read(self) -> Buffer:
        """As many bytes of the body as are there, at least one; none at its end. They stay as they are."""
        ...

    async def read_into(self, target: memoryview) -> int:
        """Fill the target with the next bytes of the body; how many came, fewer than it takes only at the end."""
        ...


class Transport(Protocol):
    """An HTTP client on one loop."""

    def send(self, request: Request) -> AbstractAsyncContextManager[Answer]:
        """Send a request; its answer, at the beginning of the body.

        Leaving the block before the body was read drops the connection, as cancelling does.

        Raises:
            TransportError: upon entering, there was no answer.
        """
        ...

    async def aclose(self) -> None:
        """Fail what is in flight and drop all connections. Idempotent."""
        ...


class TransportError(Exception):
    """What network, server or timeout did to a request.

    Attributes:
        kind: the class of error that it means for an object.
        what: in words, without the object.
    """

    def __init__(self, what: str, *, kind: type[FetchError]) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


def closed() -> TransportError:
    """The error of requests that a closing store ends. Not for a retry, which would open it again."""
    return TransportError("the store was closed", kind=FetchError)


_PHASES = {
    "connection": ("connect_timeout_s", "no connection to"),
    "head": ("first_byte_timeout_s", "no answer from"),
    "bytes": ("stall_timeout_s", "no further byte from"),
    "room": ("stall_timeout_s", "no further byte taken by"),
}


def timed_out(phase: str, endpoint: str, timeouts: RetryPolicy) -> TransportError:
    """The error of a phase (``connection``, ``head``, ``bytes``, ``room``) that took too long."""
    option, what = _PHASES[phase]
    text = f"{what} {endpoint} within {getattr(timeouts, option):g} s ({option})"
    return TransportError(text, kind=FetchTimeout)


def untrusted(endpoint: str, reason: str) -> TransportError:
    """The error of a certificate that is not trusted: final, for the next handshake would show the same one."""
    text = (
        f"TLS: the certificate of {endpoint} is not trusted ({reason}); if an authority of your own signed it, name its"
        " PEM file in S3Options.ca_bundle or AWS_CA_BUNDLE"
    )
    return TransportError(text, kind=FetchError)


def unresolved(endpoint: str) -> str:
    """What to say where a name has no address."""
    return f"cannot resolve the host of {endpoint}; look at S3Options.endpoint_url and region_name"


def unreachable(endpoint: str, reason: str) -> str:
    """What to say where nobody listens."""
    return f"cannot reach {endpoint} ({reason}); look at S3Options.endpoint_url"
