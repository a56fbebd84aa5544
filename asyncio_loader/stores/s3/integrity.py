"""Whether the bytes of a GET are those that S3 keeps: what is asked for, and what is compared.

Source: "Checking object integrity for data in Amazon S3" and "Common response headers" (ETag), Amazon S3 User Guide and
API Reference.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Awaitable, Mapping

from asyncio_loader.errors import ChecksumMismatch, ConfigError, FetchError
from asyncio_loader.options import Verify
from asyncio_loader.records import Buffer
from asyncio_loader.stores.checksum import ALGORITHMS, Algorithm, Checksum, mismatch, verify_checksum
from asyncio_loader.stores.s3.http1 import Headers
from asyncio_loader.stores.s3.transport import Answer

__all__ = ["WITH_CHECKSUM", "Verifier", "checksum_of", "md5_of"]

WITH_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}
"""Headers without which S3 keeps the checksum to itself."""

# Spelt out, because letters of any case cost half as much again.
_TOLD = re.compile(rb"\n[Xx]-[Aa][Mm][Zz]-[Cc][Hh][Ee][Cc][Kk][Ss][Uu][Mm]-([A-Za-z0-9]++):([^\r\n]*+)")
_ALGORITHMS: dict[bytes, Algorithm] = {algorithm.encode("ascii"): algorithm for algorithm in ALGORITHMS}
_RANKS = {algorithm: rank for rank, algorithm in enumerate(ALGORITHMS)}
_MD5 = re.compile(r'"([0-9a-f]{32})"')

# With keys of KMS or of the customer the ETag is no MD5; what S3 encrypts with its own has one.
_ENCRYPTION = "x-amz-server-side-encryption"
_ENCRYPTION_OF_CUSTOMER = "x-amz-server-side-encryption-customer-algorithm"


class Verifier:
    """Compares whole objects with their checksums, see `FetchOptions.verify`.

    Attributes:
        headers: what GETs send for it, signed.
    """

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self.headers: Mapping[str, str] = {} if verify == "never" else WITH_CHECKSUM

    def verify(self, uri: str, answer: Answer, data: Buffer) -> Awaitable[None] | None:
        """Compare a body with what its head tells; None: it is the right one, or there is nothing to compare with.

        What takes longer is to be awaited; cancelling that leaves a thread that ends soon. A connection that brought
        other bytes is not used again.

        Raises:
            ChecksumMismatch: these are other bytes than the server has.
            FetchError: there must be something to compare with, and there is nothing.
            ConfigError: there must be, and it takes a package that is missing.
        """
        checksum = self._checksum_of(uri, answer.headers)
        if checksum is None:
            return None
        if not checksum.is_quick(len(data)):
            return _verify_elsewhere(uri, answer, checksum, data)
        if not checksum.matches(data):
            answer.drop()
            raise mismatch(uri, checksum.algorithm)
        return None

    def _checksum_of(self, uri: str, headers: Mapping[str, str]) -> Checksum | None:
        if self._verify == "never":
            return None
        checksum = checksum_of(headers)
        if self._verify == "auto":
            return checksum
        if checksum is None or not checksum.is_computable:
            checksum = md5_of(headers) or checksum
        if checksum is None:
            raise FetchError(
                f'{uri}: verify="always", but the server tells no checksum of the whole object, and its ETag is no MD5'
                ' (an upload in parts may lack both); upload it with one, or set verify="auto"',
                key=uri,
            )
        if not checksum.is_computable:
            raise ConfigError(f'{uri}: verify="always" needs awscrt for {checksum.algorithm}: pip install awscrt')
        return checksum


async def _verify_elsewhere(uri: str, answer: Answer, checksum: Checksum, data: Buffer) -> None:
    try:
        await verify_checksum(uri, checksum, data)
    except ChecksumMismatch:
        answer.drop()
        raise


def checksum_of(headers: Mapping[str, str]) -> Checksum | None:
    """The checksum of the whole object, the cheapest where there are several; None where none is told.

    One "composite" is made of the checksums of its parts, and its value ends in their number. On an answer with a part
    of the object it is anybody's guess whose the value is: S3 may send the part's, rclone sends the object's.
    """
    found: Checksum | None = None
    for name, value in _told(headers):
        kind = name.lower()
        algorithm = _ALGORITHMS.get(kind)
        if algorithm is not None:
            checksum = _decode(algorithm, value)
            if checksum is not None and (found is None or _RANKS[algorithm] < _RANKS[found.algorithm]):
                found = checksum
        elif kind == b"type" and value.strip().upper() == b"COMPOSITE":
            return None
    return found


def md5_of(headers: Mapping[str, str]) -> Checksum | None:
    """The ETag as a checksum, where S3 makes it the MD5 of the bytes: not of an upload in parts, nor of an object that
    KMS or a key of the customer encrypts."""
    match = _MD5.fullmatch(headers.get("etag", ""))
    if match is None or _ENCRYPTION_OF_CUSTOMER in headers or headers.get(_ENCRYPTION, "AES256") != "AES256":
        return None
    return Checksum("md5", bytes.fromhex(match[1]))


def _told(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """What stands behind ``x-amz-checksum-``, and the values."""
    if isinstance(headers, Headers):
        # On the hot path: a quarter of what it takes to take all fields apart.
        return headers.find(_TOLD)
    lines = "".join([f"\n{name}:{value}" for name, value in headers.items()])
    return _TOLD.findall(lines.encode("latin-1", "replace"))


def _decode(algorithm: Algorithm, value: bytes) -> Checksum | None:
    # The number of parts stands behind a dash.
    try:
        return Checksum(algorithm, binascii.a2b_base64(value.strip(), strict_mode=True))
    except binascii.Error:
        return None
