from __future__ import annotations

import base64

import pytest

from asyncio_loader.testing.simulator.checksums import Checksum, encode_checksum


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


@pytest.mark.parametrize(("algorithm", "digest"), [("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")])
def test_values_of_amazons_code_are_those_of_the_catalogue(algorithm: Checksum, digest: str) -> None:
    pytest.importorskip("awscrt")

    assert base64.b64decode(encode_checksum(algorithm, memoryview(b"123456789"))).hex() == digest
