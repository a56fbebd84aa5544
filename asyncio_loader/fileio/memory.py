"""Objects in RAM as the storage backend ``memory``: for tests, and for trying a config without a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from asyncio_loader.engine.parts import PartWriter
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.fileio.objects import ObjectBackend
from asyncio_loader.options import S3Options
from asyncio_loader.stores.memory import MemoryStore

if TYPE_CHECKING:
    from asyncio_loader.fileio.journal import UploadJournal

__all__ = ["MemoryBackend"]


class MemoryBackend(ObjectBackend[MemoryStore]):
    """Objects of this process, ``memory://bucket/key``: those that a dataset finds there, too. See `ObjectBackend`.

    A forked process starts with a copy of what its parent had, a spawned one with nothing.

    Args:
        path_mapping: see `PathMapping`.
    """

    scheme = "memory://"

    def __init__(self, path_mapping: Mapping[str, str] | None = None) -> None:
        super().__init__(path_mapping, S3Options())

    def __repr__(self) -> str:
        return f"<MemoryBackend {self._mapping!r}>"

    def _new_store(self) -> MemoryStore:
        return MemoryStore.process_wide()

    async def _has_object(self, store: MemoryStore, uri: str) -> bool:
        try:
            await store.head(uri)
        except ObjectNotFound:
            return False
        return True

    async def _has_directory(self, store: MemoryStore, root: str) -> bool:
        async for _ in store.list(root):
            return True
        return False

    def _writer(self, store: MemoryStore, uri: str, journal: UploadJournal | None) -> PartWriter:
        # Nothing to note: its uploads end with the process.
        return super()._writer(store, uri, None)
