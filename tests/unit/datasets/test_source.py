from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncio_loader.datasets.recipe import Made, Recipe
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.source import SampleSource
from asyncio_loader.engine.agenda import Job
from asyncio_loader.errors import ConfigError, DecodeError, ObjectNotFound
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Failed, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.memory import MemoryStore

HELD = 30
THREADS = pytest.mark.parametrize("threads", [0, 1, 3])


def decode(fetched: Fetched) -> int:
    if not bytes(fetched.data).isdigit():
        raise DecodeError(f"{fetched.ref.uri}: no number", key=fetched.ref.uri)
    return int(bytes(fetched.data))


class CountingStore(MemoryStore):
    """Remembers what it was asked for, and tells a test when there is more."""

    def __init__(self) -> None:
        super().__init__({f"memory://{n}": str(n).encode() for n in range(HELD)})
        self.asked: list[str] = []
        self.changed = threading.Condition()

    async def get(self, uri: str, **options: Any) -> Any:
        with self.changed:
            self.asked.append(uri)
            self.changed.notify_all()
        return await super().get(uri, **options)

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.asked) >= count, timeout=10)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def session(store: CountingStore) -> Iterator[Session]:
    session = Session(store, FetchOptions(window_items=4))
    yield session
    session.close()


def jobs(*numbers: int) -> list[Job]:
    return [Job(ObjectRef(f"memory://{n}"), Slot(n, n)) for n in numbers]


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def make_source(
    session: Session,
    work: list[Job],
    *,
    transform: Callable[[Fetched], Any] = number,
    counters: Counters | None = None,
    **options: Any,
) -> SampleSource:
    recipe = Recipe(
        refs=["memory://0"], transform=transform, on_error="raise", on_void="replace", seed=0, order=range(1)
    )
    return SampleSource(session, work, recipe=recipe, counters=counters or Counters(), **options)


def take_all(source: SampleSource) -> list[Any]:
    taken = []
    while (result := source.take()) is not None:
        taken.append(result.value if isinstance(result, Made) else type(result.error))
    return taken


def settle(session: Session) -> None:
    """Let the loop do whatever it can do at once: nothing that it waits for takes time."""

    async def turn() -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    session.loop_thread.run(turn())


@THREADS
def test_samples_come_in_the_order_of_the_jobs(session: Session, threads: int) -> None:
    source = make_source(session, jobs(*range(HELD)), threads=threads)

    assert take_all(source) == list(range(HELD))
    assert source.take() is None


@THREADS
def test_what_is_added_follows(session: Session, threads: int) -> None:
    source = make_source(session, jobs(3, 4), threads=threads, is_complete=False)
    assert [source.take(), source.take()] == [Made(3), Made(4)]

    source.extend(jobs(8))
    source.extend(jobs(9))
    source.complete()

    assert take_all(source) == [8, 9]


@THREADS
def test_what_cannot_be_had_is_a_result_in_its_place(session: Session, threads: int) -> None:
    assert take_all(make_source(session, jobs(0, 99, 1), threads=threads)) == [0, ObjectNotFound, 1]


@THREADS
def test_what_a_transform_must_not_raise_comes_out_of_take(session: Session, threads: int) -> None:
    def misconfigured(fetched: Fetched) -> Any:
        raise ConfigError("Resize.scale")

    source = make_source(session, jobs(0), transform=misconfigured, threads=threads)

    with pytest.raises(ConfigError, match=r"Resize\.scale"):
        source.take()


def test_without_threads_the_consumers_own_makes_the_samples(session: Session) -> None:
    source = make_source(session, jobs(0, 1), transform=lambda fetched: threading.current_thread())

    assert take_all(source) == [threading.current_thread()] * 2


def test_threads_make_samples_before_anyone_asks(session: Session) -> None:
    made = threading.Event()
    source = make_source(session, jobs(0), transform=lambda fetched: made.set(), threads=1)

    assert made.wait(timeout=10)
    source.close()


