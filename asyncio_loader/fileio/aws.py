"""S3 as the dialect's storage backend ``aws``: blocking calls on a store that lives in a loop thread."""

from __future__ import annotations

import difflib
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.engine.fetch import fetch_object
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.backends import FilePath, StorageBackend, Suffix, check_list_arguments
from asyncio_loader.fileio.path_mapping import PathMapping
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.base import Entry
from asyncio_loader.stores.s3.address import parse_uri

if TYPE_CHECKING:
    from asyncio_loader.stores.s3.store import S3Store

__all__ = ["AwsBackend"]


class AwsBackend(StorageBackend):
    """Objects of S3 as files. Paths are mapped first, then they must look like ``s3://bucket/key``.

    Nothing live is made here: the loop thread and its connections come with the first call, one of each per process,
    so a backend crosses fork and pickle. Any thread may call it. All calls retry by themselves.

    Args:
        path_mapping: see `PathMapping`.
        s3_options: fields of `S3Options`, by name.

    Raises:
        ConfigError: an unknown option, or a wrong value.
    """

    def __init__(self, path_mapping: Mapping[str, str] | None = None, **s3_options: Any) -> None:
        self._mapping = PathMapping(path_mapping)
        self._options = _s3_options(s3_options)
        self._retry = RetryPolicy()
        self._links: dict[int, _Link] = {}

    @property
    def options(self) -> S3Options:
        """Where S3 is."""
        return self._options

    @property
    def path_mapping(self) -> PathMapping:
        """How paths are mapped."""
        return self._mapping

    def get(self, filepath: FilePath) -> memoryview:
        """The object: one GET, and more only if that fails.

        Raises:
            FetchError: as `fetch_object`; a missing object raises ObjectNotFound, which is a FileNotFoundError.
        """
        link = self._link()
        data, _ = link.thread.run(fetch_object(link.store, self._uri(filepath), retry=self._retry))
        return memoryview(data)

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """See `WritableStore.put`."""
        link = self._link()
        link.thread.run(link.store.put(self._uri(filepath), obj))

    def remove(self, filepath: FilePath) -> None:
        """Delete the object. One that is not there is no error."""
        link = self._link()
        link.thread.run(link.store.delete(self._uri(filepath)))

    def isfile(self, filepath: FilePath) -> bool:
        """True if there is this very object. One HEAD."""
        uri = self._uri(filepath)
        link = self._link()
        return bool(parse_uri(uri)[1]) and link.thread.run(link.store.has_object(uri))

    def isdir(self, filepath: FilePath) -> bool:
        """True for a bucket, and for what keys go on behind with a slash. One HEAD of the bucket, or one LIST."""
        uri = self._uri(filepath)
        link = self._link()
        if not parse_uri(uri)[1]:
            return link.thread.run(link.store.has_bucket(uri))
        return link.thread.run(link.store.has_any(f"{uri.rstrip('/')}/"))

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """The components, mapped, with one slash between each two of them."""
        return "/".join(self._mapped(path).removesuffix("/") for path in (filepath, *filepaths))

    def get_local_path(self, filepath: FilePath) -> AbstractContextManager[str]:
        """A temporary file with the content and the extension of the object, removed at the end of the block."""
        return _temporary_file(self.get(filepath), suffix=os.path.splitext(self._uri(filepath))[1])

    def list_dir_or_file(
        self,
        dir_path: FilePath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: Suffix | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """See `StorageBackend.list_dir_or_file`. Directories end with a slash, and need not have an object.

        The listing is complete before the first path comes; nothing there is an empty one.
        """
        check_list_arguments(list_dir, suffix)
        root = f"{self._uri(dir_path).rstrip('/')}/"
        link = self._link()
        entries = link.thread.run(_collect(link.store, root, recursive))
        return _tree(entries, root, list_dir, list_file, suffix or "")

    def close(self) -> None:
        """Drop thread and connections of this process; the next call makes new ones. Idempotent."""
        link = self._links.pop(os.getpid(), None)
        if link is not None:
            link.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self._mapping, self._options)

    def __repr__(self) -> str:
        return f"<AwsBackend {self._options!r} {self._mapping!r}>"

    def _mapped(self, filepath: FilePath) -> str:
        # Backslashes become slashes, as in mmcv: label files are written on Windows, too.
        return self._mapping.apply(str(filepath).replace("\\", "/"))

    def _uri(self, filepath: FilePath) -> str:
        path = self._mapped(filepath)
        # ``cluster:s3://bucket/key`` is how petrel's users name one of several clusters; here the endpoint does.
        uri = path[path.find("s3://") :] if ":s3://" in path else path
        if not uri.startswith("s3://"):
            raise ConfigError(f"{str(filepath)!r} is neither s3://bucket/key nor mapped to it by {self._mapping!r}")
        return uri

    def _link(self) -> _Link:
        link = self._links.get(os.getpid())
        if link is None:
            fresh = _Link(self._options, self._retry)
            # Instead of a lock, which a fork could inherit locked: of two threads at once one made it in vain.
            link = self._links.setdefault(os.getpid(), fresh)
            if link is not fresh:
                fresh.close()
        return link


class _Link:
    """What a backend has in one process: a store, and the thread that it lives in. Closes when collected or at exit."""

    def __init__(self, options: S3Options, retry: RetryPolicy) -> None:
        # Here, because aiohttp and botocore take a third of a second to import and a client of local files needs none.
        from asyncio_loader.stores.s3.store import S3Store

        self.store = S3Store(options, timeouts=retry)
        self.thread = LoopThread("asyncio-loader-files")
        # At exit finalizers run last made first: this one still finds the thread alive.
        self.close = weakref.finalize(self, _close, self.thread, self.store)


def _close(thread: LoopThread, store: S3Store) -> None:
    thread.close(store.aclose)


def _rebuild(mapping: PathMapping, options: S3Options) -> AwsBackend:
    backend = AwsBackend()
    backend._mapping, backend._options = mapping, options
    return backend


def _s3_options(given: dict[str, Any]) -> S3Options:
    known = S3Options.field_names()
    for name in given:
        if name not in known:
            meant = difflib.get_close_matches(name, [*known, "path_mapping"], n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"known: path_mapping, {', '.join(sorted(known))}"
            raise ConfigError(f"file_client_args: backend 'aws' has no option {name!r} ({hint})")
    return S3Options(**given)


@contextmanager
def _temporary_file(data: memoryview, suffix: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        yield file.name


async def _collect(store: S3Store, root: str, recursive: bool) -> list[Entry]:
    return [entry async for entry in store.list(root, recursive=recursive)]


def _tree(entries: Iterable[Entry], root: str, dirs: bool, files: bool, suffix: Suffix) -> Iterator[str]:
    """Paths relative to the root out of a listing in order; a directory comes before what is in it.

    An object whose key ends with a slash is the mark of a directory, which consoles make, and no file.
    """
    above: list[str] = []
    for entry in entries:
        *parents, name = entry.uri[len(root) :].split("/")
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parents, above, strict=False)))
        if dirs:
            yield from ("/".join(parents[:depth]) + "/" for depth in range(shared + 1, len(parents) + 1))
        above = parents
        if name and files and name.endswith(suffix):
            yield "/".join([*parents, name])
