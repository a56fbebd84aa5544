from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from asyncio_loader.errors import AccessDenied
from asyncio_loader.stores.base import Entry
from asyncio_loader.stores.listing import first_objects
from asyncio_loader.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore({"memory://a/": b"", "memory://a/2": b"22", "memory://a/1": b"1", "memory://b/3": b"333"})


@pytest.mark.parametrize(
    ("uri", "most", "expected"),
    [
        ("memory://a/", 5, [("memory://a/1", 1), ("memory://a/2", 2)]),
        ("memory://a/", 1, [("memory://a/1", 1)]),
        ("memory://", 3, [("memory://a/1", 1), ("memory://a/2", 2), ("memory://b/3", 3)]),
        ("memory://c/", 1, []),
    ],
)
async def test_the_first_objects_that_are_not_empty(
    store: MemoryStore, uri: str, most: int, expected: list[tuple[str, int]]
) -> None:
    assert await first_objects(store, uri, most) == expected


class Refusing(MemoryStore):
    """One object may be seen, and no more."""

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        yield Entry(f"{uri}1", 1)
        raise AccessDenied(f"{uri}: access denied", key=uri)


async def test_what_the_listing_raises_comes_through_unless_enough_has_come() -> None:
    assert await first_objects(Refusing(), "memory://a/", 1) == [("memory://a/1", 1)]
    with pytest.raises(AccessDenied):
        await first_objects(Refusing(), "memory://a/", 2)
