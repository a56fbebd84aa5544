"""A server that says exactly what a test wants, byte by byte."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from asyncio_loader.options import RetryPolicy, S3Options, Verify
from asyncio_loader.stores.s3.store import S3Store

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Called with the head of each request; what it leaves open stays open for the next request."""


class Wire:
    """Servers on loopback and stores that talk to them, closed at the end of the test.

    Attributes:
        heads: the heads of all requests that came, in order.
        urls: endpoints of all servers, in order.
        transport: of the stores, see `S3Options`.
    """

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.heads: list[bytes] = []
        self.urls: list[str] = []
        self._servers: list[asyncio.Server] = []
        self._stores: list[S3Store] = []

    async def listen(self, script: Script) -> str:
        """Start a server; its endpoint URL."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while not writer.is_closing():
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.heads.append(head)
                    await script(head, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        return await self.serve(serve)

    async def serve(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> str:
        """Start a server that reads for itself; its endpoint URL."""
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        self.urls.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        return self.urls[-1]

    def store(
        self, endpoint_url: str, timeouts: RetryPolicy | None = None, *, verify: Verify = "auto", **options: object
    ) -> S3Store:
        """A store for that endpoint."""
        values = {"endpoint_url": endpoint_url, "anonymous": True, "transport": self.transport, **options}
        store = S3Store(S3Options(**values), timeouts=timeouts, verify=verify)  # type: ignore[arg-type]
        self._stores.append(store)
        return store

    async def answering(self, answer: bytes, timeouts: RetryPolicy | None = None) -> S3Store:
        """A store whose server gives this answer to every request and closes."""

        async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()
            writer.close()

        return self.store(await self.listen(script), timeouts)

    async def aclose(self) -> None:
        """Close everything."""
        for store in self._stores:
            await store.aclose()
        for server in self._servers:
            server.close()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A PEM file with a certificate for 127.0.0.1, its key, and itself as authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loader test authority")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path / "authority.pem"
    path.write_bytes(
        certificate.public_bytes(encoding) + key.private_bytes(encoding, form, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that set some themselves."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=["http1", "aiohttp"])
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    """See `Wire`."""
    wire = Wire(request.param)
    yield wire
    await wire.aclose()
