from __future__ import annotations

import base64
import sys
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator import checksums
from asyncio_loader.testing.simulator.checksums import Checksum, choose_checksum, encode_checksum


@pytest.fixture(params=[True, False], ids=["with awscrt", "without"])
def has_awscrt(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(checksums, "find_spec", lambda name: object() if request.param else None)
    return request.param


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        # "123456789": the check values of the CRC catalogue, and FIPS 180.
        ("crc32", "cbf43926"),
        ("sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ],
)
def test_values_are_those_of_the_catalogue(algorithm: Checksum, digest: str) -> None:
    assert base64.b64decode(encode_checksum(algorithm, memoryview(b"123456789"))).hex() == digest


@pytest.mark.parametrize(
    ("algorithm", "value", "digest"), [("crc32c", 0xE3, "000000e3"), ("crc64nvme", 7, "00" * 7 + "07")]
)
def test_what_amazons_package_computes_is_written_big_endian(
    algorithm: Checksum, value: int, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Package:
        @staticmethod
        def compute(body: memoryview) -> int:
            return value if bytes(body) == b"123456789" else 0

    setattr(Package, algorithm, Package.compute)
    monkeypatch.setitem(sys.modules, "awscrt", Package)
    monkeypatch.setitem(sys.modules, "awscrt.checksums", Package)

    assert base64.b64decode(encode_checksum(algorithm, memoryview(b"123456789"))).hex() == digest


def test_the_default_is_that_of_s3_where_it_can_be_had(has_awscrt: bool) -> None:
    assert choose_checksum("auto") == ("crc64nvme" if has_awscrt else "crc32")


@pytest.mark.parametrize("wanted", [None, "crc32", "sha1", "sha256"])
def test_what_python_has_can_always_be_had(wanted: Any, has_awscrt: bool) -> None:
    assert choose_checksum(wanted) == wanted


@pytest.mark.parametrize("wanted", ["crc32c", "crc64nvme"])
def test_what_takes_a_package_is_refused_without_it(wanted: Any, has_awscrt: bool) -> None:
    if has_awscrt:
        assert choose_checksum(wanted) == wanted
    else:
        with pytest.raises(ConfigError, match=f"checksum='{wanted}' needs the package awscrt"):
            choose_checksum(wanted)


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="checksum must be None, 'auto' or one of"):
        choose_checksum("md5")  # type: ignore[arg-type]