def test_jobs_that_are_added_are_begun_while_earlier_samples_wait(session: Session, store: CountingStore) -> None:
    source = make_source(session, jobs(0), is_complete=False)
    assert store.wait_for(1)

    source.extend(jobs(1, 2))

    assert store.wait_for(3)
    assert store.asked == ["memory://0", "memory://1", "memory://2"]
    source.close()


def test_one_window_bounds_what_is_fetched_whenever_it_was_added(session: Session, store: CountingStore) -> None:
    source = make_source(session, jobs(0, 1), is_complete=False)
    source.extend(jobs(*range(2, 20)))
    assert store.wait_for(4)
    settle(session)

    assert len(store.asked) == 4
    source.close()


def test_a_sample_counts_as_held_until_the_next_one_is_taken(session: Session, store: CountingStore) -> None:
    source = make_source(session, jobs(*range(20)))
    source.take()
    settle(session)
    assert len(store.asked) == 4

    source.take()
    assert store.wait_for(5)
    settle(session)
    assert len(store.asked) == 5

    source.rest()
    source.rest()
    assert store.wait_for(6)
    settle(session)
    assert len(store.asked) == 6
    source.close()


def test_an_object_outside_of_the_order_comes_at_once_and_is_counted(session: Session) -> None:
    counters = Counters()
    source = make_source(session, jobs(0), counters=counters)
    source.take()
    gets = counters.gets

    data, attempts = source.fetch("memory://17")

    assert (bytes(data), attempts) == (b"17", 1)
    assert counters.gets == gets + 1
    with pytest.raises(ObjectNotFound):
        source.fetch("memory://99")


def test_waiting_is_counted(session: Session) -> None:
    counters = Counters()
    take_all(make_source(session, jobs(*range(HELD)), counters=counters))

    assert counters.wait_s > 0


@THREADS
def test_close_ends_it_and_leaves_the_session(session: Session, threads: int) -> None:
    source = make_source(session, jobs(*range(HELD)), threads=threads, is_complete=False)
    source.take()

    source.close()
    source.close()

    assert source.take() is None
    assert session.fetch("memory://1")[1] == 1
    assert take_all(make_source(session, jobs(5), threads=threads)) == [5]


def transform_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio-loader-transform")]


def test_dropping_it_ends_its_threads(session: Session) -> None:
    source = make_source(session, jobs(*range(HELD)), threads=2)
    source.take()
    assert len(transform_threads()) == 2

    del source
    gc.collect()

    assert transform_threads() == []


def test_closing_it_in_a_forked_child_does_nothing(session: Session) -> None:
    source = make_source(session, jobs(*range(HELD)), threads=1)
    child = os.fork()
    if child == 0:
        source.close()
        os._exit(7)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert take_all(source) == list(range(HELD))


def test_a_failed_result_has_the_place_and_the_number_of_gets(session: Session) -> None:
    failed = make_source(session, [Job(ObjectRef("memory://99"), Slot(6, 2, True), epoch=4)]).take()

    assert isinstance(failed, Failed)
    assert (failed.position, failed.index, failed.is_padding, failed.epoch, failed.attempts) == (6, 2, True, 4, 1)


def test_closing_does_not_wait_for_gets() -> None:
    class Never(MemoryStore):
        async def get(self, uri: str, **options: Any) -> Any:
            await asyncio.Event().wait()

    waiting = Session(Never({}), FetchOptions())
    source = make_source(waiting, jobs(*range(HELD)), threads=2)
    started = time.monotonic()

    source.close()
    waiting.close()

    assert time.monotonic() - started < 5


class DamagingStore(CountingStore):
    """Gives some objects damaged, the first time or always; holds back what is asked for again, if told to."""

    def __init__(self, *damaged: int, always: bool = False, holds: bool = False) -> None:
        super().__init__()
        self.damaged = {f"memory://{n}" for n in damaged}
        self.always = always
        self.holds = holds

    async def get(self, uri: str, **options: Any) -> Any:
        is_again = uri in self.asked
        data = await super().get(uri, **options)
        if is_again and self.holds:
            await asyncio.Event().wait()
        return b"damaged" if uri in self.damaged and (self.always or not is_again) else data


