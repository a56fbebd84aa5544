"""Objects as files, on parts that are told what to do."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from asyncio_loader.engine.parts import PartReader
from asyncio_loader.errors import AccessDenied, ConnectionLost, LoaderError, ObjectNotFound
from asyncio_loader.fileio import streams
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.fileio.link import Link
from asyncio_loader.fileio.streams import reading, writing
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import ObjectInfo
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.upload import PartWriter

T = TypeVar("T")

PART_BYTES = 100_000
DATA = bytes(range(256)) * 1500


class DirectRunner:
    """Runs what never waits, in the thread of the test."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)

    def clean_up(self, coroutine: Coroutine[Any, Any, object]) -> None:
        asyncio.run(coroutine)


class FakeParts:
    """An object in RAM; `asked` are the parts it was asked for."""

    def __init__(self, data: bytes = DATA, failure: Exception | None = None) -> None:
        self._data = data
        self._failure = failure
        self.asked: list[int] = []
        self.is_closed = False

    async def open(self) -> ObjectInfo:
        return ObjectInfo("memory://a", len(self._data))

    async def part(self, number: int) -> Buffer:
        self.asked.append(number)
        if self._failure is not None and number > 0:
            raise self._failure
        return self._data[number * PART_BYTES : (number + 1) * PART_BYTES]

    async def aclose(self) -> None:
        self.is_closed = True


