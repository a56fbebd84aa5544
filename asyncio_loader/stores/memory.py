"""Objects in RAM: the fake that ships with the library, and the store behind ``memory://``."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping

from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps objects in a dict from URI to bytes. Any URI will do, ``memory://…`` by custom.

    Used by one thread at a time. It pickles with everything in it: the copy in another process is another store.

    Args:
        objects: what it holds at first.
    """

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self._objects: dict[str, bytes] = dict(objects or {})

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
        return ObjectInfo(uri, len(self._find(uri)))

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

    async def delete(self, uri: str) -> None:
        """See `WritableStore.delete`."""
        self._objects.pop(uri, None)

    async def aclose(self) -> None:
        """Nothing to drop; the objects stay."""

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._objects)} objects>"

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
