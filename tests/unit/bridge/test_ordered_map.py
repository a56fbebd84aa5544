from __future__ import annotations

import queue
import signal
import threading
import weakref

import pytest

from asyncio_loader.bridge.ordered_map import OrderedThreadMap
from asyncio_loader.stats import Counters


class Source:
    """Items from a queue, None for ever after the end; what the feed is to the map."""

    def __init__(self, *items: int | BaseException) -> None:
        self.items: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        for item in (*items, None):
            self.items.put(item)

    def take(self) -> int | None:
        item = self.items.get()
        if item is None:
            self.items.put(None)
        if isinstance(item, BaseException):
            raise item
        return item


def drain(pool: OrderedThreadMap[int, int]) -> list[int]:
    results = []
    while (result := pool.get()) is not None:
        results.append(result)
    return results


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    pool = OrderedThreadMap(
        Source(*range(200)).take, lambda n: (n * 2, 1), threads=threads, budget_bytes=1000, budget_items=1000
    )

    assert drain(pool) == [n * 2 for n in range(200)]
    assert pool.get() is None
    pool.close()


def test_a_late_first_result_holds_back_the_others() -> None:
    second_is_done = threading.Event()

    def apply(n: int) -> tuple[int, int]:
        if n == 0:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return n, 1

    pool = OrderedThreadMap(Source(0, 1).take, apply, threads=2, budget_bytes=10, budget_items=10)

    assert drain(pool) == [0, 1]
    pool.close()


@pytest.mark.parametrize(("budget_bytes", "budget_items"), [(3, 100), (100, 3)])
def test_no_item_is_taken_while_what_waits_fills_the_budget(budget_bytes: int, budget_items: int) -> None:
    made: list[int] = []
    paused = threading.Semaphore(0)

    def apply(n: int) -> tuple[int, int]:
        made.append(n)
        paused.release()
        return n, 1

    pool = OrderedThreadMap(
        Source(*range(10)).take, apply, threads=1, budget_bytes=budget_bytes, budget_items=budget_items
    )
    for _ in range(3):
        assert paused.acquire(timeout=10)
    assert made == [0, 1, 2]

    assert pool.get() == 0
    assert paused.acquire(timeout=10)
    assert made == [0, 1, 2, 3]
    assert drain(pool) == list(range(1, 10))
    pool.close()


def test_one_result_larger_than_the_budget_comes() -> None:
    pool = OrderedThreadMap(Source(1, 2, 3).take, lambda n: (n, 100), threads=2, budget_bytes=1, budget_items=10)

    assert drain(pool) == [1, 2, 3]
    pool.close()


def test_what_the_function_raises_comes_in_its_place() -> None:
    def apply(n: int) -> tuple[int, int]:
        if n == 1:
            raise KeyError(n)
        return n, 1

    pool = OrderedThreadMap(Source(0, 1, 2).take, apply, threads=2, budget_bytes=10, budget_items=10)

    assert pool.get() == 0
    with pytest.raises(KeyError):
        pool.get()
    assert pool.get() == 2
    pool.close()


def test_what_the_source_raises_comes_after_all_before_it() -> None:
    pool = OrderedThreadMap(
        Source(0, 1, OSError("gone")).take, lambda n: (n, 1), threads=3, budget_bytes=10, budget_items=10
    )

    assert [pool.get(), pool.get()] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        pool.get()
    assert pool.get() is None
    pool.close()


def test_close_ends_the_threads_in_any_state() -> None:
    source = Source(*range(100))
    pool = OrderedThreadMap(source.take, lambda n: (n, 1), threads=4, budget_bytes=5, budget_items=5)
    assert pool.get() == 0

    pool.close()
    pool.close()

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("asyncio-loader-transform")]
    assert pool.get() is None


def test_closed_by_one_of_its_own_threads_it_waits_for_nobody() -> None:
    """The collector may find a dropped owner in any thread, also in one that holds the turn to take."""
    pools: list[OrderedThreadMap[int, int]] = []
    closed = threading.Event()
    source = Source(*range(100))

    def take_and_collect() -> int | None:
        item = source.take()
        if item == 5:
            pools[0].close()
            closed.set()
        return item

    is_ready = threading.Event()
    pool = OrderedThreadMap(
        lambda: take_and_collect() if is_ready.wait(10) else None,
        lambda n: (n, 1),
        threads=2,
        budget_bytes=100,
        budget_items=100,
    )
    pools.append(pool)
    is_ready.set()

    assert closed.wait(timeout=10)
    for thread in pool._threads:
        thread.join(timeout=10)
        assert not thread.is_alive()


class Item:
    """Something that is dropped or not."""


