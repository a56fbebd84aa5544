"""`S3Store` keeps the contract on moto, which has the whole API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer
from tests.contracts.parts_contract import MultipartContract, RangeContract
from tests.contracts.store_contract import StoreContract

MIB = 1024 * 1024


class TestS3OnMoto(MultipartContract, RangeContract, StoreContract):
    foreign_uri = "file:///tmp/a"

    @pytest.fixture(params=["http1", "aiohttp"])
    async def store(self, request: pytest.FixtureRequest, moto_environ: MotoServer) -> AsyncIterator[S3Store]:
        store = S3Store(S3Options(part_size_bytes=5 * MIB, transport=request.param))
        yield store
        await store.aclose()

    @pytest.fixture
    def root(self, moto_bucket: str, fresh_name: str) -> str:
        return f"{moto_bucket}/{fresh_name}/"

    @pytest.mark.parametrize("key", ["a//b", "/lead", "end/", "./a", "a/../b", "..", "a/.", "//"])
    async def test_keys_that_are_no_paths_are_taken_literally(self, store: S3Store, root: str, key: str) -> None:
        await store.put(root + key, key.encode())

        assert await store.get(root + key) == key.encode()
        assert [entry.uri async for entry in store.list(root)] == [root + key]

    async def test_a_listing_goes_on_behind_a_page(self, store: S3Store, root: str) -> None:
        keys = [f"{number:04}" for number in range(1003)]
        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(store.put(root + key, b""))

        assert [entry.uri async for entry in store.list(root)] == [root + key for key in keys]

    async def test_a_large_object_goes_up_in_parts(self, store: S3Store, root: str) -> None:
        data = bytes(11 * MIB)

        await store.put(f"{root}big", data)

        info = await store.head(f"{root}big")
        assert info.size_bytes == len(data)
        assert str(info.etag).endswith("-3")

    async def test_head_tells_the_etag_without_quotes(self, store: S3Store, root: str) -> None:
        await store.put(f"{root}a", b"1")

        assert (await store.head(f"{root}a")).etag == "c4ca4238a0b923820dcc509a6f75849b"

    async def test_a_missing_bucket_is_named(self, store: S3Store) -> None:
        with pytest.raises(ObjectNotFound, match=r"s3://no-such-bucket/a: no such bucket \(HTTP 404 NoSuchBucket\)"):
            await store.get("s3://no-such-bucket/a")
        with pytest.raises(ObjectNotFound, match="no such bucket"):
            [entry async for entry in store.list("s3://no-such-bucket/")]

    async def test_the_bucket_is_no_object(self, store: S3Store, moto_bucket: str) -> None:
        with pytest.raises(ConfigError, match="names a bucket, not an object"):
            await store.put(moto_bucket, b"")

    async def test_has_tells_objects_prefixes_and_buckets(self, store: S3Store, root: str, moto_bucket: str) -> None:
        await store.put(f"{root}dir/a", b"")

        assert await store.has_object(f"{root}dir/a")
        assert not await store.has_object(f"{root}dir")
        assert await store.has_any(f"{root}dir/")
        assert not await store.has_any(f"{root}nothing/")
        assert await store.has_bucket(moto_bucket)
        assert not await store.has_bucket("s3://no-such-bucket")

    async def test_creating_a_bucket_twice_is_no_error(self, store: S3Store, moto_bucket: str) -> None:
        await store.create_bucket(moto_bucket)

        assert await store.has_bucket(moto_bucket)
