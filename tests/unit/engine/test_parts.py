"""Large objects in parts: of one version, each part with its own tries, in bounded memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest

from asyncio_loader.engine.parts import PartReader, read_object
from asyncio_loader.errors import AccessDenied, ChecksumMismatch, ConnectionLost, FetchError, ObjectChanged
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectInfo, Piece
from asyncio_loader.stores.checksum import Checksum
from asyncio_loader.stores.memory import MemoryStore

URI = "memory://a"
DATA = bytes(range(256)) * 4
AT_ONCE = RetryPolicy(max_attempts=4, backoff_initial_s=0.0)


class Ranges(MemoryStore):
    """Writes down the ranges it is asked for, and lets a script meddle with each.

    Attributes:
        starts: of the ranges, in the order they were asked for.
        cancelled: starts of those that were given up.
        meddle: called with the number of the request, from 1, and the start; what it raises is raised,
            and what it returns is awaited if it can be.
    """

    def __init__(self, data: bytes = DATA, meddle: Callable[[int, int], object] | None = None) -> None:
        super().__init__({URI: data})
        self.starts: list[int] = []
        self.cancelled: list[int] = []
        self.heads = 0
        self.under_way = 0
        self.most_under_way = 0
        self.meddle = meddle
        self.gate = asyncio.Event()
        self.gate.set()

    async def get_range(
        self, uri: str, start: int, stop: int, *, etag: str | None = None, into: memoryview | None = None
    ) -> Piece:
        self.starts.append(start)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        number = len(self.starts)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if self.meddle is not None:
                outcome = self.meddle(number, start)
                if isinstance(outcome, Awaitable):
                    await outcome
            return await super().get_range(uri, start, stop, etag=etag, into=into)
        except asyncio.CancelledError:
            self.cancelled.append(start)
            raise
        finally:
            self.under_way -= 1

    async def head(self, uri: str) -> ObjectInfo:
        self.heads += 1
        return await super().head(uri)


class Checked(Ranges):
    """Tells a checksum, right or wrong."""

    def __init__(self, checksum: Checksum) -> None:
        super().__init__()
        self._checksum = checksum

    async def get_range(self, uri: str, start: int, stop: int, **more: object) -> Piece:
        piece = await super().get_range(uri, start, stop, **more)  # type: ignore[arg-type]
        checksum = self._checksum if piece.is_whole else None
        return Piece(piece.data, piece.start, piece.size_bytes, piece.etag, checksum)

    async def head(self, uri: str) -> ObjectInfo:
        info = await super().head(uri)
        return ObjectInfo(uri, info.size_bytes, info.etag, self._checksum)


class OnlyWhole:
    """A store of somebody's, without ranges."""

    def __init__(self) -> None:
        self.gets = 0

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        self.gets += 1
        return DATA


async def read(store: object, part_bytes: int = 100, parts_in_flight: int = 3) -> Buffer:
    return await read_object(
        store,  # type: ignore[arg-type]
        URI,
        retry=AT_ONCE,
        part_bytes=part_bytes,
        parts_in_flight=parts_in_flight,
    )


def reader_of(store: object, parts_in_flight: int = 2) -> PartReader:
    return PartReader(store, URI, retry=AT_ONCE, part_bytes=100, parts_in_flight=parts_in_flight)  # type: ignore[arg-type]


@pytest.mark.parametrize("size_bytes", [0, 1, 1023, 1024])
async def test_what_fits_into_a_part_is_one_request(size_bytes: int) -> None:
    store = Ranges(DATA[:size_bytes])

    assert await read(store, part_bytes=1024) == DATA[:size_bytes]
    assert (store.starts, store.heads) == ([0], 0)


async def test_the_parts_of_a_large_object_come_at_the_same_time() -> None:
    store = Ranges()

    assert await read(store) == DATA
    assert sorted(store.starts) == list(range(0, 1024, 100))
    assert store.most_under_way == 3


async def test_each_part_has_its_own_tries() -> None:
    failed: dict[int, int] = {}

    def meddle(_: int, start: int) -> None:
        failed[start] = failed.get(start, 0) + 1
        if failed[start] < 4:
            raise ConnectionLost("reset")

    store = Ranges(meddle=meddle)

    assert await read(store) == DATA
    assert set(failed.values()) == {4}


async def test_a_part_that_does_not_come_ends_the_read() -> None:
    def meddle(_: int, start: int) -> None:
        if start == 500:
            raise ConnectionLost("reset")

    store = Ranges(meddle=meddle)

    with pytest.raises(ConnectionLost, match=r"memory://a: reset \(gave up after 4 attempts"):
        await read(store)
    assert store.under_way == 0


async def test_a_final_answer_is_not_asked_again() -> None:
    def meddle(_: int, start: int) -> None:
        if start == 500:
            raise AccessDenied("no")

    store = Ranges(meddle=meddle)

    with pytest.raises(AccessDenied):
        await read(store)
    assert store.starts.count(500) == 1


