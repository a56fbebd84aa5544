"""TLS contexts that verify certificates, and take up sessions again."""

from __future__ import annotations

import os
import ssl
from typing import Any

from asyncio_loader.errors import ConfigError

__all__ = ["ResumingContext", "open_tls"]


class ResumingContext(ssl.SSLContext):
    """A client's context that offers a server the session it had with it before, which saves both a key exchange.

    asyncio and uvloop have no parameter for that; both make their TLS objects through `wrap_bio`.
    """

    def __new__(cls) -> ResumingContext:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context._sessions = {}
        return context

    _sessions: dict[str | None, ssl.SSLSession]

    def keep(self, server_hostname: str, tls: ssl.SSLObject) -> None:
        """Remember the session of a connection. With TLS 1.3 it is there only once an answer has come."""
        session = tls.session
        if session is not None and session.has_ticket:
            self._sessions[server_hostname] = session

    def forget(self, server_hostname: str) -> None:
        """The server did not like it, perhaps."""
        self._sessions.pop(server_hostname, None)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext`."""
        name = server_hostname.decode() if isinstance(server_hostname, bytes) else server_hostname
        kept: Any = session or self._sessions.get(name)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, kept)


def open_tls(ca_bundle: str | None) -> ResumingContext:
    """A context for a client, with certificate and host name verified. Reads files: not for the loop.

    Args:
        ca_bundle: PEM file or directory of the authorities to trust; None: the system's.

    Raises:
        ConfigError: it cannot be read.
    """
    # As `ssl.create_default_context` sets it up: PROTOCOL_TLS_CLIENT verifies both by default.
    context = ResumingContext()
    try:
        if ca_bundle is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        elif os.path.isdir(ca_bundle):
            context.load_verify_locations(capath=ca_bundle)
        else:
            context.load_verify_locations(cafile=ca_bundle)
    except OSError as error:
        # SSLError is an OSError: a file without a certificate ends here, too.
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"ca_bundle (S3Options or AWS_CA_BUNDLE): {ca_bundle!r} cannot be used: {reason}") from error
    return context
