"""Objects in RAM: the fake that ships with the library, and the store behind ``memory://``."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple

from asyncio_loader.errors import FetchError, ObjectNotFound
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, Piece, changed, cut_piece

__all__ = ["MemoryStore"]


class _Version(NamedTuple):
    data: bytes
    etag: str


class MemoryStore:
    """Keeps objects in a dict from URI to bytes. Any URI will do, ``memory://…`` by custom.

    Any number of threads and loops may use it: each step is one look-up or change of a dict. It pickles with
    everything in it: the copy in another process is another store.

    Args:
        objects: what it holds at first.
    """

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self._objects = {uri: _Version(data, _new_name()) for uri, data in (objects or {}).items()}
        self._uploads: dict[tuple[str, str], dict[int, bytes]] = {}

    @staticmethod
    def process_wide() -> MemoryStore:
        """The store that bare ``memory://`` URIs mean: one per process, empty at first in a spawned one.

        A forked process starts with a copy of what its parent had.
        """
        return _PROCESS_WIDE

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        data = self._find(uri).data
        if admit is not None:
            await admit(len(data))
        return data

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        version = self._find(uri)
        return ObjectInfo(uri, len(version.data), version.etag)

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """See `RangedStore.get_range`."""
        version = self._find(uri)
        if etag not in (None, version.etag):
            raise changed(uri)
        return cut_piece(version.data, start, stop, version.etag, into)

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`. Lists what was there when it began."""
        last_prefix = None
        # A copy: another thread may put in the meantime.
        for key in sorted((key for key in list(self._objects) if key.startswith(uri)), key=_utf8):
            name, slash, _ = key[len(uri) :].partition("/")
            prefix = uri + name + slash
            if recursive or not slash:
                version = self._objects.get(key)
                if version is not None:
                    yield Entry(key, len(version.data))
            elif prefix != last_prefix:
                last_prefix = prefix
                yield Entry(prefix)

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`. Takes a copy."""
        self._objects[uri] = _Version(bytes(data), _new_name())

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        self._objects.pop(uri, None)

    async def create_upload(self, uri: str) -> str:
        """See `MultipartStore.create_upload`."""
        upload_id = _new_name()
        self._uploads[uri, upload_id] = {}
        return upload_id

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        """See `MultipartStore.put_part`. Parts may be of any size."""
        self._upload(uri, upload_id)[number] = bytes(data)
        return f"part-{number}"

    async def complete_upload(self, uri: str, upload_id: str, etags: Sequence[str]) -> None:
        """See `MultipartStore.complete_upload`."""
        parts = self._upload(uri, upload_id)
        numbers = range(1, len(etags) + 1)
        if list(etags) != [f"part-{number}" for number in numbers] or not parts.keys() >= set(numbers):
            raise FetchError(f"{uri}: the upload has other parts than these", key=uri)
        await self.put(uri, b"".join(parts[number] for number in numbers))
        await self.abort_upload(uri, upload_id)

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`."""
        self._uploads.pop((uri, upload_id), None)

    async def aclose(self) -> None:
        """Nothing to drop; the objects stay."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._objects)} objects>"

    def _upload(self, uri: str, upload_id: str) -> dict[int, bytes]:
        try:
            return self._uploads[uri, upload_id]
        except KeyError:
            raise FetchError(f"{uri}: there is no upload {upload_id}", key=uri) from None

    def _find(self, uri: str) -> _Version:
        try:
            return self._objects[uri]
        except KeyError:
            raise ObjectNotFound(f"{uri}: no such object in memory", key=uri) from None


def _utf8(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _new_name() -> str:
    """One that was never there before, in any thread, and in no copy of the store in another process."""
    return uuid.uuid4().hex


_PROCESS_WIDE = MemoryStore()