async def test_an_object_that_is_replaced_is_read_anew() -> None:
    other = DATA[::-1]

    store = Ranges()
    store.meddle = lambda number, _: store.put(URI, other) if number == 5 else None

    assert await read(store) == other
    assert store.starts.count(0) == 2


async def test_an_object_that_changes_all_the_time_cannot_be_read() -> None:
    store = Ranges()
    store.meddle = lambda *_: store.put(URI, DATA)

    with pytest.raises(ObjectChanged, match=r"memory://a: another version .* \(in each of 3 reads\)"):
        await read(store)


async def test_without_versions_a_change_of_size_is_noticed() -> None:
    class Versionless(Ranges):
        async def get_range(self, uri: str, start: int, stop: int, **more: object) -> Piece:
            piece = await super().get_range(uri, start, stop, into=more.get("into"))  # type: ignore[arg-type]
            return Piece(piece.data, piece.start, piece.size_bytes)

    store = Versionless()
    store.meddle = lambda number, _: store.put(URI, bytes(2000 + number))

    with pytest.raises(ObjectChanged):
        await read(store)


@pytest.mark.parametrize("part_bytes", [100, 2000])
async def test_the_checksum_of_the_whole_is_verified(part_bytes: int) -> None:
    right = Checksum("crc32", zlib.crc32(DATA).to_bytes(4, "big"))

    assert await read(Checked(right), part_bytes) == DATA
    with pytest.raises(ChecksumMismatch, match=rf"{URI}: .*crc32.* \(in each of 3 reads\)"):
        await read(Checked(Checksum("crc32", b"none")), part_bytes)


async def test_other_bytes_are_read_anew() -> None:
    store = Checked(Checksum("crc32", zlib.crc32(DATA).to_bytes(4, "big")))
    store.meddle = lambda number, _: store.put(URI, DATA[::-1] if number == 1 else DATA)

    assert await read(store, part_bytes=2000) == DATA
    assert store.starts == [0, 0]


async def test_a_store_that_compares_by_itself_is_not_asked_again() -> None:
    class Comparing(OnlyWhole):
        async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
            self.gets += 1
            raise ChecksumMismatch(f"{uri}: other bytes", key=uri)

    store = Comparing()

    with pytest.raises(ChecksumMismatch):
        await read(store)
    assert store.gets == AT_ONCE.checksum_attempts


@pytest.mark.parametrize("is_right", [True, False])
async def test_a_reader_from_start_to_end_compares(is_right: bool) -> None:
    digest = zlib.crc32(DATA).to_bytes(4, "big") if is_right else b"none"
    store = Checked(Checksum("crc32", digest))
    reader = reader_of(store)
    info = await reader.open()
    last = (info.size_bytes - 1) // 100
    for number in range(last):
        await reader.part(number)

    if is_right:
        assert await reader.part(last) == DATA[last * 100 :]
    else:
        for number in (last, 0):
            with pytest.raises(ChecksumMismatch, match=URI):
                await reader.part(number)
    assert store.heads == 1
    await reader.aclose()


async def test_a_reader_that_jumps_needs_no_checksum() -> None:
    store = Checked(Checksum("crc32", b"none"))
    reader = reader_of(store)
    await reader.open()
    for number in (0, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9):
        await reader.part(number)

    assert store.heads == 0
    await reader.aclose()


async def test_cancelling_a_read_cancels_its_requests() -> None:
    store = Ranges()

    store.meddle = lambda *_: store.gate.clear()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(read(store))
        while store.under_way < 3:
            await asyncio.sleep(0)
        task.cancel()

    assert task.cancelled()
    assert store.under_way == 0


async def test_a_store_without_ranges_is_asked_for_everything() -> None:
    store = OnlyWhole()

    assert await read(store) == DATA
    assert store.gets == 1


async def test_a_reader_knows_size_and_version() -> None:
    store = Ranges()
    reader = reader_of(store)

    assert await reader.open() == await store.head(URI)
    await reader.aclose()


async def test_a_reader_reads_ahead_from_the_second_part_in_a_row() -> None:
    store = Ranges()
    reader = reader_of(store)
    await reader.open()
    await reader.part(0)
    first = list(store.starts)

    assert await reader.part(1) == DATA[100:200]
    second = list(store.starts)
    await reader.aclose()

    assert first == [0]
    assert second == [0, 100, 200]


async def test_a_reader_that_goes_on_asks_for_each_part_once() -> None:
    store = Ranges()
    reader = reader_of(store, parts_in_flight=3)
    await reader.open()

    parts = [bytes(await reader.part(number)) for number in range(11)]
    await reader.aclose()

    assert b"".join(parts) == DATA
    assert store.starts == list(range(0, 1024, 100))
    assert store.most_under_way <= 3


