"""`PartWriter`: whole or not at all, and never too much at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost, LoaderError, ObjectNotFound, ServerFault
from asyncio_loader.records import Buffer
from asyncio_loader.stores.local import LocalStore
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.upload import PartWriter, part_size_bytes, put_in_parts

URI = "memory://a"


class Uploads(MemoryStore):
    """Fails or waits at some parts, and writes down what it is asked for."""

    def __init__(self, failing: int = 0, waiting: Sequence[int] = ()) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.sizes: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.waits = asyncio.Event()
        self.go_on = asyncio.Event()
        self._failing = failing
        self._waiting = waiting

    async def put(self, uri: str, data: Buffer) -> None:
        self.calls.append("put")
        await super().put(uri, data)

    async def create_upload(self, uri: str) -> str:
        self.calls.append("create")
        return await super().create_upload(uri)

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        self.sizes.append(len(data))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if number in self._waiting:
                self.waits.set()
                await self.go_on.wait()
            # Others get to run, too, before this one is there.
            await asyncio.sleep(0)
            if number == self._failing:
                raise ConnectionLost(f"{uri}: part {number}")
            return await super().put_part(uri, upload_id, number, data)
        finally:
            self.under_way -= 1

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        self.calls.append("abort")
        await super().abort_upload(uri, upload_id)


def writer_to(store: Uploads, parts_in_flight: int = 2, **callbacks: object) -> PartWriter:
    return PartWriter(store, URI, part_bytes=4, parts_in_flight=parts_in_flight, **callbacks)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [b"", b"1", b"1234"])
async def test_what_fits_into_a_part_is_a_plain_put(data: bytes) -> None:
    store = Uploads()
    writer = writer_to(store)

    await writer.write(data)
    await writer.finish()

    assert await store.get(URI) == data
    assert store.calls == ["put"]


@pytest.mark.parametrize("step", [1, 3, 4, 5, 100])
async def test_what_is_written_comes_together_in_order(step: int) -> None:
    store = Uploads()
    writer = writer_to(store)
    data = bytes(range(50))

    for start in range(0, len(data), step):
        await writer.write(data[start : start + step])
    await writer.finish()

    assert await store.get(URI) == data
    assert sorted(store.sizes) == [2] + [4] * 12


async def test_the_bytes_may_be_reused_after_a_write() -> None:
    store = Uploads(waiting=[1])
    writer = writer_to(store)
    chunk = bytearray(b"12345678")

    await writer.write(chunk)
    await store.waits.wait()
    chunk[:] = b"xxxxxxxx"
    store.go_on.set()
    await writer.finish()

    assert await store.get(URI) == b"12345678"


async def test_a_write_waits_while_too_many_parts_are_under_way() -> None:
    store = Uploads(waiting=range(1, 100))
    writer = writer_to(store, parts_in_flight=3)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(writer.write(bytes(100)))
        await store.waits.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        was_done = task.done()
        store.go_on.set()
    await writer.finish()

    assert not was_done
    assert store.most_under_way == 3


async def test_no_more_memory_than_the_parts_under_way_and_the_one_that_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores import upload

    allocated = []
    real = upload.allocate
    monkeypatch.setattr(upload, "allocate", lambda size_bytes: allocated.append(size_bytes) or real(size_bytes))
    writer = writer_to(Uploads(), parts_in_flight=3)

    for _ in range(100):
        await writer.write(b"12345")
    await writer.finish()

    assert allocated == [4] * len(allocated)
    assert len(allocated) <= 4


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_failed_part_is_raised_and_ends_the_upload(at_once: bool) -> None:
    store = Uploads(failing=2)
    put = put_in_parts(store, URI, bytes(100), part_bytes=4, parts_in_flight=2)
    write = writer_to(store).write(bytes(100))
    call, other = (put, write) if at_once else (write, put)
    other.close()

    with pytest.raises(ConnectionLost, match="part 2"):
        await call

    assert (store.calls, store.under_way) == (["create", "abort"], 0)
    with pytest.raises(ObjectNotFound):
        await store.head(URI)


async def test_a_part_that_fails_behind_the_last_write_is_raised_by_finish() -> None:
    store = Uploads(failing=1)
    writer = writer_to(store, parts_in_flight=8)
    await writer.write(bytes(9))

    with pytest.raises(ConnectionLost, match="part 1"):
        await writer.finish()

    assert store.calls == ["create", "abort"]


@pytest.mark.parametrize("method", ["write", "finish"])
async def test_cancelling_a_call_ends_the_upload(method: str) -> None:
    store = Uploads(waiting=[1, 2])
    writer = writer_to(store)
    if method == "finish":
        await writer.write(bytes(6))

    async with asyncio.TaskGroup() as group:
        call = writer.write(bytes(100)) if method == "write" else writer.finish()
        task = group.create_task(call)
        await store.waits.wait()
        task.cancel()

    assert task.cancelled()
    assert (store.calls, store.under_way) == (["create", "abort"], 0)


async def test_abort_drops_everything_and_may_come_twice() -> None:
    store = Uploads(waiting=[1])
    writer = writer_to(store)
    await writer.write(bytes(6))
    await store.waits.wait()

    await writer.abort()
    await writer.abort()

    assert (store.calls, store.under_way) == (["create", "abort"], 0)


async def test_abort_after_finish_is_nothing() -> None:
    store = Uploads()
    writer = writer_to(store)
    await writer.write(bytes(6))
    await writer.finish()

    await writer.abort()

    assert len(await store.get(URI)) == 6


async def test_nothing_can_be_written_behind_the_end() -> None:
    writer = writer_to(Uploads())
    await writer.finish()

    with pytest.raises(LoaderError, match=f"{URI}: this upload has ended"):
        await writer.write(b"1")


@pytest.mark.parametrize("failing", [0, 2])
async def test_its_beginning_and_its_end_are_told(failing: int) -> None:
    told: list[tuple[str, str]] = []
    store = Uploads(failing=failing)
    writer = writer_to(
        store, on_open=lambda name: told.append(("open", name)), on_end=lambda name: told.append(("end", name))
    )
    try:
        await writer.write(bytes(10))
        await writer.finish()
    except ConnectionLost:
        assert failing

    assert told == [("open", told[0][1]), ("end", told[0][1])]


async def test_an_upload_that_could_not_be_aborted_has_not_ended(caplog: pytest.LogCaptureFixture) -> None:
    class Unreachable(Uploads):
        async def abort_upload(self, uri: str, upload_id: str) -> None:
            raise ServerFault(f"{uri}: gone")

    ended: list[str] = []
    writer = writer_to(Unreachable(failing=1), on_end=ended.append)

    with pytest.raises(ConnectionLost, match="part 1"):
        await writer.write(bytes(100))

    assert ended == []
    assert f"{URI}: the upload could not be aborted, its parts stay: {URI}: gone" in caplog.text


async def test_an_upload_that_may_not_begin_opens_nothing() -> None:
    class Forbidden(Uploads):
        async def create_upload(self, uri: str) -> str:
            raise AccessDenied(f"{uri}: no")

    store = Forbidden()
    with pytest.raises(AccessDenied):
        await put_in_parts(store, URI, bytes(100), part_bytes=4, parts_in_flight=2)

    assert store.calls == []


async def test_a_store_without_uploads_is_refused() -> None:
    with pytest.raises(ConfigError, match="/tmp/a: <LocalStore> takes no object in parts"):
        PartWriter(LocalStore(), "/tmp/a", part_bytes=4, parts_in_flight=2)  # type: ignore[arg-type]


def test_parts_double_every_thousand() -> None:
    assert [part_size_bytes(number, 8) for number in (1, 1000, 1001, 2000, 2001, 10_000)] == [8, 8, 16, 16, 32, 4096]


def test_ten_thousand_parts_hold_the_largest_object() -> None:
    mib = 1024 * 1024
    assert sum(part_size_bytes(number, 8 * mib) for number in range(1, 10_001)) > 5 * mib * mib
    assert part_size_bytes(10_000, 8 * mib) <= 5 * 1024 * mib


async def test_the_parts_of_a_long_upload_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores import upload

    monkeypatch.setattr(upload, "_GROWS_EVERY_PARTS", 3)
    store = Uploads()
    writer = writer_to(store, parts_in_flight=1)
    for _ in range(25):
        await writer.write(b"12")
    await writer.finish()

    assert store.sizes == [4, 4, 4, 8, 8, 8, 14]
    assert await store.get(URI) == b"12" * 25


async def test_more_parts_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncio_loader.stores import multipart

    monkeypatch.setattr(multipart, "_MAX_PARTS", 3)
    store = Uploads()

    with pytest.raises(LoaderError, match="more than 3 parts"):
        await put_in_parts(store, URI, bytes(100), part_bytes=4, parts_in_flight=2)

    assert store.calls == ["create", "abort"]
