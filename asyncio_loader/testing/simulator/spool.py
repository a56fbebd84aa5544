"""How the objects get from the process that has them into the one that serves them.

Two files in a directory: ``bodies``, the distinct bodies end to end, and ``table``, one JSON line for each key with
its place in there. The server maps the bodies into memory instead of reading them, so equal bodies under many keys
cost their bytes once, and the files can be deleted as soon as it runs.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import BinaryIO, TypeAlias

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Buffer

__all__ = ["Objects", "StoredObject", "read_spool", "write_spool"]

Objects: TypeAlias = str | os.PathLike[str] | Mapping[str, Buffer] | Iterable[tuple[str, Buffer]]

# Bodies that are remembered by identity, so that a generator which yields one `bytes` 20,000 times has it hashed once.
_REMEMBERED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as it is served.

    Attributes:
        key: its key, decoded.
        body: its bytes.
        etag: MD5 of the bytes in hex, without quotes, as S3 has it for an object that was put in one piece.
        modified_s: Unix time of its last change.
    """

    key: str
    body: memoryview
    etag: str
    modified_s: float


@dataclass(frozen=True, slots=True)
class _Extent:
    offset_bytes: int
    size_bytes: int
    etag: str


def write_spool(directory: Path, objects: Objects) -> None:
    """Write the objects for `read_spool`. An iterable is consumed; of equal keys the last one counts.

    Raises:
        ConfigError: a directory that is none, a key that is empty or no UTF-8, a value that is no bytes.
    """
    with (directory / "bodies").open("wb") as bodies, (directory / "table").open("w", encoding="ascii") as table:
        writer = _BodyWriter(bodies)
        for key, body, modified_s in _iterate(objects):
            extent = writer.add(_checked(key, body))
            table.write(json.dumps([key, extent.offset_bytes, extent.size_bytes, extent.etag, modified_s]) + "\n")


def read_spool(directory: Path) -> dict[str, StoredObject]:
    """What `write_spool` wrote. The bodies are views into a map of the file, which outlives the file's name."""
    with (directory / "bodies").open("rb") as file:
        is_empty = os.fstat(file.fileno()).st_size == 0
        # An empty file cannot be mapped.
        bodies = memoryview(b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    objects = {}
    with (directory / "table").open(encoding="ascii") as table:
        for line in table:
            key, offset, size, etag, modified_s = json.loads(line)
            objects[key] = StoredObject(key, bodies[offset : offset + size], etag, modified_s)
    return objects


class _BodyWriter:
    """Writes each distinct body once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._extents: dict[str, _Extent] = {}
        self._remembered: dict[int, tuple[bytes, _Extent]] = {}
        self._remembered_bytes = 0

    def add(self, body: Buffer) -> _Extent:
        known = self._remembered.get(id(body))
        if known is not None:
            return known[1]
        etag = md5(body, usedforsecurity=False).hexdigest()
        extent = self._extents.get(etag)
        if extent is None:
            extent = self._extents[etag] = _Extent(self._file.tell(), memoryview(body).nbytes, etag)
            self._file.write(body)
        self._remember(body, extent)
        return extent

    def _remember(self, body: Buffer, extent: _Extent) -> None:
        # The reference keeps the identity from being given to another object. Only `bytes` never change.
        if not isinstance(body, bytes):
            return
        if self._remembered_bytes + len(body) > _REMEMBERED_BYTES:
            self._remembered.clear()
            self._remembered_bytes = 0
        self._remembered[id(body)] = (body, extent)
        self._remembered_bytes += len(body)


def _iterate(objects: Objects) -> Iterator[tuple[str, Buffer, float]]:
    if isinstance(objects, str | os.PathLike):
        yield from _iterate_directory(Path(objects))
        return
    now_s = time.time()
    for key, body in objects.items() if isinstance(objects, Mapping) else objects:
        yield key, body, now_s


def _iterate_directory(root: Path) -> Iterator[tuple[str, Buffer, float]]:
    if not root.is_dir():
        raise ConfigError(f"S3Simulator: objects={str(root)!r} is not a directory")
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield path.relative_to(root).as_posix(), path.read_bytes(), path.stat().st_mtime


def _checked(key: object, body: object) -> Buffer:
    if not isinstance(key, str) or not key:
        raise ConfigError(f"S3Simulator: objects: a key must be a non-empty string, not {key!r}")
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"S3Simulator: objects: key {key!r} cannot be written in UTF-8") from error
    if not isinstance(body, bytes | bytearray | memoryview):
        raise ConfigError(f"S3Simulator: objects[{key!r}] must be bytes, not {type(body).__name__}")
    return body
