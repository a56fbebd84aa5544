"""Checksums of objects, as S3 keeps them beside the bytes ("Checking object integrity", Amazon S3 user guide)."""

from __future__ import annotations

import base64
import hashlib
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

from asyncio_loader.errors import ConfigError

__all__ = ["Checksum", "check_available", "encode_checksum"]

Checksum: TypeAlias = Literal["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]

_OF_AWSCRT = ("crc32c", "crc64nvme")


def encode_checksum(algorithm: Checksum, body: memoryview) -> str:
    """The value of the header ``x-amz-checksum-…`` for these bytes: the digest, big-endian, in base64."""
    return base64.b64encode(_digest(algorithm, body)).decode("ascii")


def _digest(algorithm: Checksum, body: memoryview) -> bytes:
    if algorithm in ("sha1", "sha256"):
        return hashlib.new(algorithm, body, usedforsecurity=False).digest()
    if algorithm == "crc32":
        return zlib.crc32(body).to_bytes(4, "big")
    value: int = getattr(import_module("awscrt.checksums"), algorithm)(body)
    return value.to_bytes(4 if algorithm == "crc32c" else 8, "big")


def check_available(algorithm: object) -> None:
    """Raise `ConfigError` for one that there is not, or that takes a package which is not there."""
    if algorithm is not None and algorithm not in get_args(Checksum):
        raise ConfigError(
            f"S3Simulator: checksum must be None or one of {', '.join(get_args(Checksum))}, not {algorithm!r}"
        )
    if algorithm in _OF_AWSCRT and find_spec("awscrt") is None:
        raise ConfigError(f"S3Simulator: checksum={algorithm!r} needs the package awscrt")
