"""Whatever goes wrong, and whoever is cancelled: an upload is aborted once, and its listeners know."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.errors import AccessDenied, ServerFault
from asyncio_loader.records import Buffer
from asyncio_loader.stores import multipart
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.multipart import Listeners, MultipartUpload

URI = "memory://a"
DATA = memoryview(b"1234")


class Uploads(MemoryStore):
    """Waits at its gates, and writes down what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_stop = asyncio.Event()

    async def create_upload(self, uri: str) -> str:
        upload_id = await super().create_upload(uri)
        self.acts.append("created")
        await self.may_answer.wait()
        return upload_id

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            self.acts.append("stopping")
            await self.may_stop.wait()
            self.acts.append("stopped")
        raise AssertionError("unreachable")

    async def abort_upload(self, uri: str, upload_id: str) -> None:
        self.acts.append("abort")
        await super().abort_upload(uri, upload_id)


def _listening(store: Uploads) -> Listeners:
    return Listeners(*(lambda _, name=name: store.acts.append(name) for name in ("open", "end", "left")))  # type: ignore[misc]


async def _wait_for(store: Uploads, act: str) -> None:
    while act not in store.acts:
        await asyncio.sleep(0)


async def _cancel_during_creation(store: Uploads, upload: MultipartUpload) -> None:
    store.may_answer.clear()
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(upload.send(DATA))
        await _wait_for(store, "created")
        sending.cancel()


async def test_an_upload_that_was_being_created_when_it_was_cancelled_is_aborted() -> None:
    store = Uploads()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await _cancel_during_creation(store, upload)
    async with asyncio.TaskGroup() as group:
        group.create_task(upload.abort())
        await asyncio.sleep(0)
        store.may_answer.set()

    assert store.acts == ["created", "open", "abort", "end"]
    assert store._uploads == {}


async def test_a_creation_that_is_not_answered_is_not_awaited_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "_CREATION_S", 0.01)
    store = Uploads()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await _cancel_during_creation(store, upload)

    await upload.abort()

    assert store.acts == ["created"]


async def test_a_note_that_cannot_be_written_keeps_no_upload_alive() -> None:
    def refuse(_: str) -> None:
        raise ServerFault("no space left on device")

    store = Uploads()
    upload = MultipartUpload(store, URI, 2, Listeners(on_open=refuse))
    with pytest.raises(ServerFault, match="no space left"):
        await upload.send(DATA)
    await upload.abort()

    assert store.acts == ["created", "abort"]


async def test_two_callers_share_one_abort_and_both_await_its_end() -> None:
    store = Uploads()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await upload.send(DATA)
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        aborts = [group.create_task(upload.abort()) for _ in range(2)]
        await _wait_for(store, "stopping")
        were_done = [task.done() for task in aborts]
        store.may_stop.set()

    assert were_done == [False, False]
    assert store.acts == ["created", "open", "stopping", "stopped", "abort", "end"]


async def test_an_abort_goes_on_without_the_caller_that_was_cancelled() -> None:
    store = Uploads()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await upload.send(DATA)
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(upload.abort())
        await _wait_for(store, "stopping")
        first.cancel()
    store.may_stop.set()
    await upload.abort()

    assert store.acts == ["created", "open", "stopping", "stopped", "abort", "end"]


async def test_an_upload_that_cannot_be_aborted_is_left() -> None:
    class Deaf(Uploads):
        async def abort_upload(self, uri: str, upload_id: str) -> None:
            raise AccessDenied("no")

    store = Deaf()
    store.may_stop.set()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await upload.send(DATA)
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await upload.abort()

    assert [act for act in store.acts if act in ("open", "end", "left")] == ["open", "left"]


async def test_an_abort_that_is_cancelled_with_its_loop_leaves_the_upload() -> None:
    store = Uploads()
    upload = MultipartUpload(store, URI, 2, _listening(store))
    await upload.send(DATA)
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        group.create_task(_end_cancelled(upload))
        await _wait_for(store, "stopping")
        for task in asyncio.all_tasks():
            if task.get_name() == f"{URI} (abort)":
                task.cancel()
        store.may_stop.set()

    assert [act for act in store.acts if act in ("open", "abort", "end", "left")] == ["open", "left"]


async def _end_cancelled(upload: MultipartUpload) -> None:
    with pytest.raises(asyncio.CancelledError):
        await upload.abort()
