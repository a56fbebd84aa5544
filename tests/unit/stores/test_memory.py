"""What `MemoryStore` has beyond the contract."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncio_loader.errors import FetchError
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


async def test_every_put_is_another_version() -> None:
    store = MemoryStore({"memory://a": b"1"})
    versions = [(await store.head("memory://a")).etag]
    for _ in range(2):
        await store.put("memory://a", b"1")
        versions.append((await store.head("memory://a")).etag)

    assert len(set(versions)) == 3


async def test_an_upload_completes_with_its_own_parts_alone() -> None:
    store = MemoryStore()
    upload_id = await store.create_upload("memory://a")
    await store.put_part("memory://a", upload_id, 1, b"1")

    with pytest.raises(FetchError, match="memory://a: the upload has other parts than these"):
        await store.complete_upload("memory://a", upload_id, ["part-1", "part-2"])


async def test_an_aborted_upload_takes_nothing() -> None:
    store = MemoryStore()
    upload_id = await store.create_upload("memory://a")
    await store.abort_upload("memory://a", upload_id)

    with pytest.raises(FetchError, match="memory://a: there is no upload"):
        await store.put_part("memory://a", upload_id, 1, b"1")


async def test_a_put_by_another_thread_does_not_break_a_listing() -> None:
    class MeddledKey(str):
        """Another thread puts an object just while this key is looked at."""

        def startswith(self, *_: object) -> bool:
            thread = threading.Thread(target=lambda: asyncio.run(store.put("memory://b", b"2")))
            thread.start()
            thread.join()
            return True

    store = MemoryStore({MeddledKey("memory://a"): b"1"})

    assert [entry.uri async for entry in store.list("memory://")] == ["memory://a"]


async def test_an_object_that_goes_during_a_listing_is_left_out() -> None:
    store = MemoryStore({"memory://a": b"1", "memory://b": b"2"})
    listing = store.list("memory://")
    first = await anext(listing)

    await store.delete("memory://b")

    assert [first.uri] + [entry.uri async for entry in listing] == ["memory://a"]