class FakeSink:
    """Keeps what comes until it is finished; `pieces` are the sizes it came in."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure
        self._draft = bytearray()
        self.pieces: list[int] = []
        self.object: bytes | None = None
        self.is_aborted = False

    async def write(self, data: Buffer) -> None:
        if self._failure is not None:
            raise self._failure
        self.pieces.append(len(data))
        self._draft += data

    async def finish(self) -> None:
        if self._failure is not None:
            raise self._failure
        self.object = bytes(self._draft)

    async def abort(self) -> None:
        self.is_aborted = True


def test_it_reads_all_of_an_object() -> None:
    parts = FakeParts()
    with reading(DirectRunner(), parts, PART_BYTES) as file:
        assert file.read() == DATA

    assert parts.asked == [0, 1, 2, 3]
    assert parts.is_closed


@pytest.mark.parametrize(
    ("start", "size"), [(0, 10), (PART_BYTES - 5, 10), (PART_BYTES, PART_BYTES), (len(DATA) - 3, 10), (len(DATA), 1)]
)
def test_it_reads_from_any_place(start: int, size: int) -> None:
    with reading(DirectRunner(), FakeParts(), PART_BYTES) as file:
        assert file.seek(start) == start
        assert file.read(size) == DATA[start : start + size]
        assert file.tell() == min(start + size, len(DATA))


def test_it_seeks_from_all_three_places() -> None:
    with reading(DirectRunner(), FakeParts(), PART_BYTES) as file:
        assert file.seek(-10, os.SEEK_END) == len(DATA) - 10
        assert file.seek(-10, os.SEEK_CUR) == len(DATA) - 20
        assert file.seek(5) == 5
        with pytest.raises(OSError, match="before the beginning"):
            file.seek(-1)


def test_readinto_fills_a_buffer_across_parts() -> None:
    target = bytearray(2 * PART_BYTES)
    with reading(DirectRunner(), FakeParts(), PART_BYTES) as file:
        file.seek(PART_BYTES // 2)
        assert file.readinto(target) == len(target)  # type: ignore[attr-defined]

    assert target == DATA[PART_BYTES // 2 :][: len(target)]


def test_small_reads_ask_for_each_part_once() -> None:
    parts = FakeParts()
    with reading(DirectRunner(), parts, PART_BYTES) as file:
        while file.read(1000):
            pass

    assert parts.asked == [0, 1, 2, 3]


def test_an_empty_object_is_an_empty_file() -> None:
    with reading(DirectRunner(), FakeParts(b""), PART_BYTES) as file:
        assert file.read() == b""


def test_a_reader_neither_writes_nor_outlives_its_block() -> None:
    with reading(DirectRunner(), FakeParts(), PART_BYTES) as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"")

    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_a_read_that_fails_raises_and_closes() -> None:
    parts = FakeParts(failure=ConnectionLost("gone"))
    with pytest.raises(ConnectionLost, match="gone"), reading(DirectRunner(), parts, PART_BYTES) as file:
        file.read()

    assert parts.is_closed


def test_the_stores_error_goes_before_what_a_library_made_of_it() -> None:
    def load() -> None:
        with reading(DirectRunner(), FakeParts(failure=ConnectionLost("gone")), PART_BYTES) as file:
            try:
                file.read()
            except ConnectionLost:
                raise RuntimeError("failed finding central directory") from None

    with pytest.raises(ConnectionLost, match="gone") as caught:
        load()

    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_went_wrong_beside_the_file_comes_through() -> None:
    with pytest.raises(KeyError), reading(DirectRunner(), FakeParts(), PART_BYTES):
        raise KeyError("other")


def test_an_object_that_is_not_there_is_no_file() -> None:
    class Missing(FakeParts):
        async def open(self) -> ObjectInfo:
            raise ObjectNotFound("memory://a: no such object")

    parts = Missing()
    with pytest.raises(ObjectNotFound), reading(DirectRunner(), parts, PART_BYTES):
        pass

    assert parts.is_closed


def test_what_is_written_is_an_object_at_the_end() -> None:
    sink = FakeSink()
    with writing(DirectRunner(), sink) as file:
        file.write(DATA[:10])
        file.write(memoryview(DATA)[10:])
        assert file.tell() == len(DATA)
        assert not file.seekable()
        assert sink.object is None

    assert sink.object == DATA
    assert not sink.is_aborted


def test_small_writes_go_together_and_large_ones_pass() -> None:
    sink = FakeSink()
    with writing(DirectRunner(), sink) as file:
        for _ in range(1000):
            file.write(b"1234")
        file.write(bytes(5_000_000))

    assert len(sink.pieces) < 10
    assert max(sink.pieces) > 3_000_000


def test_a_file_that_is_closed_in_its_block_is_finished_at_its_end() -> None:
    sink = FakeSink()
    with writing(DirectRunner(), sink) as file:
        file.write(b"1")
        file.close()
        assert sink.object is None

    assert sink.object == b"1"


@pytest.mark.parametrize("reason", [KeyError("bug"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_no_object(reason: BaseException) -> None:
    sink = FakeSink()

    def save() -> None:
        with writing(DirectRunner(), sink) as file:
            file.write(b"1")
            raise reason

    with pytest.raises(type(reason)):
        save()

    assert sink.object is None
    assert sink.pieces == []
    assert sink.is_aborted


def test_a_write_that_fails_raises_what_the_store_said() -> None:
    sink = FakeSink(AccessDenied("not allowed"))

    def save() -> None:
        with writing(DirectRunner(), sink) as file:
            try:
                file.write(bytes(5_000_000))
            except AccessDenied:
                raise RuntimeError("unexpected pos") from None

    with pytest.raises(AccessDenied, match="not allowed"):
        save()

    assert sink.is_aborted


def test_an_end_that_fails_raises_and_aborts() -> None:
    sink = FakeSink(AccessDenied("not allowed"))
    with pytest.raises(AccessDenied, match="not allowed"), writing(DirectRunner(), sink) as file:
        file.write(b"1")

    assert sink.is_aborted


def test_an_abort_that_fails_hides_no_error() -> None:
    class Deaf(FakeSink):
        async def abort(self) -> None:
            raise ConnectionLost("gone")

    with pytest.raises(KeyError), writing(DirectRunner(), Deaf()):
        raise KeyError("bug")


def test_a_sinks_first_error_is_the_one_that_comes_out() -> None:
    class Ending(FakeSink):
        async def write(self, data: Buffer) -> None:
            if self.pieces:
                raise LoaderError("this upload has ended")
            self.pieces.append(len(data))
            raise AccessDenied("not allowed")

    def save() -> None:
        with writing(DirectRunner(), Ending()) as file:
            for _ in range(2):
                with suppress(LoaderError):
                    file.write(bytes(5_000_000))
            raise RuntimeError("unexpected pos")

    with pytest.raises(AccessDenied, match="not allowed"):
        save()


def test_an_error_that_a_later_read_made_good_is_forgotten() -> None:
    class OnceBad(FakeParts):
        async def part(self, number: int) -> Buffer:
            if not self.asked:
                self.asked.append(number)
                raise AccessDenied("not yet")
            return await super().part(number)

    def load() -> None:
        with reading(DirectRunner(), OnceBad(), PART_BYTES) as file:
            with pytest.raises(AccessDenied):
                file.read(1)
            assert file.read(1) == DATA[:1]
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        load()


def test_an_interrupt_does_not_wait_for_an_abort_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_LAST_ACT_S", 0.01)

    class Slow(FakeSink):
        async def abort(self) -> None:
            self.is_aborted = True
            await asyncio.Event().wait()

    sink = Slow()
    with pytest.raises(KeyboardInterrupt), writing(DirectRunner(), sink):
        raise KeyboardInterrupt

    assert sink.is_aborted


@pytest.mark.parametrize("mode", ["rb", "wb"])
def test_a_file_that_is_collected_on_its_loops_thread_blocks_nothing(mode: str) -> None:
    store = MemoryStore({"memory://a": DATA})
    link = Link(store)
    parts = PartReader(store, "memory://a", retry=RetryPolicy(), part_bytes=PART_BYTES, parts_in_flight=2)
    sink = PartWriter(store, "memory://b", part_bytes=PART_BYTES, parts_in_flight=2)

    def use() -> Iterator[None]:
        if mode == "rb":
            with reading(link, parts, PART_BYTES) as file:
                file.read(2 * PART_BYTES)
                yield
        else:
            with writing(link, sink) as file:
                file.write(bytes(2_000_000))
                yield

    abandoned = [use()]
    next(abandoned[0])
    # As the collector may.
    link.thread.call(abandoned.clear)

    async def are_uploads_gone() -> bool:
        while store._uploads or asyncio.all_tasks() - {asyncio.current_task(), link.thread._end.keeper}:
            await asyncio.sleep(0)
        return True

    try:
        assert link.run(are_uploads_gone())
    finally:
        link.close()


@pytest.mark.usefixtures("ctrl_c_raises")
def test_an_interrupted_write_is_aborted_once_and_after_its_parts(tmp_path: Path) -> None:
    acts: list[str] = []

    class Slow(MemoryStore):
        async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
            acts.append("part")
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                acts.append("stopped")
            raise AssertionError("unreachable")

        async def abort_upload(self, uri: str, upload_id: str) -> None:
            acts.append("abort")
            await super().abort_upload(uri, upload_id)

    store = Slow()
    link = Link(store)
    journal = UploadJournal(tmp_path / "journal")
    sink = PartWriter(
        store,
        "memory://b",
        part_bytes=PART_BYTES,
        parts_in_flight=1,
        on_open=lambda upload_id: journal.begin("memory://b", upload_id),
        on_end=journal.end,
    )
    try:
        with pytest.raises(KeyboardInterrupt), writing(link, sink) as file:
            file.write(bytes(2_000_000))
        assert acts == ["part", "stopped", "abort"]
        assert b"ended" in journal.path.read_bytes()
    finally:
        link.close()
