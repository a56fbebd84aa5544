"""Checksums of whole objects."""

from __future__ import annotations

import hashlib
import zlib

import pytest

from asyncio_loader.errors import ChecksumMismatch
from asyncio_loader.stores.checksum import Checksum, verify_checksum

LARGE = bytes(600 * 1024)


@pytest.mark.parametrize("data", [b"", b"data", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("algorithm", ["crc32", "sha1", "sha256"])
async def test_the_right_bytes_pass_and_others_do_not(algorithm: str, data: bytes) -> None:
    digest = zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()
    checksum = Checksum(algorithm, digest)  # type: ignore[arg-type]

    await verify_checksum("s3://bucket/key", checksum, memoryview(data))
    with pytest.raises(ChecksumMismatch, match=f"s3://bucket/key: .*{algorithm}"):
        await verify_checksum("s3://bucket/key", checksum, data + b"!")


async def test_without_a_checksum_everything_passes() -> None:
    await verify_checksum("s3://bucket/key", None, b"data")
