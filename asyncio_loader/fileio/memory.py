"""Objects in RAM as the storage backend ``memory``: for tests, and for trying a config without a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from asyncio_loader.fileio.backends import FilePath, OpenMode
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

    def open(
        self, filepath: FilePath, mode: OpenMode = "rb", *, journal: UploadJournal | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """See `ObjectBackend.open`. The journal notes nothing: uploads in memory end with the process."""
        return super().open(filepath, mode)

    def __repr__(self) -> str:
        return f"<MemoryBackend {self._mapping!r}>"

    def _new_store(self) -> MemoryStore:
        return MemoryStore.process_wide()
