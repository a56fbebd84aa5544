"""Copies between places: streamed, so that no file is ever whole in memory, and many small ones at the same time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeVar

from asyncio_loader.bridge.ordered_map import OrderedThreadMap
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.backends import StorageBackend

__all__ = ["copy_file", "for_each", "inside"]

T = TypeVar("T")

_PIECE_BYTES = 1024 * 1024

# A small object costs one round trip whatever its size: eight at a time hide most of it. Each thread may hold the parts
# of one large object, hence not more of them.
_THREADS = 8


def copy_file(source: StorageBackend, source_path: str, target: StorageBackend, target_path: str) -> None:
    """Copy one file, in pieces. The copy is there whole or not at all."""
    with source.open(source_path, "rb") as reader, target.open(target_path, "wb") as writer:
        shutil.copyfileobj(reader, writer, _PIECE_BYTES)


def for_each(work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do the work on every item, on eight threads.

    The first error in the items' order is raised; work under way is then finished and no other is begun.
    """
    remaining = iter(items)

    def apply(item: T) -> tuple[bool, int]:
        work(item)
        return True, 0

    threads = OrderedThreadMap(
        lambda: next(remaining, None), apply, threads=_THREADS, budget_bytes=1, budget_items=2 * _THREADS
    )
    try:
        while threads.get():
            pass
    finally:
        threads.close()


def inside(name: str) -> str:
    """The name itself, if a local path made of a directory and it stays in that directory.

    Keys of S3 are any text: ``../../etc/x`` is one.

    Raises:
        ConfigError: it does not.
    """
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise ConfigError(f"the key {name!r} would be written outside of the local directory; nothing there is copied")
    return name
