"""Files of this machine as objects: plain paths and ``file://``."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from asyncio_loader.errors import AccessDenied, ConfigError, ObjectNotFound, ServerFault, ShortRead
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo

__all__ = ["LocalStore"]

_SCHEME = "file://"


class LocalStore:
    """Reads and writes files. Paths are taken literally: no percent-decoding, no ``~``, no variables.

    Blocking calls run in the running loop's executor. Cancelling a call leaves its file operation to finish there
    unseen; a `put` may thus still take effect, whole. A directory is no object.
    """

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        path = _path(uri)
        if admit is not None:
            # The size by a call of its own: a file held open between two hops would leak when cancelled.
            await admit(await asyncio.to_thread(_size, uri, path))
        return await asyncio.to_thread(_read, uri, path)

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return ObjectInfo(uri, await asyncio.to_thread(_size, uri, _path(uri)))

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

        Missing directories are made. The new content replaces the old by a rename, so neither a reader nor the death
        of this process sees half a file; a crash of the machine may, for there is no fsync.
        """
        await asyncio.to_thread(_write, uri, _path(uri), data)

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`. Directories stay, empty or not."""
        await asyncio.to_thread(_unlink, uri, _path(uri))

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
def _os_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectNotFound(f"{uri}: no such file ({error.strerror})", key=uri) from error
    except PermissionError as error:
        raise AccessDenied(f"{uri}: {error.strerror}", key=uri) from error
    except OSError as error:
        raise ServerFault(f"{uri}: {error.strerror or error}", key=uri) from error


def _size(uri: str, path: str) -> int:
    with _os_errors(uri):
        if os.path.isdir(path):
            raise IsADirectoryError(21, "is a directory", path)
        return os.stat(path).st_size


def _read(uri: str, path: str) -> bytes:
    with _os_errors(uri), open(path, "rb", buffering=0) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        data = file.read()
    if len(data) < size_bytes:
        raise ShortRead(f"{uri}: the file shrank from {size_bytes} to {len(data)} bytes while it was read", key=uri)
    return data


def _write(uri: str, path: str, data: Buffer) -> None:
    directory, name = os.path.split(path)
    # Beside the target, for a rename is atomic within a file system only; 0o666 minus the umask, as `open` has it.
    draft = os.path.join(directory, f".{name[:100]}.{uuid.uuid4().hex}.part")
    with _os_errors(uri):
        if directory:
            os.makedirs(directory, exist_ok=True)
        try:
            with open(draft, "xb") as file:
                file.write(data)
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise


def _unlink(uri: str, path: str) -> None:
    with _os_errors(uri), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        os.unlink(path)


def _scan(prefix: str, start: str = "") -> tuple[tuple[int, int], list[Entry]]:
    """What lies in one directory, in order, and which directory that is (device, inode); nothing if there is none.

    The names of directories sort with their slash, as they do in the keys of an object store.
    """
    path = prefix.removeprefix(_SCHEME) or "."
    with _os_errors(prefix):
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
