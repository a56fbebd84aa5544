"""Objects in RAM: the fake that ships with the library, and the store behind ``memory://``."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping, Sequence

from asyncio_loader.errors import FetchError, ObjectNotFound
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, Piece, changed, cut_piece

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps objects in a dict from URI to bytes. Any URI will do, ``memory://…`` by custom.

    Used by one thread at a time. It pickles with everything in it: the copy in another process is another store.

    Args:
        objects: what it holds at first.
    """

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self._objects: dict[str, bytes] = dict(objects or {})
        self._versions: dict[str, int] = {}
        self._uploads: dict[tuple[str, str], dict[int, bytes]] = {}
        # Counts puts and uploads; every one gets a name that was never there before.
        self._count = 0

    @staticmethod
    def process_wide() -> MemoryStore:
        """The store that bare ``memory://`` URIs mean: one per process, empty at first in a spawned one.

        A forked process starts with a copy of what its parent had.
        """
        return _process_wide()

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        data = self._find(uri)
        if admit is not None:
            await admit(len(data))
        return data

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return ObjectInfo(uri, len(self._find(uri)), self._etag(uri))

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        """See `RangedStore.get_range`."""
        data = self._find(uri)
        version = self._etag(uri)
        if etag not in (None, version):
            raise changed(uri)
        return cut_piece(data, start, stop, version, into)

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`. Lists what was there when it began."""
        last_prefix = None
        for key in sorted((key for key in self._objects if key.startswith(uri)), key=_utf8):
            name, slash, _ = key[len(uri) :].partition("/")
            prefix = uri + name + slash
            if recursive or not slash:
                data = self._objects.get(key)
                if data is not None:
                    yield Entry(key, len(data))
            elif prefix != last_prefix:
                last_prefix = prefix
                yield Entry(prefix)

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`. Takes a copy."""
        self._objects[uri] = bytes(data)
        self._versions[uri] = self._next()

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        self._objects.pop(uri, None)
        self._versions.pop(uri, None)

    async def create_upload(self, uri: str) -> str:
        """See `MultipartStore.create_upload`."""
        upload_id = f"upload-{self._next()}"
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
        del self._uploads[uri, upload_id]

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        """See `MultipartStore.abort_upload`."""
        self._uploads.pop((uri, upload_id), None)

    async def aclose(self) -> None:
        """Nothing to drop; the objects stay."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._objects)} objects>"

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _etag(self, uri: str) -> str:
        return f"{self._versions.get(uri, 0)}"

    def _upload(self, uri: str, upload_id: str) -> dict[int, bytes]:
        try:
            return self._uploads[uri, upload_id]
        except KeyError:
            raise FetchError(f"{uri}: there is no upload {upload_id}", key=uri) from None

    def _find(self, uri: str) -> bytes:
        try:
            return self._objects[uri]
        except KeyError:
            raise ObjectNotFound(f"{uri}: no such object in memory", key=uri) from None


def _utf8(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


@functools.cache
def _process_wide() -> MemoryStore:
    return MemoryStore()
