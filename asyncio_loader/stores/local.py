"""Files of this machine as objects: plain paths and ``file://``."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import stat
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from asyncio_loader.allocation import allocate
from asyncio_loader.errors import AccessDenied, ConfigError, LoaderError, ObjectNotFound, ServerFault, ShortRead
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, Piece, changed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["LocalStore", "os_errors", "read_file", "remove_file", "replacing", "write_file"]

_SCHEME = "file://"


class LocalStore:
    """Reads and writes files. Paths are taken literally: no percent-decoding, no ``~``, no variables.

    Blocking calls run in the running loop's executor. Cancelling a call leaves its file operation to finish there
    unseen; a `put` may thus still take effect, whole. A directory is no object.
    """

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        if admit is not None:
            # The size by a call of its own: a file held open between two hops would leak when cancelled.
            await admit((await asyncio.to_thread(_status, uri)).st_size)
        return await asyncio.to_thread(read_file, uri)

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        status = await asyncio.to_thread(_status, uri)
        return ObjectInfo(uri, status.st_size, _etag(status))

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """See `RangedStore.get_range`.

        The version is the file's time of change, size and inode: what is written twice within one tick of the file
        system's clock, in place and in the same size, goes unseen. Cancelled, the thread may still write to `into`.
        """
        return await asyncio.to_thread(_read_range, uri, start, stop, etag, into)

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`.

        Follows symbolic links, but not into a directory it is in already; leaves out broken ones and what is neither
        file nor directory. Not recursive, it shows an empty directory as a prefix, which S3 does not have.
        """
        parent, slash, start = uri.rpartition("/")
        identity, entries = await asyncio.to_thread(_scan, parent + slash, start)
        # The directories it is in, each with what is left of it: depth first gives the order of the whole paths.
        ways = [(identity, iter(entries))]
        while ways:
            entry = next(ways[-1][1], None)
            if entry is None:
                ways.pop()
            elif entry.is_prefix and recursive:
                identity, entries = await asyncio.to_thread(_scan, entry.uri)
                if all(identity != above for above, _ in ways):
                    ways.append((identity, iter(entries)))
            else:
                yield entry

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`.

        See `replacing`.
        """
        await asyncio.to_thread(write_file, uri, data)

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`. Directories stay, empty or not."""
        await asyncio.to_thread(remove_file, uri)

    async def aclose(self) -> None:
        """Nothing to drop."""

    def __repr__(self) -> str:
        return "<LocalStore>"


def _path(uri: str) -> str:
    path = uri.removeprefix(_SCHEME)
    if not path or "\0" in path or "://" in path:
        raise ConfigError(f"{uri!r} is no path of a local file")
    return path


@contextmanager
def os_errors(uri: str) -> Iterator[None]:
    """Turn what the operating system raises within into the error tree."""
    try:
        yield
    except LoaderError:
        # Some of ours are OSErrors, too.
        raise
    except IsADirectoryError as error:
        raise ObjectNotFound(f"{uri}: a directory, not a file", key=uri) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ObjectNotFound(f"{uri}: no such file", key=uri) from error
    except PermissionError as error:
        raise AccessDenied(f"{uri}: {error.strerror}", key=uri) from error
    except OSError as error:
        raise ServerFault(f"{uri}: {error.strerror or error}", key=uri) from error


def read_file(uri: str) -> bytes:
    """The file, read in one go by this thread. See `LocalStore.get`."""
    with os_errors(uri), open(_path(uri), "rb", buffering=0) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        data = file.read()
    if len(data) < size_bytes:
        raise ShortRead(f"{uri}: the file shrank from {size_bytes} to {len(data)} bytes while it was read", key=uri)
    return data


def write_file(uri: str, data: Buffer) -> None:
    """Create or replace the file by this thread. See `LocalStore.put`."""
    with replacing(uri) as file:
        file.write(data)


@contextmanager
def replacing(uri: str) -> Iterator[BinaryIO]:
    """A file to write that takes the place of the one at `uri` when the block succeeds, and vanishes otherwise.

    Missing directories are made. A symbolic link stays, and what it leads to is replaced; the mode of the replaced file
    stays, its owner does not. It happens by a rename, so neither a reader nor the death of this process sees half a
    file; a crash of the machine may, for there is no fsync.

    Raises:
        FetchError: from the system, be it here, at a write or at the end of the block; see `os_errors`.
    """
    with os_errors(uri):
        path = os.path.realpath(_path(uri))
        directory, name = os.path.split(path)
        os.makedirs(directory, exist_ok=True)
        mode = _mode(path)
        # Beside the target, for a rename is atomic within one file system only.
        draft = os.path.join(directory, f".{name[:50]}.{uuid.uuid4().hex}.part")
        raw = _Draft(uri, draft)
    try:
        with io.BufferedWriter(raw) as file:
            if mode is not None:
                with os_errors(uri):
                    os.fchmod(raw.fileno(), mode)
            yield file
        with os_errors(uri):
            os.replace(draft, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


class _Draft(io.FileIO):
    """Raises errors of this package, for the writes of others and for what a buffer has kept until it is closed."""

    def __init__(self, uri: str, path: str) -> None:
        # As any new file: 0o666 minus the umask.
        super().__init__(path, "xb")
        self._uri = uri

    def write(self, data: ReadableBuffer, /) -> int:
        with os_errors(self._uri):
            return super().write(data)


def _mode(path: str) -> int | None:
    """The permissions of a file; None if there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return stat.S_IMODE(status.st_mode)


def remove_file(uri: str) -> None:
    """Remove the file, if there is one, by this thread. See `LocalStore.delete`."""
    with os_errors(uri), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        os.unlink(_path(uri))


def _read_range(uri: str, start: int, stop: int, etag: str | None, into: memoryview | None) -> Piece:
    with os_errors(uri), open(_path(uri), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        length = max(0, min(stop, status.st_size) - start)
        target = allocate(length) if into is None else into[:length]
        come_bytes = 0
        while come_bytes < length and (n := os.preadv(file.fileno(), [target[come_bytes:]], start + come_bytes)):
            come_bytes += n
        # What was written in the meantime shows in the time afterwards.
        version = _etag(os.fstat(file.fileno()))
    if etag not in (None, version) or version != _etag(status):
        raise changed(uri)
    return Piece(target, start, status.st_size, version)


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _status(uri: str) -> os.stat_result:
    path = _path(uri)
    with os_errors(uri):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return status


def _scan(prefix: str, start: str = "") -> tuple[tuple[int, int], list[Entry]]:
    """What lies in one directory, in order, and which directory that is (device, inode); nothing if there is none.

    The names of directories sort with their slash, as they do in the keys of an object store.
    """
    path = prefix.removeprefix(_SCHEME) or "."
    with os_errors(prefix):
        try:
            status = os.stat(path)
            with os.scandir(path) as scan:
                entries = [_entry(prefix, item) for item in scan if item.name.startswith(start)]
        except (FileNotFoundError, NotADirectoryError):
            return (0, 0), []
    found = [entry for entry in entries if entry is not None]
    return (status.st_dev, status.st_ino), sorted(found, key=lambda entry: os.fsencode(entry.uri))


def _entry(prefix: str, item: os.DirEntry[str]) -> Entry | None:
    if item.is_dir():
        return Entry(f"{prefix}{item.name}/")
    with suppress(FileNotFoundError):
        if item.is_file():
            return Entry(prefix + item.name, item.stat().st_size)
    return None
