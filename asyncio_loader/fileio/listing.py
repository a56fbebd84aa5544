"""From the listing of an object store to the paths of a tree of files. Pure but for the store it asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile

from asyncio_loader.fileio.backends import Suffix
from asyncio_loader.stores.base import Entry, ObjectStore

__all__ = ["collect_entries", "walk_entries"]


async def collect_entries(store: ObjectStore, root: str, recursive: bool) -> list[Entry]:
    """The whole listing under a URI."""
    return [entry async for entry in store.list(root, recursive=recursive)]


def walk_entries(entries: Iterable[Entry], root: str, dirs: bool, files: bool, suffix: Suffix) -> Iterator[str]:
    """Paths relative to the root out of a listing in order; a directory comes before what is in it.

    Directories end with a slash. An object whose key ends with one is the mark of a directory, which consoles make,
    and no file.
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
