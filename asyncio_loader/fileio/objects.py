"""Objects as files: the dialect's calls on a store that lives in a loop thread."""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Generic, TypeVar

from asyncio_loader.engine.parts import read_object
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.fileio.backends import FilePath, OpenMode, StorageBackend, Suffix, check_list_arguments, check_mode
from asyncio_loader.fileio.link import Link, Links
from asyncio_loader.fileio.listing import collect_entries, walk_entries
from asyncio_loader.fileio.path_mapping import PathMapping
from asyncio_loader.fileio.streams import reading, writing
from asyncio_loader.fileio.transfer import FullStore, part_reader, part_writer
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.retry import retry_calls

if TYPE_CHECKING:
    from asyncio_loader.fileio.journal import UploadJournal

__all__ = ["ObjectBackend"]

_COPY_BYTES = 1024 * 1024


S = TypeVar("S", bound=FullStore)


class ObjectBackend(StorageBackend, Generic[S]):
    """Objects of a store as files. Paths are mapped first, then they must be URIs of the backend's scheme.

    Nothing live is made here: the loop thread and its connections come with the first call, one of each per process,
    so a backend crosses fork and pickle. Any thread may call it. All calls retry by themselves. Large objects move in
    parts, several at a time.

    Subclasses name the scheme and say how a store is made; and how it is asked, where it knows a shorter way.

    Args:
        path_mapping: see `PathMapping`.
        options: size and number of the parts are taken from here.
    """

    scheme: ClassVar[str]
    """How the URIs begin that it takes."""

    def __init__(self, path_mapping: Mapping[str, str] | None, options: S3Options) -> None:
        self._mapping = PathMapping(path_mapping)
        self._options = options
        self._retry = RetryPolicy()
        self._links: Links[S] = Links()

    @property
    def path_mapping(self) -> PathMapping:
        """How paths are mapped."""
        return self._mapping

    def get(self, filepath: FilePath) -> memoryview:
        """The object: one GET, and more only if that fails or the object is larger than a part.

        Raises:
            FetchError: as `read_object`; a missing object raises ObjectNotFound, which is a FileNotFoundError.
        """
        link, options = self._link(), self._options
        read = read_object(
            link.store,
            self._uri(filepath),
            retry=self._retry,
            part_bytes=options.part_size_bytes,
            parts_in_flight=options.parts_in_flight,
        )
        return memoryview(link.run(read))

    def put(self, obj: bytes | memoryview, filepath: FilePath) -> None:
        """Create or replace the object: whole or not at all.

        Raises:
            FetchError: as `WritableStore.put`.
        """
        link = self._link()
        link.run(link.store.put(self._uri(filepath), obj))

    def open(
        self, filepath: FilePath, mode: OpenMode = "rb", *, journal: UploadJournal | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """See `StorageBackend.open`. Holds some parts of the object, however large it is.

        ``"rb"`` is pinned to the version found at opening, and reads ahead. ``"wb"`` sends a large object in parts,
        which are aborted when an exception leaves the block. In a forked child the file is dead.

        Raises:
            FetchError: from the store; the file's own methods raise it, too. Where a library puts an error of its own
                in the place of one of these, this one is raised at the end of the block.
            ObjectChanged: another version appeared while the file was read.
        """
        check_mode(mode)
        uri, link = self._uri(filepath), self._link()
        if mode == "wb":
            return writing(link, part_writer(link.store, uri, self._options, journal))
        return reading(link, part_reader(link.store, uri, self._options, self._retry), self._options.part_size_bytes)

    def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`. The URI is taken as it is; for `UploadJournal`."""
        link = self._link()
        link.run(link.store.abort_upload(uri, upload_id))

    def remove(self, filepath: FilePath) -> None:
        """Delete the object. One that is not there is no error."""
        link = self._link()
        link.run(link.store.delete(self._uri(filepath)))

    def isfile(self, filepath: FilePath) -> bool:
        """True if there is this very object; but one that ends with a slash marks a directory, and is no file."""
        uri = self._uri(filepath)
        link = self._link()
        return not uri.endswith("/") and link.run(self._has_object(link.store, uri))

    def isdir(self, filepath: FilePath) -> bool:
        """True for what keys go on behind with a slash, given with that slash or without."""
        root = f"{self._uri(filepath).rstrip('/')}/"
        link = self._link()
        return link.run(self._has_directory(link.store, root))

    def join_path(self, filepath: FilePath, *filepaths: FilePath) -> str:
        """See `PathMapping.join`."""
        return self._mapping.join(filepath, *filepaths)

    @contextmanager
    def get_local_path(self, filepath: FilePath) -> Iterator[str]:
        """A temporary file with the content and the extension of the object, removed at the end of the block.

        One GET for a small object; of a large one some parts are in memory at a time. Raises as `open`.
        """
        suffix = os.path.splitext(self._uri(filepath))[1]
        with tempfile.NamedTemporaryFile(suffix=suffix) as copy:
            with self.open(filepath) as file:
                shutil.copyfileobj(file, copy, _COPY_BYTES)
            copy.flush()
            yield copy.name

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
        entries = link.run(collect_entries(link.store, root, recursive))
        return walk_entries(entries, root, list_dir, list_file, suffix or "")

    def close(self) -> None:
        """Drop thread and connections of this process; the next call makes new ones. Idempotent."""
        self._links.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self._mapping, self._options)

    @abstractmethod
    def _new_store(self) -> S: ...

    async def _has_object(self, store: S, uri: str) -> bool:
        try:
            await retry_calls(partial(store.head, uri), uri, retry=self._retry)
        except ObjectNotFound:
            return False
        return True

    async def _has_directory(self, store: S, root: str) -> bool:
        async for _ in store.list(root):
            return True
        return False

    def _uri(self, filepath: FilePath) -> str:
        return self._mapping.resolve(filepath, self.scheme)

    def _link(self) -> Link[S]:
        return self._links.open(self._new_store)


def _rebuild(kind: Callable[[], ObjectBackend[Any]], mapping: PathMapping, options: S3Options) -> ObjectBackend[Any]:
    backend = kind()
    backend._mapping, backend._options = mapping, options
    return backend
