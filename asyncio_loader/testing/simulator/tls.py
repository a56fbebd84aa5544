"""The certificate of a simulator that speaks TLS, made for its lifetime; the package `trustme` makes it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from asyncio_loader.errors import ConfigError

__all__ = ["AUTHORITY_FILE", "open_server_context", "write_authority"]

AUTHORITY_FILE = "authority.pem"
"""For clients to trust."""

_SERVER_FILE = "server.pem"


def write_authority(directory: Path, host: str) -> None:
    """Write `AUTHORITY_FILE`, and the key and certificate of `host` for `open_server_context`.

    The certificate is also good for ``s3.test`` and the names below it (RFC 6761), for tests of name resolution.

    Raises:
        ConfigError: `trustme` is not installed.
    """
    try:
        import trustme
    except ImportError as error:
        raise ConfigError("S3Simulator: tls=True needs the package trustme") from error
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / AUTHORITY_FILE)
    authority.issue_cert(host, "s3.test", "*.s3.test").private_key_and_cert_chain_pem.write_to_path(
        directory / _SERVER_FILE
    )


def open_server_context(directory: Path, breaks_handshake: Callable[[], bool]) -> ssl.SSLContext | None:
    """A server's context from what `write_authority` wrote; None where it wrote nothing: no TLS.

    `breaks_handshake` is asked for each connection when its first message has come.
    """
    if not (directory / _SERVER_FILE).exists():
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / _SERVER_FILE)

    def meet(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        del tls, name, context
        return ssl.ALERT_DESCRIPTION_HANDSHAKE_FAILURE if breaks_handshake() else None

    context.sni_callback = meet
    return context
