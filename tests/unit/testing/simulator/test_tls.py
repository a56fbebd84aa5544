from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator.tls import open_server_context, write_authority


def test_without_a_certificate_there_is_no_tls(tmp_path: Path) -> None:
    assert open_server_context(tmp_path, lambda: False) is None


@pytest.mark.parametrize("breaks", [False, True])
def test_each_handshake_is_asked_about(tmp_path: Path, breaks: bool) -> None:
    write_authority(tmp_path, "127.0.0.1")
    context = open_server_context(tmp_path, lambda: breaks)
    assert context is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    client = trusting.wrap_bio(to_client, to_server, server_hostname="bucket.s3.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLError if breaks else ssl.SSLWantReadError) as caught:
        server.do_handshake()

    assert isinstance(caught.value, ssl.SSLWantReadError) is not breaks


def test_without_trustme_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(ConfigError, match="needs the package trustme"):
        write_authority(tmp_path, "127.0.0.1")
