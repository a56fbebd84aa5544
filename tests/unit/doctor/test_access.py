from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncio_loader.doctor.access import check_reading, check_writing
from asyncio_loader.errors import AccessDenied, ConnectionLost
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.base import Entry
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.router import StoreRouter

URI = "memory://x/"
RETRY = RetryPolicy(max_attempts=1)


def denied(uri: str, action: str) -> AccessDenied:
    return AccessDenied(f"{uri}: access denied (HTTP 403); the credentials may not do this ({action})", key=uri)


class Strict(MemoryStore):
    """Refuses some actions: list, get, put, delete."""

    def __init__(self, *refused: str) -> None:
        super().__init__()
        self.refused = refused

    def check(self, action: str, uri: str) -> None:
        if action in self.refused:
            raise denied(uri, action)

    async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        self.check("list", uri)
        async for entry in super().list(uri, recursive=recursive):
            yield entry

    async def get(self, uri: str, **about: Any) -> Any:
        self.check("get", uri)
        return await super().get(uri, **about)

    async def get_range(self, uri: str, start: int, stop: int, **about: Any) -> Any:
        self.check("get", uri)
        return await super().get_range(uri, start, stop, **about)

    async def put(self, uri: str, data: Any) -> None:
        self.check("put", uri)
        await super().put(uri, data)

    async def delete(self, uri: str) -> None:
        self.check("delete", uri)
        await super().delete(uri)


async def filled(*refused: str) -> StoreRouter:
    store = Strict(*refused)
    for number in range(3):
        await MemoryStore.put(store, f"{URI}{number}.jpg", b"12345")
    await MemoryStore.put(store, f"{URI}empty/", b"")
    return StoreRouter(store)


async def names(store: StoreRouter) -> list[str]:
    return [entry.uri async for entry in store.list("memory://")]


async def test_what_can_be_listed_and_read_is_told() -> None:
    access = await check_reading(await filled(), URI, RETRY, may_be_empty=False)

    assert [(each.level, each.text) for each in access.findings] == [
        ("ok", "3 objects, 5 bytes in the median"),
        ("ok", "0.jpg can be read"),
    ]
    assert access.objects == [(f"{URI}{number}.jpg", 5) for number in range(3)]


async def test_what_may_be_listed_but_not_read_fails() -> None:
    access = await check_reading(await filled("get"), URI, RETRY, may_be_empty=False)

    assert [(each.name, each.level) for each in access.findings] == [("list", "ok"), ("get", "failed")]
    assert access.findings[1].advice == "the credentials may not do this (get)"
    assert access.objects == []


async def test_an_object_that_may_be_read_but_not_listed_is_a_warning() -> None:
    access = await check_reading(await filled("list"), f"{URI}1.jpg", RETRY, may_be_empty=False)

    assert [(each.name, each.level) for each in access.findings] == [("list", "warning"), ("get", "ok")]
    assert access.objects == [(f"{URI}1.jpg", 5)]


async def test_a_prefix_that_may_not_be_listed_fails_in_one_line() -> None:
    for uri in (URI, "memory://x/nothing"):
        access = await check_reading(await filled("list"), uri, RETRY, may_be_empty=False)

        (found,) = access.findings
        assert (found.name, found.level) == ("list", "failed")
        assert "name an object in place of a prefix" in found.advice


async def test_neither_is_two_lines() -> None:
    access = await check_reading(await filled("list", "get"), f"{URI}1.jpg", RETRY, may_be_empty=False)

    assert [(each.name, each.level) for each in access.findings] == [("list", "failed"), ("get", "failed")]


async def test_a_listing_that_breaks_is_no_question_of_permission() -> None:
    class Broken(MemoryStore):
        async def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
            raise ConnectionLost(f"{uri}: lost", key=uri)
            yield

    access = await check_reading(StoreRouter(Broken()), f"{URI}1.jpg", RETRY, may_be_empty=False)

    assert [(each.name, each.level, each.text) for each in access.findings] == [("list", "failed", "lost")]


@pytest.mark.parametrize(("may_be_empty", "level"), [(False, "failed"), (True, "warning")])
async def test_where_nothing_is_only_writing_makes_sense(may_be_empty: bool, level: str) -> None:
    access = await check_reading(StoreRouter(MemoryStore()), "s3://x/", RETRY, may_be_empty=may_be_empty)

    (found,) = access.findings
    assert (found.name, found.level) == ("list", level)


async def test_an_object_is_put_read_and_deleted() -> None:
    store = await filled()
    before = await names(store)

    found = await check_writing(store, URI)

    assert found.level == "ok"
    assert found.text.startswith(f"put, read and deleted {URI}asyncio-loader-doctor-")
    assert await names(store) == before


@pytest.mark.parametrize(
    ("refused", "level", "text"),
    [
        ("put", "failed", "access denied (HTTP 403)"),
        ("get", "failed", "was put and cannot be read: access denied (HTTP 403)"),
        ("delete", "warning", "was put and cannot be deleted: access denied (HTTP 403)"),
    ],
)
async def test_what_may_not_be_done_is_named(refused: str, level: str, text: str) -> None:
    store = await filled(refused)

    found = await check_writing(store, URI)

    assert (found.level, found.text.endswith(text)) == (level, True)
    assert len(await names(store)) == (5 if refused == "delete" else 4)


async def test_other_bytes_than_were_put_are_a_failure() -> None:
    class Forgetful(MemoryStore):
        async def get(self, uri: str, **about: Any) -> Any:
            return b"something else"

    found = await check_writing(StoreRouter(Forgetful()), URI)

    assert found.level == "failed"
    assert found.text.endswith("came back as something else")


async def test_cancelled_it_deletes_what_it_put() -> None:
    class Slow(MemoryStore):
        reading = asyncio.Event()

        async def get(self, uri: str, **about: Any) -> Any:
            self.reading.set()
            await asyncio.Event().wait()

    slow = Slow()
    task = asyncio.create_task(check_writing(StoreRouter(slow), URI))
    await slow.reading.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [entry async for entry in slow.list("memory://")] == []