def test_a_thread_that_waits_for_an_item_holds_nothing_of_the_last_one() -> None:
    dropped: list[bool] = []
    last: list[weakref.ref[Item]] = []

    def take() -> Item | None:
        dropped.extend(item() is None for item in last)
        if len(last) == 2:
            return None
        item = Item()
        last.append(weakref.ref(item))
        return item

    pool: OrderedThreadMap[Item, int] = OrderedThreadMap(
        take, lambda _: (1, 1), threads=1, budget_bytes=100, budget_items=100
    )

    assert [pool.get(), pool.get(), pool.get()] == [1, 1, None]
    assert dropped == [True, True, True]
    pool.close()


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_gets_through_even_if_its_signal_wakes_another_thread() -> None:
    is_made, is_over = threading.Event(), threading.Event()

    def interrupt_the_consumer() -> None:
        is_made.wait(60)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        is_over.wait(60)

    pool: OrderedThreadMap[int, int] = OrderedThreadMap(
        interrupt_the_consumer, lambda n: (n, 1), threads=1, budget_bytes=100, budget_items=100
    )

    def get_interrupted() -> None:
        is_made.set()
        pool.get()

    with pytest.raises(KeyboardInterrupt):
        get_interrupted()
    is_over.set()
    pool.close()


def test_it_counts_how_long_the_function_takes_and_how_long_a_thread_waits_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0
    monkeypatch.setattr("asyncio_loader.bridge.ordered_map.time.perf_counter", lambda: now_s)
    is_full = threading.Event()
    counters = Counters()

    def apply(n: int) -> tuple[int, int]:
        nonlocal now_s
        now_s += 2.0
        return n, 1

    class Watched(OrderedThreadMap[int, int]):
        def _wait_for_room(self) -> None:
            is_full.set()
            super()._wait_for_room()

    pool = Watched(Source(0, 1).take, apply, threads=1, budget_bytes=1, budget_items=10, counters=counters)
    assert is_full.wait(10)
    # Under its lock: the thread has looked at the clock and waits.
    with pool._changed:
        now_s += 5.0
    assert drain(pool) == [0, 1]
    pool.close()

    assert counters.threads == 1
    assert counters.transform_s == 4.0
    assert counters.transform.frozen().count == 2
    assert counters.blocked_s == 5.0


def test_it_knows_whether_the_next_result_is_there() -> None:
    begun = [threading.Event() for _ in range(3)]
    may_end = threading.Event()

    def apply(n: int) -> tuple[int, int]:
        begun[n].set()
        if n == 1:
            assert may_end.wait(10)
        return n, 1

    pool = OrderedThreadMap(Source(0, 1, 2).take, apply, threads=1, budget_bytes=10, budget_items=10)
    # There is one thread: where it has begun with an item it has delivered the one before.
    assert begun[1].wait(10)
    assert pool.is_ready
    assert pool.get() == 0
    assert not pool.is_ready

    may_end.set()
    assert begun[2].wait(10)
    assert pool.is_ready
    assert drain(pool) == [1, 2]
    # The end is known, too.
    assert pool.is_ready
    pool.close()


def test_after_close_it_is_ready_to_say_so() -> None:
    hold = threading.Event()
    pool = OrderedThreadMap(
        Source(0).take, lambda n: (int(hold.wait(10)), 1), threads=1, budget_bytes=10, budget_items=10
    )
    assert not pool.is_ready
    hold.set()
    pool.close()

    assert pool.is_ready
    assert pool.get() is None


class CountedWaits(threading.Condition):
    """Knows how often a thread has been woken."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = 0

    def wait(self, timeout: float | None = None) -> bool:
        """As it is; counts."""
        came = super().wait(timeout)
        self.woken += came
        return came


def test_the_consumer_is_woken_once_for_all_that_it_wants() -> None:
    source = Source()
    source.items.get()
    pool = OrderedThreadMap(source.take, lambda n: (n, 1), threads=1, budget_bytes=100, budget_items=100)
    pool._changed = condition = CountedWaits()
    taken: list[int | None] = []
    consumer = threading.Thread(target=lambda: taken.extend(pool.get(4 - n) for n in range(4)))
    consumer.start()
    for n in range(4):
        source.items.put(n)
    consumer.join(10)

    assert taken == [0, 1, 2, 3]
    assert condition.woken <= 1
    source.items.put(None)
    pool.close()


@pytest.mark.parametrize(("budget_bytes", "budget_items"), [(3, 100), (100, 3)])
def test_wanting_more_than_the_budget_holds_waits_for_a_full_one(budget_bytes: int, budget_items: int) -> None:
    pool = OrderedThreadMap(
        Source(*range(20)).take, lambda n: (n, 1), threads=2, budget_bytes=budget_bytes, budget_items=budget_items
    )

    assert [pool.get(20 - n) for n in range(20)] == list(range(20))
    pool.close()


def test_wanting_more_than_there_is_ends_with_the_items() -> None:
    pool = OrderedThreadMap(Source(1, 2, 3).take, lambda n: (n, 1), threads=2, budget_bytes=100, budget_items=100)

    assert [pool.get(8) for _ in range(4)] == [1, 2, 3, None]
    pool.close()


def test_an_error_in_the_midst_of_what_is_wanted_comes_in_its_place() -> None:
    def apply(n: int) -> tuple[int, int]:
        if n == 1:
            raise ValueError("one")
        return n, 1

    pool = OrderedThreadMap(Source(0, 1, 2).take, apply, threads=2, budget_bytes=100, budget_items=100)

    assert pool.get(3) == 0
    with pytest.raises(ValueError, match="one"):
        pool.get(2)
    assert pool.get(1) == 2
    pool.close()
