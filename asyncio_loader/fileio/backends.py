"""What a `FileClient` stands on: the backend of the dialect, and the one for local files."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.local import os_errors, read_file, remove_file, replacing, write_file

if TYPE_CHECKING:
    from asyncio_loader.fileio.journal import UploadJournal

__all__ = ["DiskBackend", "FilePath", "OpenMode", "StorageBackend", "Suffix", "check_list_arguments", "check_mode"]

FilePath: TypeAlias = str | Path
Suffix: TypeAlias = str | tuple[str, ...]
OpenMode: TypeAlias = Literal["rb", "wb"]


class StorageBackend(ABC):
    """A place to read files from and, if it can, to write them to. Blocking; used by any number of threads.

    A backend of one's own implements `get`, and of the rest what it can.
    """

    allow_symlink = False
    """True where a checkpoint hook may make a symbolic link."""

    @property
    def name(self) -> str:
        """The name of the class, as mmcv has it."""
        return type(self).__name__

    @abstractmethod
    def get(self, filepath: FilePath) -> bytes | memoryview:
        """The content of a file."""

    def get_text(self, filepath: FilePath, encoding: str = "utf-8") -> str:
        """The content of a text file."""
        return str(self.get(filepath), encoding)

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """Create or replace a file."""
        raise self._cannot("put")

    def put_text(self, obj: str, filepath: FilePath, encoding: str = "utf-8") -> None:
        """Create or replace a text file."""
        self.put(obj.encode(encoding), filepath)

    def open(
        self, filepath: FilePath, mode: OpenMode = "rb", *, journal: UploadJournal | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """A binary file for the length of a block.

        ``"rb"`` reads and seeks in one version of the file. ``"wb"`` writes on, without seeking; the file appears
        when the block is left without an exception, and never otherwise. By one thread at a time.

        Unless a backend does better, all of the file is in memory.

        Args:
            filepath: the file.
            mode: ``"rb"`` or ``"wb"``.
            journal: where uploads are noted, for a backend that has any to be left over.
        """
        check_mode(mode)
        return nullcontext(io.BytesIO(self.get(filepath))) if mode == "rb" else _put_at_end(self, filepath)

    def remove(self, filepath: FilePath) -> None:
        """Remove a file."""
        raise self._cannot("remove")

    def exists(self, filepath: FilePath) -> bool:
        """True for a file or a directory."""
        return self.isfile(filepath) or self.isdir(filepath)

    def isdir(self, filepath: FilePath) -> bool:
        """True for a directory."""
        raise self._cannot("isdir")

    def isfile(self, filepath: FilePath) -> bool:
        """True for a file."""
        raise self._cannot("isfile")

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """Path components joined as this backend does."""
        raise self._cannot("join_path")

    def get_local_path(self, filepath: FilePath) -> AbstractContextManager[str]:
        """A context manager that gives the path of a local file with this content."""
        raise self._cannot("get_local_path")

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """What is in a directory, as paths relative to it, in order of name.

        Args:
            dir_path: the directory.
            list_dir: name directories. Not together with `suffix`.
            list_file: name files.
            suffix: only files that end in this, or in one of these.
            recursive: go into directories.
        """
        raise self._cannot("list_dir_or_file")

    def _cannot(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{self.name} cannot {method}")


class _Draft(io.BytesIO):
    """Keeps its content when a wrapper closes it, as `io.TextIOWrapper` does when it is collected."""

    def close(self) -> None:
        """Nothing: it goes with its last reference."""


class DiskBackend(StorageBackend):
    """Local files: plain paths and ``file://``. Missing files raise ObjectNotFound, which is a FileNotFoundError."""

    allow_symlink = True

    def get(self, filepath: FilePath) -> bytes:
        """See `StorageBackend.get`."""
        return read_file(str(filepath))

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """See `StorageBackend.put` and `replacing`: whole or not at all."""
        write_file(str(filepath), obj)

    def open(
        self, filepath: FilePath, mode: OpenMode = "rb", *, journal: UploadJournal | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """See `StorageBackend.open`; for ``"wb"`` also `replacing`, the errors of writing included.

        Reading, only the errors of opening become those of this package.
        """
        check_mode(mode)
        return _read(str(filepath)) if mode == "rb" else replacing(str(filepath))

    def remove(self, filepath: FilePath) -> None:
        """See `StorageBackend.remove`. One that is not there is no error."""
        remove_file(str(filepath))

    def exists(self, filepath: FilePath) -> bool:
        """See `StorageBackend.exists`."""
        return os.path.exists(_local(filepath))

    def isdir(self, filepath: FilePath) -> bool:
        """See `StorageBackend.isdir`."""
        return os.path.isdir(_local(filepath))

    def isfile(self, filepath: FilePath) -> bool:
        """See `StorageBackend.isfile`."""
        return os.path.isfile(_local(filepath))

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """See `StorageBackend.join_path`: `os.path.join`."""
        return os.path.join(str(filepath), *map(str, filepaths))

    def get_local_path(self, filepath: FilePath) -> AbstractContextManager[str]:
        """The path itself; the file stays."""
        return nullcontext(_local(filepath))

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """See `StorageBackend.list_dir_or_file`. Leaves out hidden files; directories end without a slash."""
        check_list_arguments(list_dir, suffix)
        return _list(_local(dir_path), "", list_dir, list_file, suffix or "", recursive)


def check_list_arguments(list_dir: bool, suffix: object) -> None:
    """Refuse what the dialect refuses, at the call and not at the first element."""
    if list_dir and suffix is not None:
        raise ConfigError("list_dir must be False when suffix is given")
    if suffix is not None and not isinstance(suffix, str | tuple):
        raise ConfigError(f"suffix must be a string or a tuple of strings, not {suffix!r}")


def check_mode(mode: str) -> None:
    """Refuse every mode but the two."""
    if mode not in ("rb", "wb"):
        raise ConfigError(f"open: mode must be 'rb' or 'wb', not {mode!r}")


@contextmanager
def _put_at_end(backend: StorageBackend, filepath: FilePath) -> Iterator[BinaryIO]:
    file = _Draft()
    yield file
    backend.put(file.getbuffer(), filepath)


@contextmanager
def _read(uri: str) -> Iterator[BinaryIO]:
    with os_errors(uri):
        file = open(_local(uri), "rb")  # noqa: SIM115  # closed below, outside of the translation of errors
    with file:
        yield file


def _local(filepath: FilePath) -> str:
    return str(filepath).removeprefix("file://")


def _list(root: str, inside: str, dirs: bool, files: bool, suffix: Suffix, recursive: bool) -> Iterator[str]:
    path = os.path.join(root, inside)
    with os_errors(path), os.scandir(path) as scan:
        items = sorted(scan, key=lambda item: item.name)
    for item in items:
        name = os.path.join(inside, item.name)
        if item.is_dir():
            if dirs:
                yield name
            if recursive:
                yield from _list(root, name, dirs, files, suffix, recursive)
        elif files and item.is_file() and not item.name.startswith(".") and item.name.endswith(suffix):
            yield name
