"""Checksums of whole objects, as servers tell them and as we compute them."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from asyncio_loader.errors import ChecksumMismatch
from asyncio_loader.records import Buffer

__all__ = ["Algorithm", "Checksum", "verify_checksum"]

Algorithm: TypeAlias = Literal["crc32", "sha1", "sha256"]
"""What the standard library computes; CRC-32C and CRC-64/NVME would take a package more."""

# What a digest of takes a millisecond or less on the loop's thread.
_QUICK_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of an object must come to.

    Attributes:
        algorithm: how it is computed.
        digest: its value, big-endian.
    """

    algorithm: Algorithm
    digest: bytes

    def matches(self, data: Buffer) -> bool:
        """True if these are the bytes. It takes about a second per gigabyte, and lets other threads run."""
        if self.algorithm == "crc32":
            return zlib.crc32(data).to_bytes(4, "big") == self.digest
        return hashlib.new(self.algorithm, data, usedforsecurity=False).digest() == self.digest


async def verify_checksum(uri: str, checksum: Checksum | None, data: Buffer) -> None:
    """Compare; off the loop for what takes long. None: nothing to compare with.

    Raises:
        ChecksumMismatch: these are other bytes than the server has.
    """
    if checksum is None:
        return
    if len(data) <= _QUICK_BYTES:
        ok = checksum.matches(data)
    else:
        ok = await asyncio.to_thread(checksum.matches, data)
    if not ok:
        raise ChecksumMismatch(f"{uri}: the bytes do not have the {checksum.algorithm} that the server tells", key=uri)
