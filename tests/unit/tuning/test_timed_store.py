from __future__ import annotations

import pickle

import pytest

from asyncio_loader.errors import ServerFault
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectStore, admits_now
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.tuning import timed_store
from asyncio_loader.tuning.timed_store import TimedStore


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


class SlowStore(MemoryStore):
    """Takes 3 s to the body, and 4 s for it."""

    def __init__(self, clock: Clock, *, fails: bool = False) -> None:
        super().__init__()
        self.clock = clock
        self.fails = fails

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        self.clock.now_s += 3
        if admit is not None:
            await admit(5)
        self.clock.now_s += 4
        if self.fails:
            raise ServerFault(uri)
        return b"bytes"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timed_store, "time", clock)
    return clock


async def test_a_get_is_timed_from_the_call_to_the_last_byte(clock: Clock) -> None:
    store = TimedStore(SlowStore(clock))

    assert await store.get("memory://a") == b"bytes"
    assert list(store.latencies_s) == [7.0]


async def test_the_rest_of_a_body_is_the_consumers_time(clock: Clock) -> None:
    store = TimedStore(SlowStore(clock))
    admitted: list[int] = []

    async def admit(size_bytes: int) -> None:
        admitted.append(size_bytes)
        clock.now_s += 100

    await store.get("memory://a", admit=admit)

    assert (admitted, list(store.latencies_s)) == ([5], [7.0])


async def test_what_is_admitted_at_once_is_asked_for_at_once(clock: Clock) -> None:
    class Admission:
        """Has room for bodies of up to 5 bytes."""

        def now(self, size_bytes: int) -> bool:
            return size_bytes <= 5

        async def __call__(self, size_bytes: int) -> None:
            raise AssertionError

    class AskingStore(SlowStore):
        async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
            assert admit is not None
            return b"".join([b"yes" if admits_now(admit, size) else b"no" for size in (5, 6)])

    assert await TimedStore(AskingStore(clock)).get("memory://a", admit=Admission()) == b"yesno"


async def test_a_get_that_fails_does_not_count(clock: Clock) -> None:
    store = TimedStore(SlowStore(clock, fails=True))

    with pytest.raises(ServerFault):
        await store.get("memory://a")

    assert len(store.latencies_s) == 0


async def test_the_rest_of_a_store_is_the_one_inside() -> None:
    inner = MemoryStore()
    await inner.put("memory://a/1", b"123")
    store = TimedStore(inner)

    assert isinstance(store, ObjectStore)
    assert (await store.head("memory://a/1")).size_bytes == 3
    assert [entry.uri async for entry in store.list("memory://a/")] == ["memory://a/1"]
    await store.aclose()


def test_it_pickles_without_what_was_noted() -> None:
    store = TimedStore(MemoryStore.process_wide())
    store.latencies_s.append(1.0)

    assert len(pickle.loads(pickle.dumps(store)).latencies_s) == 0
