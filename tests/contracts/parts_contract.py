"""`RangedStore` and `MultipartStore` as code; used as `store_contract.StoreContract` is."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.engine.parts import PartReader, read_object
from asyncio_loader.errors import ObjectChanged, ObjectNotFound
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.base import MultipartStore, RangedStore, WritableStore
from asyncio_loader.stores.upload import PartWriter

MIB = 1024 * 1024
HUNDRED = bytes(range(100))


class RangeContract:
    """Of stores that read pieces."""

    @pytest.mark.parametrize(
        ("start", "stop", "data"),
        [
            (0, 10, HUNDRED[:10]),
            (10, 90, HUNDRED[10:90]),
            (99, 100, HUNDRED[99:]),
            (90, 200, HUNDRED[90:]),
            (0, 100, HUNDRED),
            (0, 1000, HUNDRED),
            (100, 110, b""),
            (500, 510, b""),
        ],
    )
    async def test_a_range_is_cut_at_the_end_of_the_object(
        self, store: RangedStore, root: str, start: int, stop: int, data: bytes
    ) -> None:
        await _put(store, f"{root}a", HUNDRED)

        piece = await store.get_range(f"{root}a", start, stop)

        assert (bytes(piece.data), piece.start, piece.size_bytes) == (data, start, 100)

    async def test_an_empty_object_has_an_empty_range(self, store: RangedStore, root: str) -> None:
        await _put(store, f"{root}empty", b"")

        piece = await store.get_range(f"{root}empty", 0, 10)

        assert (bytes(piece.data), piece.size_bytes, piece.is_whole) == (b"", 0, True)

    async def test_a_range_goes_where_it_belongs(self, store: RangedStore, root: str) -> None:
        await _put(store, f"{root}a", HUNDRED)
        place = bytearray(b"." * 20)

        piece = await store.get_range(f"{root}a", 95, 105, into=memoryview(place)[5:15])

        assert place == b"....." + HUNDRED[95:] + b"." * 10
        assert piece.data == HUNDRED[95:]

    async def test_a_range_of_the_same_version_comes(self, store: RangedStore, root: str) -> None:
        await _put(store, f"{root}a", HUNDRED)
        first = await store.get_range(f"{root}a", 0, 10)

        second = await store.get_range(f"{root}a", 10, 20, etag=first.etag)

        assert (bytes(second.data), second.etag) == (HUNDRED[10:20], first.etag)
        assert first.etag == (await store.head(f"{root}a")).etag

    async def test_a_range_of_another_version_is_refused(self, store: RangedStore, root: str) -> None:
        await _put(store, f"{root}a", HUNDRED)
        first = await store.get_range(f"{root}a", 0, 10)
        await _put(store, f"{root}a", HUNDRED[::-1])

        with pytest.raises(ObjectChanged, match=f"{root}a: another version"):
            await store.get_range(f"{root}a", 10, 20, etag=first.etag)

    async def test_a_range_of_nothing_is_named(self, store: RangedStore, root: str) -> None:
        await _put(store, f"{root}there", b"")

        with pytest.raises(ObjectNotFound, match=f"{root}not-there"):
            await store.get_range(f"{root}not-there", 0, 10)

    @pytest.mark.parametrize("size_bytes", [0, 1, 1024, 1025, 10_000])
    async def test_an_object_is_the_sum_of_its_parts(self, store: RangedStore, root: str, size_bytes: int) -> None:
        data = (HUNDRED * 101)[:size_bytes]
        await _put(store, f"{root}a", data)

        whole = await read_object(store, f"{root}a", retry=RetryPolicy(), part_bytes=1024, parts_in_flight=3)

        assert whole == data

    async def test_parts_may_be_read_to_and_fro(self, store: RangedStore, root: str) -> None:
        data = HUNDRED * 55
        await _put(store, f"{root}a", data)
        reader = PartReader(store, f"{root}a", retry=RetryPolicy(), part_bytes=1000, parts_in_flight=2)
        info = await reader.open()

        parts = {number: bytes(await reader.part(number)) for number in [5, 0, 1, 2, 4, 3, 5]}
        await reader.aclose()

        assert info.size_bytes == 5500
        assert parts == {number: data[number * 1000 : (number + 1) * 1000] for number in range(6)}


class MultipartContract:
    """Of stores that take parts."""

    async def test_parts_become_an_object(self, store: MultipartStore, root: str) -> None:
        uri = f"{root}a"
        upload_id = await store.create_upload(uri)
        etags = [await store.put_part(uri, upload_id, n, data) for n, data in enumerate([bytes(5 * MIB), b"end"], 1)]
        with pytest.raises(ObjectNotFound):
            await store.head(uri)

        await store.complete_upload(uri, upload_id, etags)

        assert await store.get(uri) == bytes(5 * MIB) + b"end"

    async def test_parts_may_come_in_any_order(self, store: MultipartStore, root: str) -> None:
        uri = f"{root}a b"
        upload_id = await store.create_upload(uri)
        last = await store.put_part(uri, upload_id, 2, memoryview(b"end"))
        first = await store.put_part(uri, upload_id, 1, bytearray(5 * MIB))

        await store.complete_upload(uri, upload_id, [first, last])

        assert (await store.head(uri)).size_bytes == 5 * MIB + 3

    async def test_an_aborted_upload_leaves_what_was_there(self, store: MultipartStore, root: str) -> None:
        await store.put(f"{root}a", b"before")
        upload_id = await store.create_upload(f"{root}a")
        await store.put_part(f"{root}a", upload_id, 1, b"part")

        await store.abort_upload(f"{root}a", upload_id)

        assert await store.get(f"{root}a") == b"before"

    async def test_aborting_twice_is_no_error(self, store: MultipartStore, root: str) -> None:
        upload_id = await store.create_upload(f"{root}a")

        await store.abort_upload(f"{root}a", upload_id)
        await store.abort_upload(f"{root}a", upload_id)

    async def test_a_writer_makes_an_object_when_it_finishes(self, store: MultipartStore, root: str) -> None:
        writer = PartWriter(store, f"{root}a", part_bytes=5 * MIB, parts_in_flight=2)
        data = bytes(range(256)) * (44 * 1024)
        for start in range(0, len(data), 999_999):
            await writer.write(data[start : start + 999_999])
        with pytest.raises(ObjectNotFound):
            await store.head(f"{root}a")

        await writer.finish()

        assert await store.get(f"{root}a") == data

    async def test_a_cancelled_writer_leaves_nothing(self, store: MultipartStore, root: str) -> None:
        opened, ended = [], []
        writer = PartWriter(
            store, f"{root}a", part_bytes=5 * MIB, parts_in_flight=1, on_open=opened.append, on_end=ended.append
        )
        begun = asyncio.Event()

        async def write() -> None:
            for _ in range(4):
                await writer.write(bytes(5 * MIB))
                if opened:
                    begun.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(write())
            await begun.wait()
            task.cancel()
        await writer.abort()

        assert opened == ended
        with pytest.raises(ObjectNotFound):
            await store.head(f"{root}a")


async def _put(store: object, uri: str, data: bytes) -> None:
    assert isinstance(store, WritableStore)
    await store.put(uri, data)