def open_damaged(**options: Any) -> tuple[DamagingStore, Session]:
    store = DamagingStore(3, 7, **options)
    return store, Session(store, FetchOptions(window_items=4))


@THREADS
def test_what_cannot_be_decoded_is_fetched_again_and_keeps_its_place(threads: int) -> None:
    _, session = open_damaged()
    counters = Counters()
    source = make_source(session, jobs(*range(HELD)), transform=decode, counters=counters, threads=threads)

    assert take_all(source) == list(range(HELD))
    assert (counters.refetches, counters.gets) == (2, HELD + 2)
    session.close()


@THREADS
def test_what_cannot_be_decoded_again_has_failed_in_its_place(threads: int) -> None:
    store, session = open_damaged(always=True)
    source = make_source(session, jobs(*range(HELD)), transform=decode, threads=threads)

    assert take_all(source) == [DecodeError if n in (3, 7) else n for n in range(HELD)]
    assert [store.asked.count(f"memory://{n}") for n in (2, 3, 7)] == [1, 2, 2]
    session.close()


@pytest.mark.timeout(60)
def test_refetches_on_all_threads_do_not_block_a_window_of_one() -> None:
    store = DamagingStore(*range(HELD))
    session = Session(store, FetchOptions(max_in_flight=1, window_items=1, window_bytes=1))

    assert take_all(make_source(session, jobs(*range(HELD)), transform=decode, threads=3)) == list(range(HELD))
    session.close()


@pytest.mark.timeout(60)
def test_closing_does_not_wait_for_a_refetch() -> None:
    store, session = open_damaged(holds=True)
    source = make_source(session, jobs(3, 7), transform=decode, threads=2)
    assert store.wait_for(4)

    source.close()

    assert source.take() is None
    assert not [thread for thread in threading.enumerate() if "transform" in thread.name]
    session.close()


@THREADS
def test_it_counts_waits_and_transforms_of_each_sample(session: Session, threads: int) -> None:
    counters = Counters()
    source = make_source(session, jobs(*range(HELD)), counters=counters, threads=threads)
    take_all(source)
    stats = counters.snapshot()

    assert stats.threads == threads
    assert stats.transform.count == stats.fetch.count == HELD
    # The last one is for the end.
    assert stats.wait.count == HELD + 1
    assert stats.wait_s == pytest.approx(stats.wait.sum_s)
    assert stats.transform_s == pytest.approx(stats.transform.sum_s)
    assert stats.starved_s > 0


def test_the_object_that_was_waited_for_longest_has_a_name(session: Session, store: CountingStore) -> None:
    counters = Counters()
    is_asked_for, may_come = threading.Event(), threading.Event()
    get = store.get

    async def slow(uri: str, **options: Any) -> Any:
        if uri == "memory://7":
            is_asked_for.set()
            await asyncio.to_thread(may_come.wait, 10)
        return await get(uri, **options)

    store.get = slow  # type: ignore[method-assign]
    source = make_source(session, jobs(*range(HELD)), counters=counters)
    taken = [source.take() for _ in range(7)]
    assert is_asked_for.wait(10)
    threading.Timer(0.2, may_come.set).start()

    assert len(taken) + len(take_all(source)) == HELD
    assert counters.snapshot().slowest[0].uri == "memory://7"
    assert counters.snapshot().slowest[0].wait_s > 0.1


def test_what_waits_for_the_consumer_is_ready(session: Session) -> None:
    may_end = threading.Event()
    begun = threading.Event()

    def wait_with_the_second(fetched: Fetched) -> int:
        if fetched.index == 1:
            begun.set()
            assert may_end.wait(10)
        return fetched.index

    source = make_source(session, jobs(0, 1), transform=wait_with_the_second, threads=1)
    assert begun.wait(10)
    assert source.is_ready
    source.take()
    assert not source.is_ready

    may_end.set()
    source.take()
    source.close()
    assert source.is_ready
    assert source.take() is None


def test_without_threads_nothing_is_ready_before_it_is_asked_for(session: Session) -> None:
    source = make_source(session, jobs(0), threads=0)

    assert not source.is_ready
    source.take()
    source.close()
