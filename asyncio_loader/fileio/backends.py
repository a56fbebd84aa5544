"""What a `FileClient` stands on: the backend of the dialect, and the one for local files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.local import os_errors, read_file, remove_file, write_file

__all__ = ["DiskBackend", "FilePath", "StorageBackend", "Suffix", "check_list_arguments"]

FilePath = str | Path
Suffix = str | tuple[str, ...]


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


class DiskBackend(StorageBackend):
    """Local files: plain paths and ``file://``. Missing files raise ObjectNotFound, which is a FileNotFoundError."""

    allow_symlink = True

    def get(self, filepath: FilePath) -> bytes:
        """See `StorageBackend.get`."""
        return read_file(str(filepath))

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """See `StorageBackend.put`. Makes missing directories; whole or not at all."""
        write_file(str(filepath), obj)

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
