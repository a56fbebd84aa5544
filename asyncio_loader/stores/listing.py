"""The beginning of a listing, for whoever needs some objects and not all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from asyncio_loader.stores.base import Entry, ObjectStore

__all__ = ["first_objects"]


async def first_objects(store: ObjectStore, uri: str, most: int) -> list[tuple[str, int]]:
    """URI and size in bytes of the first `most` objects whose URI starts with this one, in the order of their keys.

    Empty ones do not count: consoles mark directories by them. No page is asked for beyond the one that has the last.

    Raises: as `ObjectStore.list`. Cancelling it leaves nothing behind.
    """
    found: list[tuple[str, int]] = []
    async with aclosing(cast("AsyncGenerator[Entry, None]", store.list(uri))) as entries:
        async for entry in entries:
            if entry.size_bytes:
                found.append((entry.uri, entry.size_bytes))
            if len(found) == most:
                break
    return found
