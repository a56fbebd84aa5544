"""`FileClient`: the one door to files that mmcv 1.x knows, here with S3 behind it that works."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar, overload

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.backends import DiskBackend, FilePath, OpenMode, StorageBackend, Suffix
from asyncio_loader.fileio.http import HttpBackend
from asyncio_loader.fileio.memory import MemoryBackend
from asyncio_loader.hints import did_you_mean

if TYPE_CHECKING:
    from asyncio_loader.fileio.journal import UploadJournal

__all__ = ["FileClient"]

B = TypeVar("B", bound=type[StorageBackend])

_URI = re.compile(r"(?:[^/]*:)?([A-Za-z][A-Za-z0-9+.\-]*)://")


class FileClient:
    """Reads and writes files by the name of a backend or by the prefix of their URI.

    Backends are ``disk``, ``aws`` (also ``s3``), ``http`` and ``memory``; prefixes are ``file``, ``s3``, ``http``,
    ``https`` and ``memory``. The same arguments give the same object, in every thread; it is live in no process until
    used there, and pickles and copies to itself. The dictionaries below are the dialect's and process-wide; register
    backends before threads use them.

    Args:
        backend: the name of a backend; wins over `prefix`. Without either: ``disk``.
        prefix: the scheme of the URIs to come.
        kwargs: what the backend takes, for ``aws``: ``path_mapping`` and the fields of `S3Options`.

    Raises:
        ConfigError: no such backend, prefix or argument.
    """

    _backends: ClassVar[dict[str, type[StorageBackend]]] = {
        "disk": DiskBackend,
        "aws": AwsBackend,
        "s3": AwsBackend,
        "http": HttpBackend,
        "memory": MemoryBackend,
    }
    _prefixes: ClassVar[dict[str, type[StorageBackend]]] = {
        "file": DiskBackend,
        "s3": AwsBackend,
        "http": HttpBackend,
        "https": HttpBackend,
        "memory": MemoryBackend,
    }
    # By class of client and of backend, and by the arguments as they are written.
    _instances: ClassVar[dict[tuple[type[FileClient], type[StorageBackend], str], FileClient]] = {}

    _arguments: tuple[str | None, str | None, dict[str, Any]]
    client: StorageBackend

    def __new__(cls, backend: str | None = None, prefix: str | None = None, **kwargs: Any) -> FileClient:
        if backend is None and prefix is None:
            backend = "disk"
        kind = cls._kind_of(backend, prefix)
        key = (cls, kind, repr(sorted(kwargs.items())))
        client = cls._instances.get(key)
        if client is None:
            client = super().__new__(cls)
            client._arguments = (backend, prefix, kwargs)
            client.client = _make(kind, backend or f"{prefix}://", kwargs)
            client = cls._instances.setdefault(key, client)
        return client

    @classmethod
    def infer_client(cls, file_client_args: dict[str, Any] | None = None, uri: FilePath | None = None) -> FileClient:
        """The client that `file_client_args` describe, or else the one for this URI."""
        if file_client_args is not None:
            return cls(**file_client_args)
        if uri is None:
            raise ConfigError("infer_client needs file_client_args or uri")
        prefix = cls.parse_uri_prefix(uri)
        return cls("disk") if prefix is None else cls(prefix=prefix)

    @staticmethod
    def parse_uri_prefix(uri: FilePath) -> str | None:
        """The scheme of a URI, without a cluster before it; None for a path."""
        if not isinstance(uri, str | Path):
            raise ConfigError(f"a URI is a string or a Path, not {uri!r}")
        match = _URI.match(str(uri))
        return match[1] if match else None

    @overload
    @classmethod
    def register_backend(
        cls,
        name: str,
        backend: None = None,
        force: bool = False,
        prefixes: str | list[str] | tuple[str, ...] | None = None,
    ) -> Callable[[B], B]: ...

    @overload
    @classmethod
    def register_backend(
        cls, name: str, backend: B, force: bool = False, prefixes: str | list[str] | tuple[str, ...] | None = None
    ) -> B: ...

    @classmethod
    def register_backend(
        cls,
        name: str,
        backend: Any = None,
        force: bool = False,
        prefixes: str | list[str] | tuple[str, ...] | None = None,
    ) -> Any:
        """Add a backend of one's own, as a call or as a decorator.

        Args:
            name: what configs call it.
            backend: a `StorageBackend` class; None returns a decorator.
            force: replace what has this name or these prefixes. Clients of a backend that nothing leads to any more are
                forgotten, and made anew if it is registered again; all others stay the same.
            prefixes: schemes that lead to it.

        Raises:
            ConfigError: not such a class, or the name or a prefix is taken.
        """
        if backend is None:
            return lambda decorated: cls.register_backend(name, decorated, force, prefixes)
        if not inspect.isclass(backend) or not issubclass(backend, StorageBackend):
            raise ConfigError(f"backend {name!r} must be a subclass of StorageBackend, not {backend!r}")
        wanted = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes or ())
        if not all(isinstance(word, str) for word in (name, *wanted)):
            raise ConfigError(f"name and prefixes of a backend must be strings, not {name!r} and {prefixes!r}")
        taken = [name] * (name in cls._backends) + [f"{prefix}://" for prefix in wanted if prefix in cls._prefixes]
        if taken and not force:
            raise ConfigError(f"{', '.join(taken)} is registered already; force=True replaces it")
        cls._backends[name] = backend
        cls._prefixes.update(dict.fromkeys(wanted, backend))
        reachable = {*cls._backends.values(), *cls._prefixes.values()}
        for key in [key for key in cls._instances if key[1] not in reachable]:
            del cls._instances[key]
        return backend

    @property
    def name(self) -> str:
        """Name of the backend's class."""
        return self.client.name

    @property
    def allow_symlink(self) -> bool:
        """See `StorageBackend.allow_symlink`."""
        return self.client.allow_symlink

    def get(self, filepath: FilePath) -> bytes | memoryview:
        """The content of a file: bytes from disk, a memoryview from S3, as in mmcv."""
        return self.client.get(filepath)

    def get_text(self, filepath: FilePath, encoding: str = "utf-8") -> str:
        """The content of a text file."""
        return self.client.get_text(filepath, encoding)

    def put(self, obj: bytes | memoryview, filepath: FilePath, *, journal: UploadJournal | None = None) -> None:
        """Create or replace a file: whole or not at all. The journal notes an upload in parts."""
        if journal is None:
            self.client.put(obj, filepath)
            return
        with self.client.open(filepath, "wb", journal=journal) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: FilePath, encoding: str = "utf-8") -> None:
        """Create or replace a text file."""
        self.client.put_text(obj, filepath, encoding)

    def open(
        self, filepath: FilePath, mode: OpenMode = "rb", *, journal: UploadJournal | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """A context manager with a binary file. See `StorageBackend.open`."""
        return self.client.open(filepath, mode, journal=journal)

    def remove(self, filepath: FilePath) -> None:
        """Remove a file; one that is not there is no error."""
        self.client.remove(filepath)

    def exists(self, filepath: FilePath) -> bool:
        """True for a file or a directory."""
        return self.client.exists(filepath)

    def isdir(self, filepath: FilePath) -> bool:
        """True for a directory: on S3, if some key lies under it."""
        return self.client.isdir(filepath)

    def isfile(self, filepath: FilePath) -> bool:
        """True for a file."""
        return self.client.isfile(filepath)

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """Path components joined."""
        return self.client.join_path(filepath, *filepaths)

    def get_local_path(self, filepath: FilePath) -> AbstractContextManager[str]:
        """A context manager with a local path of the file; one made for it is removed at its end."""
        return self.client.get_local_path(filepath)

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """See `StorageBackend.list_dir_or_file`. On S3 directories end with a slash, on disk without."""
        return self.client.list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)

    def __getnewargs_ex__(self) -> tuple[tuple[str | None, str | None], dict[str, Any]]:
        backend, prefix, kwargs = self._arguments
        return (backend, prefix), kwargs

    def __getstate__(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"<FileClient over {self.client!r}>"

    @classmethod
    def _kind_of(cls, backend: str | None, prefix: str | None) -> type[StorageBackend]:
        table, name, what = (
            (cls._prefixes, prefix, "prefix") if backend is None else (cls._backends, backend, "backend")
        )
        kind = table.get(str(name))
        if kind is None:
            hint = did_you_mean(name, table, f"known: {', '.join(sorted(table))}")
            raise ConfigError(f"file_client_args: there is no {what} {name!r} ({hint})")
        return kind


def _make(kind: type[StorageBackend], name: str, kwargs: dict[str, Any]) -> StorageBackend:
    try:
        inspect.signature(kind).bind(**kwargs)
    except TypeError as error:
        raise ConfigError(f"file_client_args: backend {name!r} ({kind.__name__}): {error}") from None
    return kind(**kwargs)