async def test_a_jump_cancels_what_it_makes_useless() -> None:
    store = Ranges()
    reader = reader_of(store, parts_in_flight=3)
    await reader.open()
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        going_on = group.create_task(reader.part(1))
        while store.under_way < 3:
            await asyncio.sleep(0)
        going_on.cancel()
    # Parts 1 to 3 are still to come, for whoever calls next.
    under_way = store.under_way
    async with asyncio.TaskGroup() as group:
        jump = group.create_task(reader.part(10))
        while 1000 not in store.starts:
            await asyncio.sleep(0)
        store.gate.set()
    await reader.aclose()

    assert jump.result() == DATA[1000:]
    assert (under_way, sorted(store.cancelled)) == (3, [100, 200, 300])


async def test_a_jump_back_finds_a_part_that_was_read_lately() -> None:
    store = Ranges()
    reader = reader_of(store)
    await reader.open()
    for number in (0, 9, 0, 9, 0):
        await reader.part(number)
    await reader.aclose()

    assert store.starts == [0, 900]


async def test_a_reader_holds_a_bounded_number_of_parts() -> None:
    store = Ranges(bytes(10_000))
    reader = reader_of(store, parts_in_flight=3)
    await reader.open()
    most = 0
    for number in [*range(20), 90, 3, 50, 51, 52, 10, 11, 99, 0, *range(40, 60)]:
        await reader.part(number)
        most = max(most, len(reader._parts))
    await reader.aclose()

    assert most <= 5


async def test_a_part_that_failed_is_asked_for_again_by_the_next_call() -> None:
    def meddle(_: int, start: int) -> None:
        if start == 700:
            raise AccessDenied("no")

    store = Ranges(meddle=meddle)
    reader = reader_of(store)
    await reader.open()
    with pytest.raises(AccessDenied):
        await reader.part(7)
    store.meddle = None

    assert await reader.part(7) == DATA[700:800]
    await reader.aclose()


async def test_a_reader_never_mixes_versions() -> None:
    store = Ranges()
    reader = reader_of(store)
    await reader.open()
    await store.put(URI, DATA[::-1])

    with pytest.raises(ObjectChanged, match=f"{URI}: another version"):
        await reader.part(5)
    await reader.aclose()


@pytest.mark.parametrize("number", [-1, 11])
async def test_a_part_that_is_not_there_is_an_index_error(number: int) -> None:
    reader = reader_of(Ranges())
    await reader.open()

    with pytest.raises(IndexError, match=f"{URI} has 1024 bytes: there is no part {number}"):
        await reader.part(number)
    await reader.aclose()


async def test_a_reader_of_a_store_without_ranges_asks_once() -> None:
    store = OnlyWhole()
    reader = reader_of(store)
    info = await reader.open()
    parts = [bytes(await reader.part(number)) for number in (10, 0, 5)]
    await reader.aclose()

    assert (info.size_bytes, store.gets) == (1024, 1)
    assert parts == [DATA[1000:], DATA[:100], DATA[500:600]]


async def test_closing_a_reader_leaves_no_task() -> None:
    store = Ranges()
    reader = reader_of(store)
    await reader.open()
    await reader.part(1)
    store.gate.clear()
    before = asyncio.all_tasks()
    await reader.aclose()
    await reader.aclose()

    assert store.under_way == 0
    assert asyncio.all_tasks() <= before


async def test_closing_awaits_what_a_cancelled_jump_had_dropped() -> None:
    closes_slowly = asyncio.Event()

    class SlowToEnd(Ranges):
        async def get_range(self, uri: str, start: int, stop: int, **more: object) -> Piece:
            try:
                return await super().get_range(uri, start, stop, **more)  # type: ignore[arg-type]
            except asyncio.CancelledError:
                self.under_way += 1
                await closes_slowly.wait()
                self.under_way -= 1
                raise

    store = SlowToEnd()
    reader = reader_of(store)
    await reader.open()
    store.gate.clear()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(reader.part(5))
        while not store.under_way:
            await asyncio.sleep(0)
        first.cancel()
    async with asyncio.TaskGroup() as group:
        jump = group.create_task(reader.part(0))
        while not store.cancelled:
            await asyncio.sleep(0)
        jump.cancel()
    under_way = store.under_way
    async with asyncio.TaskGroup() as group:
        closing = group.create_task(reader.aclose())
        for _ in range(20):
            await asyncio.sleep(0)
        was_done = closing.done()
        closes_slowly.set()

    assert (under_way, was_done, store.under_way) == (1, False, 0)


async def test_the_first_request_may_fail_for_good() -> None:
    def meddle(*_: int) -> None:
        raise FetchError("no")

    with pytest.raises(FetchError, match=URI):
        await reader_of(Ranges(meddle=meddle)).open()
