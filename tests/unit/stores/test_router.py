"""`StoreRouter` sends each URI to the store that knows it."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, ObjectStore, WritableStore
from asyncio_loader.stores.local import LocalStore
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.router import StoreRouter, scheme_of
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.stores.upload import PartWriter


class ReadOnlyStore:
    """A store without `put`."""

    def __init__(self) -> None:
        inner = MemoryStore({"any://a": b"1"})
        self.get, self.head, self.list, self.aclose = inner.get, inner.head, inner.list, inner.aclose

    def __repr__(self) -> str:
        return "<ReadOnlyStore>"


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("s3://bucket/key", "s3"),
        ("S3://bucket/key", "s3"),
        ("file:///a", "file"),
        ("memory://a", "memory"),
        ("/data/a", "file"),
        ("data/a:b", "file"),
        ("./a://b", "file"),
    ],
)
def test_the_scheme_is_read_off_the_uri(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme


def test_each_scheme_has_its_store() -> None:
    router = StoreRouter()

    assert isinstance(router, WritableStore)
    assert isinstance(router.store_of("s3://bucket/key"), S3Store)
    assert isinstance(router.store_of("file:///a"), LocalStore)
    assert isinstance(router.store_of("/a"), LocalStore)
    assert router.store_of("memory://a") is MemoryStore.process_wide()


def test_a_store_is_made_once() -> None:
    router = StoreRouter()

    assert router.store_of("s3://one/a") is router.store_of("s3://two/b")


@pytest.mark.parametrize(("uri", "hint"), [("s4://b/k", "did you mean s3://?"), ("https://b/k", "known: s3://")])
def test_an_unknown_scheme_is_refused_with_a_hint(uri: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StoreRouter().store_of(uri)

    assert uri in str(caught.value)
    assert hint in str(caught.value)


async def test_a_store_of_the_users_gets_every_uri() -> None:
    router = StoreRouter(MemoryStore({"s3://b/k": b"1", "/plain": b"2", "own://x": b"3"}))

    assert [await router.get(uri) for uri in ("s3://b/k", "/plain", "own://x")] == [b"1", b"2", b"3"]


async def test_a_store_of_the_users_serves_again_after_aclose() -> None:
    router = StoreRouter(MemoryStore({"own://x": b"3"}))
    await router.get("own://x")
    await router.aclose()

    assert await router.get("own://x") == b"3"


async def test_all_calls_are_passed_on(tmp_path: Path) -> None:
    router = StoreRouter()
    await router.put(f"{tmp_path}/a", b"1")
    await router.put(f"{tmp_path}/b", b"2")
    await router.delete(f"{tmp_path}/b")

    assert (await router.head(f"{tmp_path}/a")).size_bytes == 1
    assert [entry.uri async for entry in router.list(f"{tmp_path}/", recursive=False)] == [f"{tmp_path}/a"]


async def test_a_store_that_only_reads_refuses_to_write() -> None:
    store = ReadOnlyStore()
    assert isinstance(store, ObjectStore)

    with pytest.raises(ConfigError, match="<ReadOnlyStore> only reads"):
        await StoreRouter(store).put("any://b", b"")


def test_storage_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="storage must be S3Options or a store"):
        StoreRouter("s3://bucket")  # type: ignore[arg-type]


async def test_it_pickles_as_its_configuration() -> None:
    router = StoreRouter(S3Options(region_name="eu-west-1"), timeouts=RetryPolicy(max_attempts=2), max_connections=3)
    router.store_of("s3://bucket/key")

    copy = pickle.loads(pickle.dumps(router))

    assert repr(copy) == repr(router)


class _OnlyGets:
    """A store of somebody's that can do no more than it must."""

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        return b"0123456789"

    async def head(self, uri: str) -> ObjectInfo:
        return ObjectInfo(uri, 10)

    def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        raise NotImplementedError

    async def aclose(self) -> None:
        return None


@pytest.mark.parametrize(("start", "stop", "data"), [(0, 3, b"0123456789"), (3, 5, b"34"), (8, 20, b"89")])
async def test_a_store_without_ranges_gives_everything_or_cuts(start: int, stop: int, data: bytes) -> None:
    piece = await StoreRouter(_OnlyGets()).get_range("any://a", start, stop)

    assert (bytes(piece.data), piece.start, piece.size_bytes) == (data, start, 10)


async def test_a_store_that_takes_no_parts_is_named() -> None:
    with pytest.raises(ConfigError, match="/tmp/a: <LocalStore> takes no object in parts"):
        await StoreRouter().create_upload("/tmp/a")


async def test_parts_go_to_the_store_of_their_scheme() -> None:
    router = StoreRouter()
    writer = PartWriter(router, "memory://router/parts", part_bytes=2, parts_in_flight=2)
    await writer.write(b"12345")
    await writer.finish()

    assert await router.get("memory://router/parts") == b"12345"
    await router.delete("memory://router/parts")
