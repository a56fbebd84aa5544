"""Refs that stay on disk: a text with a URI per line, for lists that are too long for memory."""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import SupportsIndex, overload

from asyncio_loader.datasets.ref_index import BLOCK_LINES, RefIndex, Stamp, changed, open_index, scan, write_index
from asyncio_loader.errors import ConfigError, FetchError
from asyncio_loader.records import ObjectRef

__all__ = ["RefFile", "build_index"]


class RefFile(Sequence[ObjectRef]):
    r"""The lines of a text on a local disk as refs, each read when it is asked for.

    A line is a URI or path, or one and a tab and the object's size in bytes: ``s3://bucket/key\t115000``. The text is
    UTF-8 without a byte order mark. ``\n`` or ``\r\n`` ends a line; the last one may go without. All else is part of
    the URI, spaces included. Errors are: a line that is empty, begins with white space, has a tab that no whole number
    follows, is not UTF-8, or longer than 64 KiB.

    Where every 64th line starts stands in an index beside the text, ``<path>.idx``: 12.5 MB for 100 million lines. It
    is made where it is missing or of another text, in a few seconds per GB; `build_index` does that beforehand, which
    is the better way for a job of many processes. Where it cannot be written each of them keeps one in memory.

    A look-up reads its 64 lines with ``pread``. The text is not memory-mapped, for under a shuffle all of it would
    soon count as resident memory; only the index is.

    Threads may share it. It pickles as its path; a process opens the text at its first look-up or inherits it open, by
    fork. It is read as it was when this object was made: another size or time of change at the opening is an error, and
    a text that is replaced by a rename later on goes on to be read. What is written into the open text goes unseen.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the index, or make it.

        Raises:
            ConfigError: `path` is no readable local file, has no line, or a wrong one; names file and line number.
        """
        self._path = _local_path(path)
        self._index: RefIndex | None = open_index(self._path)
        self._stamp = self._index.stamp
        self._lines = self._index.lines
        self._opened: tuple[int, RefIndex] | None = None

    def __len__(self) -> int:
        return self._lines

    @overload
    def __getitem__(self, index: SupportsIndex) -> ObjectRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[ObjectRef]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> ObjectRef | list[ObjectRef]:
        """A ref, or a list of those of a slice; negative indices count from the end.

        Raises:
            IndexError: there is no such line.
            ConfigError: the text has changed since this object was made.
        """
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        asked = operator.index(index)
        line = asked + len(self) if asked < 0 else asked
        if not 0 <= line < len(self):
            raise IndexError(f"{self._path} has {len(self)} lines, none of index {asked}")
        block, place = divmod(line, BLOCK_LINES)
        # What lies behind the line stays in one piece.
        return self._ref(self._read(block).split(b"\n", place + 1)[: place + 1], place)

    def __iter__(self) -> Iterator[ObjectRef]:
        """All refs in the order of the text, read a block of lines at a time."""
        for first in range(0, len(self), BLOCK_LINES):
            lines = self._read(first // BLOCK_LINES).split(b"\n")
            for place in range(min(BLOCK_LINES, len(self) - first)):
                yield self._ref(lines, place)

    def __repr__(self) -> str:
        return f"RefFile({self._path!r})"

    def __getstate__(self) -> tuple[str, Stamp, int, RefIndex | None]:
        # An index in memory is there because it cannot be a file: it goes along.
        index = self._index if self._index is not None and self._index.is_in_memory else None
        return self._path, self._stamp, self._lines, index

    def __setstate__(self, state: tuple[str, Stamp, int, RefIndex | None]) -> None:
        # Opens nothing: an error in here would be a worker process that dies before it can report one.
        self._path, self._stamp, self._lines, self._index = state
        self._opened = None

    def _read(self, block: int) -> bytes:
        file, index = self._opened or self._open()
        start = int(index.marks[block])
        stop = int(index.marks[block + 1]) if block + 1 < len(index.marks) else self._stamp.size_bytes
        data = os.pread(file, stop - start, start)
        if len(data) < stop - start:
            raise changed(self._path)
        return data

    def _open(self) -> tuple[int, RefIndex]:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror or error}") from error
        # Two threads that come here at once open it twice, which costs a descriptor as long as this object lives. Not
        # at exit: a thread may still be reading.
        weakref.finalize(self, os.close, file).atexit = False
        index = self._index or open_index(self._path)
        if not Stamp.of(file) == index.stamp == self._stamp:
            raise changed(self._path)
        self._opened = file, index
        return self._opened

    def _ref(self, lines: list[bytes], place: int) -> ObjectRef:
        # The index has checked every line: where one is wrong now, this is another text.
        try:
            uri, tab, size = lines[place].removesuffix(b"\r").decode().partition("\t")
            size_bytes = int(size) if tab else None
        except (IndexError, ValueError) as error:
            raise changed(self._path) from error
        if not uri:
            raise changed(self._path)
        return ObjectRef(uri, size_bytes)


def build_index(path: str | os.PathLike[str]) -> str:
    """Make the index of a `RefFile` anew, in one pass over the text, and say where it is.

    It takes its place when it is whole: any number of processes may use or make it meanwhile. Memory: a few MiB of text
    at a time, and the index.

    Raises:
        ConfigError: `path` is no readable local file, has no line, or a wrong one, or its directory cannot be written.
    """
    text = _local_path(path)
    try:
        return write_index(scan(text), text)
    except FetchError as error:
        raise ConfigError(f"the index cannot be written: {error}") from error


def _local_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path).removeprefix("file://")
    if "://" in text:
        raise ConfigError(f"a list of refs is looked up on a local disk: copy {text!r} there first")
    # A spawned worker may live in another directory.
    return os.path.abspath(text)
