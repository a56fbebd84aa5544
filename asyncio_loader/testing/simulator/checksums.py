"""Checksums of objects, as S3 keeps them beside the bytes ("Checking object integrity", Amazon S3 user guide)."""

from __future__ import annotations

import base64
import hashlib
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, TypeAlias, get_args

from asyncio_loader.errors import ConfigError

__all__ = ["Checksum", "choose_checksum", "encode_checksum"]

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


def choose_checksum(wanted: Checksum | Literal["auto"] | None) -> Checksum | None:
    """The one that is wanted; for ``"auto"`` what S3 has by default, CRC-64/NVME, or CRC-32 without `awscrt`.

    Raises:
        ConfigError: there is no such checksum, or not without a package that is missing.
    """
    can_all = find_spec("awscrt") is not None
    if wanted == "auto":
        return "crc64nvme" if can_all else "crc32"
    if wanted is not None and wanted not in get_args(Checksum):
        raise ConfigError(
            f"S3Simulator: checksum must be None, 'auto' or one of {', '.join(get_args(Checksum))}, not {wanted!r}"
        )
    if wanted in _OF_AWSCRT and not can_all:
        raise ConfigError(f"S3Simulator: checksum={wanted!r} needs the package awscrt")
    return wanted
