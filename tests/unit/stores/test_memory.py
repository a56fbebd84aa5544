"""What `MemoryStore` has beyond the contract."""

from __future__ import annotations

from asyncio_loader.stores.memory import MemoryStore


async def test_it_starts_with_the_objects_it_is_given() -> None:
    store = MemoryStore({"memory://a": b"1"})

    assert await store.get("memory://a") == b"1"


async def test_it_copies_what_it_is_given() -> None:
    objects = {"memory://a": b"1"}
    store = MemoryStore(objects)

    await store.put("memory://b", b"2")

    assert objects == {"memory://a": b"1"}


def test_the_process_wide_store_is_one() -> None:
    assert MemoryStore.process_wide() is MemoryStore.process_wide()
    assert MemoryStore.process_wide() is not MemoryStore()
