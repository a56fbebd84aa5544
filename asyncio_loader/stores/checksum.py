"""Checksums of whole objects, as servers tell them and as we compute them."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Literal, NamedTuple, Protocol, TypeAlias

from asyncio_loader.errors import ChecksumMismatch
from asyncio_loader.records import Buffer

__all__ = ["ALGORITHMS", "Algorithm", "Checksum", "Digest", "begin_digest", "mismatch", "verify_checksum"]

Algorithm: TypeAlias = Literal["crc64nvme", "crc32c", "crc32", "sha1", "sha256", "md5"]
"""What S3 keeps, the cheapest first. A core of 2026 takes for 115 KB: the first two 2 µs (with awscrt, whose own code
for CRC-32 takes 34), crc32 17, sha1 54, sha256 58, md5 134."""

# Bytes up to which a digest is made on the loop's thread: they take a third of a millisecond or less, and a hop to
# another thread some 100 µs.
_QUICK_BYTES: dict[Algorithm, int] = {
    "crc64nvme": 2 * 1024 * 1024,
    "crc32c": 2 * 1024 * 1024,
    "crc32": 2 * 1024 * 1024,
    "sha1": 512 * 1024,
    "sha256": 512 * 1024,
    "md5": 256 * 1024,
}
ALGORITHMS: tuple[Algorithm, ...] = tuple(_QUICK_BYTES)
"""All of them, the cheapest first."""

_CRC_BYTES: dict[Algorithm, int] = {"crc64nvme": 8, "crc32c": 4, "crc32": 4}

_Crc: TypeAlias = Callable[[Buffer, int], int]


class Digest(Protocol):
    """A digest on its way, as those of `hashlib`. Long data lets other threads run."""

    def update(self, data: Buffer, /) -> None:
        """The next bytes."""
        ...

    def digest(self) -> bytes:
        """Of the bytes so far, big-endian."""
        ...


class _CrcDigest:
    __slots__ = ("_compute", "_size_bytes", "_value")

    def __init__(self, compute: _Crc, size_bytes: int) -> None:
        self._compute = compute
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")


def begin_digest(algorithm: Algorithm) -> Digest | None:
    """A digest of no bytes yet; None where the package that computes it is missing."""
    size_bytes = _CRC_BYTES.get(algorithm)
    if size_bytes is None:
        return hashlib.new(algorithm, usedforsecurity=False)
    compute = _find_crc(algorithm)
    return None if compute is None else _CrcDigest(compute, size_bytes)


@cache
def _find_crc(algorithm: Algorithm) -> _Crc | None:
    if algorithm == "crc32":
        return zlib.crc32
    # Looked for only now: who reads no S3 need not wait for its import.
    try:
        found: _Crc = getattr(import_module("awscrt.checksums"), algorithm)
    except (ImportError, AttributeError):
        # AttributeError: one from before December 2024, when S3 began with CRC-64/NVME.
        return None
    return found


class Checksum(NamedTuple):
    """What the bytes of an object must come to.

    Attributes:
        algorithm: how it is computed.
        digest: its value, big-endian.
    """

    algorithm: Algorithm
    digest: bytes

    @property
    def is_computable(self) -> bool:
        """False where a package is missing: awscrt."""
        return self.algorithm not in _CRC_BYTES or _find_crc(self.algorithm) is not None

    def is_quick(self, size_bytes: int) -> bool:
        """True if so many bytes take less time than a hop to another thread is worth."""
        return size_bytes <= _QUICK_BYTES[self.algorithm]

    def matches(self, data: Buffer) -> bool:
        """True if these are the bytes, or where that cannot be computed."""
        algorithm, digest = self
        size_bytes = _CRC_BYTES.get(algorithm)
        if size_bytes is None:
            return hashlib.new(algorithm, data, usedforsecurity=False).digest() == digest
        compute = _find_crc(algorithm)
        return compute is None or compute(data, 0).to_bytes(size_bytes, "big") == digest


async def verify_checksum(uri: str, checksum: Checksum | None, data: Buffer) -> None:
    """Compare; off the loop for what takes long. None, or one that cannot be computed: nothing to compare with.

    Raises:
        ChecksumMismatch: these are other bytes than the server has.

    Cancelled, it leaves a thread that goes on to the end of these bytes, and holds them so long.
    """
    if checksum is None:
        return
    if checksum.is_quick(len(data)):
        is_right = checksum.matches(data)
    else:
        is_right = await asyncio.to_thread(checksum.matches, data)
    if not is_right:
        raise mismatch(uri, checksum.algorithm)


def mismatch(uri: str, algorithm: Algorithm) -> ChecksumMismatch:
    """The error of bytes that are not those of the checksum."""
    return ChecksumMismatch(f"{uri}: the bytes do not have the {algorithm} that the server tells", key=uri)
