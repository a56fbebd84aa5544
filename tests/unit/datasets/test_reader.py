from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asyncio_loader.datasets.reader import EpochReader
from asyncio_loader.datasets.recipe import Recipe
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.stream import Part, SampleStream
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.options import FetchOptions
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Fetched
from asyncio_loader.stats import Counters
from asyncio_loader.stores.memory import MemoryStore

THREADS = pytest.mark.parametrize("threads", [0, 2])


class CountingStore(MemoryStore):
    """Remembers what it was asked for, and tells a test when there is more."""

    def __init__(self) -> None:
        super().__init__({f"memory://{n}": str(n).encode() for n in range(100)})
        self.asked: list[int] = []
        self.changed = threading.Condition()

    async def get(self, uri: str, **options: Any) -> Any:
        with self.changed:
            self.asked.append(int(uri.removeprefix("memory://")))
            self.changed.notify_all()
        return await super().get(uri, **options)

    def wait_for(self, asked: list[int]) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.asked == asked, timeout=10)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def session(store: CountingStore) -> Iterator[Session]:
    session = Session(store, FetchOptions())
    yield session
    session.close()


def settle(session: Session) -> None:
    """Let the loop do whatever it can do at once: nothing that it waits for takes time."""

    async def turn() -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    session.loop_thread.run(turn())


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def part(*numbers: int, identity: str = "", skip: int = 0, missing: bool = False) -> Part:
    """What one epoch consists of: these objects. Of another identity, it stands for something else."""
    refs = [f"memory://{n + 100 * missing}" for n in range(100)]
    recipe = Recipe(refs=refs, transform=number, on_error="raise", on_void="replace", seed=0, order=range(len(refs)))
    return Part(EpochPlan(order=numbers, batch_size=1), Shard(), skip, recipe, (numbers, identity, skip))


def open_reader(session: Session, threads: int = 0, **options: Any) -> EpochReader:
    return EpochReader(session, Counters(), threads=threads, **options)


@THREADS
def test_parts_are_read_one_after_the_other(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)

    assert list(reader.read(part(1, 2, 3))) == [1, 2, 3]
    assert list(reader.read(part(7, 8), part(9))) == [7, 8]
    assert list(reader.read(part(9))) == [9]
    assert store.asked == [1, 2, 3, 7, 8, 9]
    reader.close()


@THREADS
def test_what_was_consumed_before_is_not_fetched(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)

    assert list(reader.read(part(1, 2, 3, skip=2), part(4, 5, skip=1))) == [3]
    assert list(reader.read(part(4, 5, skip=1))) == [5]
    assert store.asked == [3, 5]
    reader.close()


@THREADS
def test_what_comes_next_is_fetched_before_anything_was_taken(
    session: Session, store: CountingStore, threads: int
) -> None:
    reader = open_reader(session, threads)
    reader.read(part(1, 2), part(7, 8))

    assert store.wait_for([1, 2, 7, 8])
    reader.close()


@THREADS
def test_nothing_is_fetched_of_what_nobody_expects(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)

    assert list(reader.read(part(1, 2))) == [1, 2]
    settle(session)
    assert store.asked == [1, 2]
    reader.close()


@THREADS
def test_what_was_fetched_ahead_is_not_fetched_again(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)
    epochs = [part(n, n + 10, n + 20) for n in range(5)]
    seen = [list(reader.read(*pair)) for pair in zip(epochs, [*epochs[1:], None], strict=True)]

    assert seen == [[n, n + 10, n + 20] for n in range(5)]
    assert store.asked == [n for epoch in seen for n in epoch]
    reader.close()


@THREADS
def test_whoever_counts_need_not_ask_for_more_than_there_is(
    session: Session, store: CountingStore, threads: int
) -> None:
    reader = open_reader(session, threads)
    first = reader.read(part(1, 2), part(7, 8))
    assert [next(first), next(first)] == [1, 2]

    assert list(reader.read(part(7, 8), part(9))) == [7, 8]
    assert list(reader.read(part(9))) == [9]
    assert store.asked == [1, 2, 7, 8, 9]
    reader.close()


