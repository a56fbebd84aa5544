"""Checksums of whole objects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import get_args

import pytest

from asyncio_loader.errors import ChecksumMismatch
from asyncio_loader.stores import checksum as checksum_module
from asyncio_loader.stores.checksum import ALGORITHMS, Algorithm, Checksum, begin_digest, verify_checksum

URI = "s3://bucket/key"
LARGE = bytes(3 * 1024 * 1024)

# Of b"123456789", as the catalogue of CRCs has it (reveng.sourceforge.io), and the standards of the others.
KNOWN = {
    "crc64nvme": "ae8b14860a799888",
    "crc32c": "e3069283",
    "crc32": "cbf43926",
    "sha1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "md5": "25f9e794323b453885f5181f1b624d0b",
}


@pytest.fixture
def _without_awscrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    checksum_module._find_crc.cache_clear()
    monkeypatch.setitem(sys.modules, "awscrt.checksums", None)
    yield
    checksum_module._find_crc.cache_clear()


def digest_of(algorithm: Algorithm, *pieces: bytes) -> bytes:
    digest = begin_digest(algorithm)
    assert digest is not None
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def test_all_algorithms_are_listed_once() -> None:
    assert sorted(ALGORITHMS) == sorted(get_args(Algorithm)) == sorted(KNOWN)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("pieces", [(b"123456789",), (b"1234", b"", b"56789")], ids=["at once", "in pieces"])
def test_a_digest_is_that_of_the_standard(algorithm: Algorithm, pieces: tuple[bytes, ...]) -> None:
    assert digest_of(algorithm, *pieces) == bytes.fromhex(KNOWN[algorithm])


@pytest.mark.parametrize("data", [b"", b"data", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_right_bytes_pass_and_others_do_not(algorithm: Algorithm, data: bytes) -> None:
    checksum = Checksum(algorithm, digest_of(algorithm, data))

    await verify_checksum(URI, checksum, memoryview(bytearray(data)))
    with pytest.raises(ChecksumMismatch, match=f"{URI}: .*{algorithm}"):
        await verify_checksum(URI, checksum, data + b"!")


async def test_without_a_checksum_everything_passes() -> None:
    await verify_checksum(URI, None, b"data")


@pytest.mark.usefixtures("_without_awscrt")
@pytest.mark.parametrize(("algorithm", "is_there"), [("crc64nvme", False), ("crc32c", False), ("crc32", True)])
async def test_without_the_package_only_what_takes_it_passes_unseen(algorithm: Algorithm, is_there: bool) -> None:
    checksum = Checksum(algorithm, bytes.fromhex(KNOWN[algorithm]))

    assert (checksum.is_computable, begin_digest(algorithm) is not None) == (is_there, is_there)
    await verify_checksum(URI, checksum, b"123456789")
    assert checksum.matches(b"other bytes") == (not is_there)
