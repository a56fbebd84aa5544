"""`stores.base` as code: what every store promises. A subclass gives the two fixtures and gets all tests."""

from __future__ import annotations

import asyncio
import pickle
from array import array

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.stores.base import Entry, ObjectStore, WritableStore

ODD_KEYS = [
    "with space",
    "plus+plus",
    "per%20cent%",
    "ünï-日本-🙂",
    "a&b=c;d,e:f@g$h!i*j'(k)",
    "[x]{y}~^|`",
    "back\\slash",
    "question?mark#hash",
    ".hidden",
    "deep/er/and/deeper",
    "a..b/c.",
]

WIDE = memoryview(array("H", b"same"))
"""A buffer whose items are larger than a byte."""


class StoreContract:
    """Subclasses define `store` and `root`, and may set the class attributes."""

    foreign_uri: str | None = None
    """A URI that the store must refuse; None where it takes any."""

    @pytest.fixture
    def store(self) -> WritableStore:
        """The store, closed at the end of the test if that is needed."""
        raise NotImplementedError

    @pytest.fixture
    def root(self) -> str:
        """A URI ending in a slash under which nothing is yet."""
        raise NotImplementedError

    def test_it_is_a_writable_store(self, store: WritableStore) -> None:
        assert isinstance(store, ObjectStore)
        assert isinstance(store, WritableStore)

    async def test_get_gives_what_put_took(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a.jpg", b"\x00\xffdata")

        assert await store.get(f"{root}a.jpg") == b"\x00\xffdata"

    async def test_put_takes_every_kind_of_buffer(self, store: WritableStore, root: str) -> None:
        for number, data in enumerate([b"same", bytearray(b"same"), memoryview(b"same"), WIDE]):
            await store.put(f"{root}{number}", data)

            assert await store.get(f"{root}{number}") == b"same"

    async def test_put_replaces(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"a longer first version")
        await store.put(f"{root}a", b"second")

        assert await store.get(f"{root}a") == b"second"
        assert (await store.head(f"{root}a")).size_bytes == 6

    async def test_an_empty_object_is_an_object(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}empty", b"")

        assert await store.get(f"{root}empty") == b""
        assert (await store.head(f"{root}empty")).size_bytes == 0

    async def test_a_large_object_comes_whole(self, store: WritableStore, root: str) -> None:
        data = bytes(range(256)) * (3 * 4096)
        await store.put(f"{root}large", data)

        assert await store.get(f"{root}large") == data

    async def test_head_tells_uri_and_size(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"12345")

        info = await store.head(f"{root}a")

        assert (info.uri, info.size_bytes) == (f"{root}a", 5)

    @pytest.mark.parametrize("method", ["get", "head"])
    async def test_a_missing_object_is_named(self, store: WritableStore, root: str, method: str) -> None:
        await store.put(f"{root}there", b"")

        with pytest.raises(ObjectNotFound) as caught:
            await getattr(store, method)(f"{root}not-there")

        assert f"{root}not-there" in str(caught.value)
        assert caught.value.key == f"{root}not-there"

    async def test_a_directory_is_no_object(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}dir/a", b"")

        with pytest.raises(ObjectNotFound):
            await store.get(f"{root}dir")

    async def test_a_foreign_uri_is_refused(self, store: WritableStore) -> None:
        if self.foreign_uri is None:
            pytest.skip("takes any URI")

        with pytest.raises(ConfigError, match=self.foreign_uri):
            await store.get(self.foreign_uri)

    async def test_delete_removes(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"1")
        await store.delete(f"{root}a")

        with pytest.raises(ObjectNotFound):
            await store.get(f"{root}a")

    async def test_delete_of_nothing_is_no_error(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}other", b"")

        await store.delete(f"{root}never-there")

    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_keys_are_taken_literally(self, store: WritableStore, root: str, key: str) -> None:
        await store.put(root + key, key.encode())

        assert await store.get(root + key) == key.encode()
        assert (await store.head(root + key)).size_bytes == len(key.encode())
        assert [entry.uri async for entry in store.list(root)] == [root + key]

    async def test_list_goes_by_the_bytes_of_the_keys(self, store: WritableStore, root: str) -> None:
        keys = ["a-b", "a.c", "a/b", "a/c/d", "a0", "z", "é/x", "日"]
        for key in reversed(keys):
            await store.put(root + key, key.encode())

        listing = [entry async for entry in store.list(root)]

        assert listing == [Entry(root + key, len(key.encode())) for key in keys]

    async def test_list_of_one_level_folds_prefixes(self, store: WritableStore, root: str) -> None:
        for key in ["a-b", "a/b", "a/c/d", "a0", "é/x"]:
            await store.put(root + key, b"1")

        listing = [entry async for entry in store.list(root, recursive=False)]

        assert listing == [Entry(f"{root}a-b", 1), Entry(f"{root}a/"), Entry(f"{root}a0", 1), Entry(f"{root}é/")]

    async def test_list_takes_a_part_of_a_name(self, store: WritableStore, root: str) -> None:
        for key in ["train/1", "train2/1", "trap", "val/1"]:
            await store.put(root + key, b"")

        assert [e.uri async for e in store.list(f"{root}train")] == [f"{root}train/1", f"{root}train2/1"]
        assert [e.uri async for e in store.list(f"{root}tra", recursive=False)] == [
            f"{root}train/",
            f"{root}train2/",
            f"{root}trap",
        ]

    async def test_a_listing_of_nothing_is_empty(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"")

        assert [entry async for entry in store.list(f"{root}nothing/")] == []

    async def test_admit_gets_the_size_once(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"x" * 1000)
        sizes = []

        async def admit(size_bytes: int) -> None:
            sizes.append(size_bytes)

        await store.get(f"{root}a", admit=admit)

        assert sizes == [1000]

    async def test_the_body_waits_for_admit(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"x" * 300_000)
        asked, granted = asyncio.Event(), asyncio.Event()

        async def admit(_: int) -> None:
            asked.set()
            await granted.wait()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(store.get(f"{root}a", admit=admit))
            await asked.wait()
            was_done = task.done()
            granted.set()

        assert not was_done
        assert len(task.result()) == 300_000

    async def test_what_admit_raises_comes_out(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"x")

        async def admit(_: int) -> None:
            raise LookupError("no room")

        with pytest.raises(LookupError, match="no room"):
            await store.get(f"{root}a", admit=admit)

    async def test_cancelling_a_get_leaves_the_store_usable(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"x" * 300_000)
        asked = asyncio.Event()

        async def admit(_: int) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(store.get(f"{root}a", admit=admit))
            await asked.wait()
            task.cancel()

        assert task.cancelled()
        assert len(await store.get(f"{root}a")) == 300_000

    async def test_many_gets_at_once_each_get_their_own(self, store: WritableStore, root: str) -> None:
        for number in range(10):
            await store.put(f"{root}{number}", str(number).encode() * 100)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(store.get(f"{root}{number % 10}")) for number in range(40)]

        assert [task.result() for task in tasks] == [str(number % 10).encode() * 100 for number in range(40)]

    async def test_aclose_is_idempotent_and_no_end(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"1")
        await store.aclose()
        await store.aclose()

        assert await store.get(f"{root}a") == b"1"

    def test_it_serves_one_loop_after_another(self, store: WritableStore, root: str) -> None:
        async def use() -> bytes:
            await store.put(f"{root}a", b"1")
            data = bytes(await store.get(f"{root}a"))
            await store.aclose()
            return data

        assert [asyncio.run(use()), asyncio.run(use())] == [b"1", b"1"]

    async def test_it_pickles_after_use(self, store: WritableStore, root: str) -> None:
        await store.put(f"{root}a", b"1")
        copy: WritableStore = pickle.loads(pickle.dumps(store))

        try:
            assert await copy.get(f"{root}a") == b"1"
        finally:
            await copy.aclose()
