from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from asyncio_loader.datasets.errands import Errands
from asyncio_loader.datasets.session import Session
from asyncio_loader.errors import LoaderError, ObjectNotFound
from asyncio_loader.options import FetchOptions
from asyncio_loader.stats import Counters
from asyncio_loader.stores.memory import MemoryStore


class SilentStore(MemoryStore):
    """Has one object, and never answers when asked for another."""

    def __init__(self) -> None:
        super().__init__({"memory://0": b"zero"})
        self.asked = threading.Event()
        self.cancelled = threading.Event()

    async def get(self, uri: str, **options: Any) -> Any:
        if uri == "memory://never":
            self.asked.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        return await super().get(uri, **options)


@pytest.fixture
def store() -> SilentStore:
    return SilentStore()


@pytest.fixture
def session(store: SilentStore) -> Iterator[Session]:
    session = Session(store, FetchOptions())
    yield session
    session.close()


def test_it_brings_an_object_and_counts_it(session: Session) -> None:
    counters = Counters()
    errands = Errands(session, counters)

    assert errands.fetch("memory://0") == (b"zero", 1)
    assert errands.refetch("memory://0") == (b"zero", 1)
    assert (counters.gets, counters.bytes_fetched, counters.refetches) == (2, 8, 1)


def test_what_is_not_there_is_raised(session: Session) -> None:
    with pytest.raises(ObjectNotFound, match="memory://9"):
        Errands(session, Counters()).fetch("memory://9")


def test_closing_it_ends_every_wait_and_leaves_the_session_open(session: Session, store: SilentStore) -> None:
    errands = Errands(session, Counters())
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            errands.refetch("memory://never")
        except LoaderError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert store.asked.wait(10)
    errands.close()
    thread.join(10)

    assert not thread.is_alive()
    assert [str(error) for error in raised] == ["this loader was closed meanwhile"]
    assert store.cancelled.is_set()
    assert session.fetch("memory://0") == (b"zero", 1)


def test_once_closed_it_brings_nothing(session: Session) -> None:
    errands = Errands(session, Counters())
    errands.close()
    errands.close()

    with pytest.raises(LoaderError, match="memory://0: the iteration was closed meanwhile"):
        errands.fetch("memory://0")


def test_closing_it_after_the_session_is_nothing(session: Session) -> None:
    errands = Errands(session, Counters())
    session.close()

    errands.close()
