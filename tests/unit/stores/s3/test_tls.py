from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.s3.tls import open_tls


def test_tls_verifies_hosts_and_certificates() -> None:
    context = open_tls(None)

    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs() == ssl.create_default_context().get_ca_certs()


def test_a_bundle_may_be_a_directory(tmp_path: Path) -> None:
    assert open_tls(str(tmp_path)) is not None


def test_a_bundle_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing here")

    with pytest.raises(ConfigError, match=r"ca_bundle.*empty\.pem"):
        open_tls(str(tmp_path / "empty.pem"))