@THREADS
@pytest.mark.parametrize("late", [list, SampleStream.close], ids=["asked", "closed"])
def test_a_stream_of_before_has_no_say_in_what_is_open_now(
    session: Session, store: CountingStore, threads: int, late: Callable[[SampleStream], object]
) -> None:
    reader = open_reader(session, threads)
    first = reader.read(part(1, 2), part(7, 8))
    assert [next(first), next(first)] == [1, 2]
    second = reader.read(part(7, 8))
    assert next(second) == 7

    late(first)

    assert list(second) == [8]
    assert store.asked == [1, 2, 7, 8]
    reader.close()


@THREADS
def test_a_wrong_guess_is_dropped_and_the_right_samples_come(
    session: Session, store: CountingStore, threads: int
) -> None:
    reader = open_reader(session, threads)
    list(reader.read(part(1), part(7, 8)))
    assert store.wait_for([1, 7, 8])

    assert list(reader.read(part(7, 8, identity="made in another way"))) == [7, 8]
    assert store.asked == [1, 7, 8, 7, 8]
    reader.close()


@THREADS
def test_after_a_wrong_guess_none_is_taken_any_more(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)
    list(reader.read(part(1), part(7)))
    assert list(reader.read(part(2), part(8))) == [2]
    assert list(reader.read(part(3), part(9))) == [3]
    settle(session)

    assert Counter(store.asked) == Counter([1, 7, 2, 3])
    reader.close()


@THREADS
def test_a_part_that_is_left_early_is_no_wrong_guess(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)
    stream = reader.read(part(1, 2), part(7))
    next(stream)

    assert list(reader.read(part(3), part(8))) == [3]
    assert list(stream) == []
    assert list(reader.read(part(8))) == [8]
    assert store.asked.count(8) == 1
    reader.close()


@THREADS
def test_a_part_without_samples_leads_to_the_next_one(session: Session, store: CountingStore, threads: int) -> None:
    reader = open_reader(session, threads)

    assert list(reader.read(part(5, skip=1), part(7))) == []
    assert list(reader.read(part(7), part(8))) == [7]
    assert store.wait_for([7, 8])
    reader.close()


@THREADS
def test_after_an_error_it_reads_on(session: Session, threads: int) -> None:
    reader = open_reader(session, threads)
    with pytest.raises(ObjectNotFound, match="memory://101"):
        list(reader.read(part(1, missing=True), part(7)))

    assert list(reader.read(part(7))) == [7]
    reader.close()


@THREADS
def test_what_fails_of_the_next_part_fails_there_and_not_before(session: Session, threads: int) -> None:
    reader = open_reader(session, threads)
    wrong = part(7, missing=True)

    assert list(reader.read(part(1, 2), wrong)) == [1, 2]
    with pytest.raises(ObjectNotFound, match="memory://107"):
        list(reader.read(wrong))
    reader.close()


def test_close_ends_the_stream_and_the_session(session: Session) -> None:
    reader = open_reader(session)
    stream = reader.read(part(1, 2), part(3))
    next(stream)

    reader.close()
    reader.close()

    assert list(stream) == []
    assert session.loop_thread.is_closed


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_session_of_its_own_ends_with_its_stream(session: Session, taken: int) -> None:
    stream = open_reader(session, owns_session=True).read(part(1, 2))
    for _ in range(taken):
        next(stream, None)
    assert session.loop_thread.is_closed == (taken == 3)

    stream.close()

    assert session.loop_thread.is_closed


def test_another_session_stays(session: Session) -> None:
    reader = open_reader(session)
    list(reader.read(part(1)))
    reader.read(part(1)).close()

    assert not session.loop_thread.is_closed


def test_a_stream_that_was_given_up_is_summed_up_when_the_next_one_begins(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    whole = part(0, 1, 2)
    recipe = dataclasses.replace(whole.recipe, refs=["memory://100", *whole.recipe.refs[1:]], on_error="skip")
    reader = open_reader(session)
    stream = reader.read(dataclasses.replace(whole, recipe=recipe))
    assert next(stream) == 1
    assert not caplog.records
    reader.read(part(5))

    assert [record.getMessage() for record in caplog.records] == [
        "epoch 0: 1 of 1 samples failed and were left out: memory://100 (ObjectNotFound)"
    ]
    reader.close()
