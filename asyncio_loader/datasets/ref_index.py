"""Where the lines of a list of refs are: made in one pass over the text, kept in a file beside it."""

from __future__ import annotations

import logging
import os
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asyncio_loader.errors import ConfigError, FetchError
from asyncio_loader.stores.local import replacing

__all__ = ["BLOCK_LINES", "RefIndex", "Stamp", "changed", "open_index", "opened", "scan", "write_index"]

logger = logging.getLogger(__name__)

BLOCK_LINES = 64
"""Lines per mark: 12.5 MB of index for 10⁸ lines, and a few KB to read and cut for a look-up."""

# What an index file starts with: the format, lines per mark, size and mtime_ns of the text, lines. The marks follow.
_HEADER = struct.Struct("<8sQQqQ")
_MAGIC = b"AL-REFS1"
_MARK = np.dtype("<u8")

# A multiple of what numpy needs for the offsets of its lines stays in the cache of a core.
_READ_BYTES = 4 * 1024 * 1024

# S3's keys end at 1,024 bytes, paths at 4,096. What has no newline for so long is no list.
_MAX_LINE_BYTES = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_TAB_WITHOUT_SIZE = re.compile(rb"\t(?![0-9]{1,18}\r?\n)")


class Stamp(NamedTuple):
    """By what a text is known to be the one that was indexed."""

    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, file: int) -> Stamp:
        """That of an open file."""
        status = os.fstat(file)
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class RefIndex:
    """Attributes:
    stamp: of the text.
    lines: how many it has, 1 or more.
    marks: where the lines 0, 64, 128, … start, in bytes.
    is_in_memory: False where the marks are a view of the index file.
    """

    stamp: Stamp
    lines: int
    marks: NDArray[np.uint64]
    is_in_memory: bool


def open_index(path: str) -> RefIndex:
    """The index beside a text; made where it is missing or of another text, and left there if the disk allows it.

    Raises:
        ConfigError: see `scan`.
    """
    with opened(path) as file:
        stamp = Stamp.of(file.fileno())
    index = _load(path, stamp)
    if index is None:
        started = time.perf_counter()
        index = scan(path)
        logger.info("%s: indexed %d lines in %.1f s", path, index.lines, time.perf_counter() - started)
        try:
            write_index(index, path)
        except FetchError as error:
            logger.warning("every process that opens this list makes an index of its own: %s", error)
        else:
            # The one in memory would weigh on this process, and on every pickle.
            index = _load(path, index.stamp) or index
    return index


def scan(path: str) -> RefIndex:
    """Read the whole text, a few MiB at a time; check every line, and note where each block of them starts.

    Raises:
        ConfigError: the text cannot be read, has no line, or a wrong one, or is being written to.
    """
    lines, offset = 0, 0
    marks = []
    with opened(path) as file:
        stamp = Stamp.of(file.fileno())
        for piece in _pieces(file, path):
            starts = _starts(piece, path, lines)
            marks.append((starts[-lines % BLOCK_LINES :: BLOCK_LINES] + offset).astype(_MARK))
            lines, offset = lines + len(starts), offset + len(piece)
        if Stamp.of(file.fileno()) != stamp:
            raise ConfigError(f"{path} was written to while its index was made")
    if not lines:
        raise ConfigError(f"{path} is empty: there is nothing to load")
    return RefIndex(stamp, lines, np.concatenate(marks), is_in_memory=True)


def write_index(index: RefIndex, path: str) -> str:
    """Put it beside the text in place of an older one, at once; returns where. Raises FetchError from the disk."""
    target = f"{path}.idx"
    with replacing(target) as file:
        file.write(_HEADER.pack(_MAGIC, BLOCK_LINES, *index.stamp, index.lines))
        file.write(index.marks.data)
    return target


def changed(path: str) -> ConfigError:
    """What to raise about a text that is not the one of the index."""
    return ConfigError(f"{path} has changed since it was opened: make a new RefFile, and a new run with it")


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The text, open without a buffer; what the system says against opening or reading it becomes a ConfigError."""
    try:
        with open(path, "rb", buffering=0) as file:
            yield file
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _load(path: str, stamp: Stamp) -> RefIndex | None:
    """The index file's, or None where it is missing, unreadable, or not of this text."""
    with suppress(OSError), open(f"{path}.idx", "rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        *named, lines = _HEADER.unpack(header)
        count = -(-lines // BLOCK_LINES)
        if named != [_MAGIC, BLOCK_LINES, *stamp] or lines == 0:
            return None
        if os.fstat(file.fileno()).st_size != _HEADER.size + count * _MARK.itemsize:
            return None
        marks: Any = np.memmap(file, _MARK, "r", _HEADER.size, count)
        # As a plain array: a memmap's own look-up of an element takes several times as long.
        return RefIndex(stamp, lines, marks.view(np.ndarray), is_in_memory=False)
    return None


def _pieces(file: BinaryIO, path: str) -> Iterator[bytes]:
    """The text in pieces of whole lines, each of them ended by a newline."""
    rest = b""
    while data := file.read(_READ_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut:
            yield rest + data[:cut]
            rest = b""
        rest += data[cut:]
        if len(rest) > _READ_BYTES:
            raise ConfigError(f"{path} is no list of URIs: nothing ends a line in {len(rest):,} bytes")
    if rest:
        yield rest + b"\n"


def _starts(piece: bytes, path: str, lines_before: int) -> NDArray[np.int64]:
    """Where the lines of a piece start. Raises ConfigError if one of them is wrong."""
    codes = np.frombuffer(piece, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    if lines_before == 0 and piece.startswith(_BOM):
        raise ConfigError(f"{path} begins with a byte order mark: save it as UTF-8 without one")
    fault = _find_fault(piece, codes[starts], ends - starts)
    if fault is not None:
        line, said = fault
        text = piece[starts[line] : ends[line]]
        raise ConfigError(f"{path}: line {lines_before + line + 1} {said}: {text[:100]!r}")
    return starts


def _find_fault(piece: bytes, first_codes: NDArray[np.uint8], sizes_bytes: NDArray[np.int64]) -> tuple[int, str] | None:
    """Number of a wrong line in the piece, and what is wrong. Looks at all lines at once, for there are many."""
    longest = int(sizes_bytes.argmax())
    if sizes_bytes[longest] > _MAX_LINE_BYTES:
        return longest, f"has more than {_MAX_LINE_BYTES:,} bytes"
    lowest = int(first_codes.argmin())
    if first_codes[lowest] <= ord(" "):
        return lowest, "is empty or begins with white space"
    if found := _TAB_WITHOUT_SIZE.search(piece):
        return piece.count(b"\n", 0, found.start()), "has a tab that no size in bytes follows"
    if not piece.isascii():
        try:
            piece.decode()
        except UnicodeDecodeError as error:
            return piece.count(b"\n", 0, error.start), "is not UTF-8"
    return None
