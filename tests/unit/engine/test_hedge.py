"""Second GETs, in virtual time: who gets one, who wins, and what is left behind."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable

import pytest

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.errors import ConnectionLost, FetchError, ObjectNotFound, Throttled
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit, admits_now
from asyncio_loader.testing.virtual_time import in_virtual_time

USUAL_S = 0.03
BODY_S = 0.001


class SlowStore:
    """Heads come after ``delay(number of the object, number of the GET for it from 0)`` seconds, bodies soon after."""

    def __init__(self, delay: Callable[[int, int], float], body_s: float = BODY_S) -> None:
        self.delay = delay
        self.body_s = body_s
        self.gets: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.bodies: Counter[int] = Counter()
        self.most_bodies = 0
        self.begun_s: dict[tuple[int, int], float] = {}
        self.errors: dict[tuple[int, int], FetchError] = {}

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        assert admit is not None
        number = int(uri.rpartition("/")[2])
        turn = self.gets[number]
        self.gets[number] += 1
        self.running[number] += 1
        self.begun_s[number, turn] = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(self.delay(number, turn))
            if (number, turn) in self.errors:
                raise self.errors[number, turn]
            await admit(100)
            self.bodies[number] += 1
            self.most_bodies = max(self.most_bodies, self.bodies[number])
            try:
                await asyncio.sleep(self.body_s)
            finally:
                self.bodies[number] -= 1
            return f"{number}.{turn}".encode()
        finally:
            self.running[number] -= 1


class Run:
    def __init__(
        self,
        store: SlowStore,
        count: int,
        *,
        take: Callable[[Delivery], None] | None = None,
        size_bytes: int = 100,
        is_waited_for: bool = True,
        **options: object,
    ) -> None:
        self.store = store
        self.is_waited_for: Callable[[], bool] = lambda: is_waited_for
        self.counters = Counters()
        self.times: list[float] = []
        self.outcomes: list[Fetched | Failed] = []
        self.prefetcher = Prefetcher(
            store,  # type: ignore[arg-type]
            Agenda([Job(ObjectRef(f"s3://bucket/{n}", size_bytes), Slot(n, n)) for n in range(count)]),
            options=FetchOptions(**{"max_in_flight": 16} | options),  # type: ignore[arg-type]
            deliver=take or self.take,
            counters=self.counters,
            is_waited_for=lambda: self.is_waited_for(),
        )

    def take(self, delivery: Delivery) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.outcomes.append(delivery.outcome)
        delivery.credit.release()

    async def run(self) -> Run:
        await self.prefetcher.run()
        assert self.prefetcher.window.held_bytes == 0
        assert not self.store.running.total()
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        return self

    @property
    def data(self) -> list[bytes]:
        return [bytes(o.data) if isinstance(o, Fetched) else type(o.error).__name__.encode() for o in self.outcomes]


def slow_at(*slow: int, slow_s: float = 1.0, usual_s: float = USUAL_S) -> Callable[[int, int], float]:
    """The first GET of these objects is slow, the second as usual. Everything else varies by a tenth."""
    draw = random.Random(7)

    def delay(number: int, turn: int) -> float:
        return slow_s if number in slow and turn == 0 else usual_s * draw.uniform(0.9, 1.1)

    return delay


@in_virtual_time
async def test_a_slow_get_is_asked_for_again_and_the_second_wins() -> None:
    store = SlowStore(slow_at(500))
    run = await Run(store, 800).run()

    assert run.data == [f"{n}.{1 if n == 500 else 0}".encode() for n in range(800)]
    begun_s = store.begun_s
    assert 0.03 < begun_s[500, 1] - begun_s[500, 0] < 0.06
    assert run.times[500] - begun_s[500, 1] < 0.04
    assert run.counters.hedges_won >= 1
    assert run.counters.gets == 800 + run.counters.hedges
    assert run.counters.retries == 0


@in_virtual_time
async def test_one_body_at_a_time_is_in_memory() -> None:
    draw = random.Random(3)
    store = SlowStore(lambda number, turn: draw.lognormvariate(-3.5, 0.8), body_s=0.05)
    run = await Run(store, 2000, hedge=0.2).run()

    assert run.counters.hedges > 50
    assert run.counters.hedges_won > 10
    assert store.most_bodies == 1
    assert [data.partition(b".")[0] for data in run.data] == [str(n).encode() for n in range(2000)]


@in_virtual_time
async def test_the_first_wins_if_its_head_comes_before_that_of_the_second() -> None:
    store = SlowStore(lambda number, turn: 0.06 if (number, turn) == (500, 0) else 0.5 if turn else USUAL_S)
    run = await Run(store, 800).run()

    assert run.data[500] == b"500.0"
    assert store.gets[500] == 2
    assert run.counters.hedges_won == 0


@in_virtual_time
async def test_a_body_that_stalls_is_hedged_even_if_its_head_came_before_that_of_a_second_get() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (0.06, 0.5, USUAL_S)[turn])
    usual = store.get

    async def get(uri: str, *, admit: Admit | None = None) -> Buffer:
        data = await usual(uri, admit=admit)
        if bytes(data) == b"500.0":
            await asyncio.sleep(1000.0)
        return data

    store.get = get  # type: ignore[method-assign]
    run = await Run(store, 800).run()

    assert run.data[500] == b"500.2"
    assert run.times[500] - store.begun_s[500, 0] < 0.3
    assert run.counters.retries == 0


@pytest.mark.parametrize("winner", [0, 1])
@in_virtual_time
async def test_two_heads_in_one_turn_are_one_winner(winner: int) -> None:
    """A connection asks in a callback, also for a GET whose task has been cancelled in the same turn of the loop."""
    asked: list[tuple[str, bool]] = []
    store = SlowStore(slow_at())
    usual = store.get

    async def get(uri: str, *, admit: Admit | None = None) -> Buffer:
        if not uri.endswith("/500"):
            return await usual(uri, admit=admit)
        loop = asyncio.get_running_loop()
        come = loop.create_future()
        store.gets[500] += 1
        name = f"500.{store.gets[500] - 1}"
        if name == "500.0":
            store.begun_s[500, 0] = loop.time()

        def head() -> None:
            asked.append((name, admits_now(admit, 100)))  # type: ignore[arg-type]
            loop.call_later(BODY_S, lambda: come.done() or come.set_result(None))

        # Below the resolution of the clock: a turn of the loop calls both, in this order.
        loop.call_at(store.begun_s[500, 0] + 0.06 + (0.0 if name == f"500.{winner}" else 5e-10), head)
        await come
        return name.encode()

    store.get = get  # type: ignore[method-assign]
    run = await Run(store, 800, is_waited_for=False).run()

    assert asked == [(f"500.{winner}", True), (f"500.{1 - winner}", False)]
    assert run.data[500] == f"500.{winner}".encode()


@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
@in_virtual_time
async def test_second_gets_keep_to_their_share(share: float) -> None:
    draw = random.Random(5)
    store = SlowStore(lambda number, turn: draw.lognormvariate(-3.5, 0.8))
    run = await Run(store, 3000, hedge=share).run()

    assert 0.4 * share < run.counters.hedges / 3000 <= share + 8 / 3000
    assert len(run.data) == 3000


@pytest.mark.parametrize(("is_waited_for", "least_s", "most_s"), [(True, 0.03, 0.05), (False, 0.06, 0.08)])
@in_virtual_time
async def test_what_the_consumer_waits_for_is_asked_for_sooner(
    is_waited_for: bool, least_s: float, most_s: float
) -> None:
    # One in 30 takes twice as long: more than the share of second GETs, so only the consumer's wish brings one.
    store = SlowStore(lambda number, turn: 5.0 if (number, turn) == (1500, 0) else USUAL_S * (1 + (number % 30 == 7)))
    run = Run(store, 1600)
    run.is_waited_for = lambda: is_waited_for and len(run.times) >= 1499
    await run.run()

    assert least_s < store.begun_s[1500, 1] - store.begun_s[1500, 0] < most_s


@in_virtual_time
async def test_a_stuck_object_gets_second_gets_even_if_none_are_saved_up() -> None:
    """What the consumer waits for fills the window, so that no other GET comes which would save some up."""
    store = SlowStore(lambda number, turn: 1000.0 if number == 500 and turn < 30 else USUAL_S)
    for turn in range(1, 30):
        store.errors[500, turn] = ConnectionLost("reset")
    slow = store.delay
    store.delay = lambda number, turn: USUAL_S if (number, turn) in store.errors else slow(number, turn)
    run = await Run(store, 2000, window_items=64, retry=RetryPolicy(slow_attempt_s=0)).run()

    assert run.data[500] == b"500.30"
    begun_s = [store.begun_s[500, turn] for turn in range(10, 31)]
    gaps_s = [later - sooner for sooner, later in itertools.pairwise(begun_s)]
    # Ten a second.
    assert gaps_s == [pytest.approx(0.1, abs=0.05)] * 20


@in_virtual_time
async def test_nothing_is_asked_for_twice_before_there_is_something_to_go_by() -> None:
    store = SlowStore(slow_at(5))
    run = await Run(store, 60).run()

    assert run.counters.hedges == 0
    assert set(store.gets.values()) == {1}


@pytest.mark.parametrize("uri", ["/data/{}", "file:///data/{}", "memory://data/{}"])
@in_virtual_time
async def test_what_lies_here_is_not_asked_for_twice(uri: str) -> None:
    store = SlowStore(slow_at(500, slow_s=20.0))
    run = Run(store, 0)
    work = [Job(ObjectRef(uri.format(n), 100), Slot(n, n)) for n in range(800)]
    run.prefetcher._agenda = Agenda(work)
    await run.run()

    assert set(store.gets.values()) == {1}


@pytest.mark.parametrize("later_bytes", [100_000, 200_000])
@in_virtual_time
async def test_sizes_that_move_into_another_class_are_protected_from_the_first_on(later_bytes: int) -> None:
    """As an expected size does that comes down from the first guess."""
    store = SlowStore(slow_at(200, slow_s=1.5))
    run = Run(store, 0)
    first_bytes = 300_000 - later_bytes
    sizes = [first_bytes] * 190 + [later_bytes] * 20
    run.prefetcher._agenda = Agenda([Job(ObjectRef(f"s3://bucket/{n}", s), Slot(n, n)) for n, s in enumerate(sizes)])
    await run.run()

    assert run.data[200] == b"200.1"
    assert store.begun_s[200, 1] - store.begun_s[200, 0] < 0.25


@pytest.mark.parametrize("rare_bytes", [100_000, 200_000])
@in_virtual_time
async def test_sizes_that_come_rarely_are_protected_by_what_their_neighbours_took(rare_bytes: int) -> None:
    """Also where their class is as old as the other, as with an expected size near a border."""
    store = SlowStore(slow_at(400, slow_s=1.5))
    run = Run(store, 0)
    sizes = [rare_bytes if n % 20 == 0 else 300_000 - rare_bytes for n in range(480)]
    run.prefetcher._agenda = Agenda([Job(ObjectRef(f"s3://bucket/{n}", s), Slot(n, n)) for n, s in enumerate(sizes)])
    await run.run()

    assert run.data[400] == b"400.1"
    assert store.begun_s[400, 1] - store.begun_s[400, 0] < 0.25


@in_virtual_time
async def test_a_share_of_0_turns_it_off() -> None:
    run = await Run(SlowStore(slow_at(500)), 800, hedge=0.0).run()

    assert run.counters.hedges == 0
    assert run.counters.gets == 800


@in_virtual_time
async def test_a_brown_out_turns_it_off_and_its_end_on_again() -> None:
    draw = random.Random(2)
    hedges: list[tuple[int, int]] = []

    def delay(number: int, turn: int) -> float:
        hedges.append((number, turn))
        factor = 5.0 if 2000 <= number < 3000 else 1.0
        return factor * draw.lognormvariate(-3.5, 0.6)

    run = await Run(SlowStore(delay), 6000).run()

    seconds = [number for number, turn in hedges if turn]
    assert sum(n < 2000 for n in seconds) > 10
    # It takes a few dozen to notice, and then what has been saved up.
    assert sum(2000 + 64 + 16 <= n < 3000 for n in seconds) <= 8
    assert sum(3200 <= n for n in seconds) > 10
    assert run.counters.hedges == len(seconds)


@in_virtual_time
async def test_the_second_brings_it_where_the_first_fails() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (0.06, 0.06)[turn])
    store.errors[500, 0] = ConnectionLost("reset")
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.data[500] == b"500.1"
    assert run.counters.retries == 0


@in_virtual_time
async def test_a_final_answer_of_the_first_does_not_wait_for_the_second() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (0.06, 50.0)[turn])
    store.errors[500, 0] = ObjectNotFound("gone", key="s3://bucket/500")
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.data[500] == b"ObjectNotFound"
    assert run.times[500] - store.begun_s[500, 0] < 0.07


@in_virtual_time
async def test_a_failure_of_the_second_leaves_the_first_alone() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (0.3, 0.01)[turn])
    store.errors[500, 1] = ObjectNotFound("a replica that lags behind")
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.data[500] == b"500.0"


@in_virtual_time
async def test_a_second_get_that_is_refused_is_followed_by_another() -> None:
    """Where a fifth of the GETs is refused, every fifth of the second ones is, too, and the first still hangs."""
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (50.0, 0.01, 0.01, 0.02)[turn])
    store.errors[500, 1] = Throttled("slow down")
    store.errors[500, 2] = ConnectionLost("reset")
    run = await Run(store, 800).run()

    assert run.data[500] == b"500.3"
    assert run.times[500] - store.begun_s[500, 0] < 0.3
    assert run.counters.retries == 0


@in_virtual_time
async def test_where_both_hang_what_the_consumer_waits_for_is_asked_for_again() -> None:
    store = SlowStore(lambda number, turn: 1000.0 if number == 500 and turn < 4 else USUAL_S)
    run = await Run(store, 800).run()

    assert run.data[500] == b"500.4"
    begun_s = [store.begun_s[500, turn] for turn in range(1, 5)]
    # Each second GET has twice as long as the one before.
    gaps_s = [later - sooner for sooner, later in itertools.pairwise(begun_s)]
    assert gaps_s == [pytest.approx(gaps_s[0] * 2**n, rel=0.25) for n in range(3)]
    # The first of them as long as the slowest two in a hundred take.
    assert 0.03 < gaps_s[0] < 0.05
    assert run.counters.retries == 0


@in_virtual_time
async def test_where_both_hang_there_is_a_third_before_anybody_waits_for_it() -> None:
    """Out of the same share; whoever comes to wait would find it twice as late."""
    store = SlowStore(lambda number, turn: 1.0 if number == 500 and turn < 2 else USUAL_S)
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.data[500] == b"500.2"
    assert run.times[500] - store.begun_s[500, 0] < 0.13
    assert run.counters.hedges == 2
    assert run.counters.hedges_won == 1


@in_virtual_time
async def test_without_anything_saved_up_a_second_get_that_hangs_is_left_alone() -> None:
    store = SlowStore(lambda number, turn: 0.4 if number in range(500, 540) else USUAL_S)
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.counters.hedges <= 0.02 * 800 + 1


@in_virtual_time
async def test_a_second_get_that_has_won_and_hangs_is_tried_again_if_the_consumer_waits_for_it() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (50.0, 0.02, USUAL_S)[turn])
    usual = store.get

    async def get(uri: str, *, admit: Admit | None = None) -> Buffer:
        data = await usual(uri, admit=admit)
        if bytes(data) == b"500.1":
            await asyncio.sleep(1000.0)
        return data

    store.get = get  # type: ignore[method-assign]
    run = await Run(store, 800, retry=RetryPolicy(backoff_initial_s=0.0)).run()

    assert run.data[500] == b"500.2"
    assert run.times[500] - store.begun_s[500, 0] < 0.25
    assert run.counters.retries == 1


@in_virtual_time
async def test_a_failure_of_both_is_tried_again() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number != 500 else (0.06, 0.06, 0.02)[turn])
    store.errors[500, 0] = ConnectionLost("reset")
    store.errors[500, 1] = ConnectionLost("reset")
    run = await Run(store, 800, is_waited_for=False).run()

    assert run.data[500] == b"500.2"
    assert run.counters.retries == 1


@in_virtual_time
async def test_a_hopeless_get_is_given_up_after_2_s_then_4_then_8() -> None:
    store = SlowStore(lambda number, turn: 100.0 if number == 5 and turn < 3 else USUAL_S)
    retry = RetryPolicy(backoff_initial_s=0.0)
    run = await Run(store, 40, hedge=0.0, retry=retry).run()

    assert run.data[5] == b"5.3"
    begun = [store.begun_s[5, turn] for turn in range(4)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert gaps == [pytest.approx(expected, abs=0.15) for expected in (2.0, 4.0, 8.0)]
    assert run.counters.retries == 3


@in_virtual_time
async def test_what_was_refused_before_does_not_make_it_more_patient() -> None:
    store = SlowStore(lambda number, turn: 100.0 if (number, turn) == (5, 2) else USUAL_S)
    store.errors[5, 0] = store.errors[5, 1] = Throttled("slow down")
    run = await Run(store, 40, hedge=0.0, retry=RetryPolicy(backoff_initial_s=0.0)).run()

    assert run.data[5] == b"5.3"
    assert store.begun_s[5, 3] - store.begun_s[5, 2] == pytest.approx(2.0, abs=0.15)


@in_virtual_time
async def test_patience_does_not_grow_by_its_own_length() -> None:
    """2 % hang: were the 2 s after which they are given up a latency like others, the tail would be 2 s long."""
    hanging = range(0, 3000, 50)
    store = SlowStore(lambda number, turn: 1000.0 if number in hanging and turn == 0 else USUAL_S)
    run = await Run(store, 3000, hedge=0.0, retry=RetryPolicy(backoff_initial_s=0.0)).run()

    assert run.counters.retries == len(hanging)
    patience_s = [store.begun_s[number, 1] - store.begun_s[number, 0] for number in hanging]
    assert max(patience_s) == pytest.approx(2.0, abs=0.15)


@in_virtual_time
async def test_a_second_get_that_hangs_too_is_given_up() -> None:
    store = SlowStore(lambda number, turn: 0.05 if number != 500 else (50.0, 0.05, 0.05)[turn], body_s=0.0)
    hang = SlowStore.get

    async def get(uri: str, *, admit: Admit | None = None) -> Buffer:
        data = await hang(store, uri, admit=admit)
        if bytes(data) == b"500.1":
            await asyncio.sleep(1000)
        return data

    store.get = get  # type: ignore[method-assign]
    run = await Run(store, 800, retry=RetryPolicy(backoff_initial_s=0.0)).run()

    assert run.data[500] == b"500.2"
    assert run.counters.retries == 1


@in_virtual_time
async def test_a_server_that_is_slow_for_all_is_given_the_time_it_takes() -> None:
    run = await Run(SlowStore(lambda number, turn: 5.0), 200, retry=RetryPolicy(backoff_initial_s=0.0)).run()

    assert not any(isinstance(outcome, Failed) for outcome in run.outcomes)
    # Those that found nothing to go by were given up twice.
    assert run.counters.retries <= 2 * 16 * 4


@in_virtual_time
async def test_who_waits_for_room_is_not_slow() -> None:
    kept: list[Delivery] = []
    run = Run(SlowStore(slow_at()), 400, take=kept.append, window_bytes=100 * 100, size_bytes=1)
    running = asyncio.create_task(run.prefetcher.run())
    for _ in range(30):
        await asyncio.sleep(1.0)
        while kept:
            kept.pop().credit.release()
    await running

    assert run.counters.retries == 0
    assert run.counters.hedges <= 8


@in_virtual_time
async def test_a_pause_of_this_process_makes_no_get_slow() -> None:
    store = SlowStore(slow_at())
    run = Run(store, 1600)
    running = asyncio.create_task(run.prefetcher.run())
    loop = asyncio.get_running_loop()
    while len(run.times) < 800:
        await asyncio.sleep(0.001)
    for _ in range(10):
        # As if the process had been stopped: the clock goes on, and nothing has been looked at.
        loop._selector_of_time.now_s += 5.0  # type: ignore[attr-defined]
        await asyncio.sleep(0.04)
    await running

    assert (run.counters.hedges, run.counters.retries) == (0, 0)


@in_virtual_time
async def test_what_is_quick_is_not_asked_for_twice() -> None:
    run = await Run(SlowStore(slow_at(500, slow_s=0.015, usual_s=0.001)), 800).run()

    assert run.counters.hedges == 0


@in_virtual_time
async def test_cancelling_ends_both_gets() -> None:
    store = SlowStore(lambda number, turn: USUAL_S if number < 500 else 1000.0)
    run = Run(store, 800, retry=RetryPolicy(slow_attempt_s=0))
    running = asyncio.create_task(run.prefetcher.run())
    while not run.counters.hedges:
        await asyncio.sleep(0.01)
    assert store.running.total() > 16
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not store.running.total()
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@in_virtual_time
async def test_a_bug_in_a_second_get_comes_out() -> None:
    store = SlowStore(slow_at(500))
    first = store.get

    async def get(uri: str, *, admit: Admit | None = None) -> Buffer:
        if store.gets[500] == 1 and uri.endswith("/500"):
            raise ZeroDivisionError
        return await first(uri, admit=admit)

    store.get = get  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as caught:
        await Run(store, 800).run()

    assert caught.group_contains(ZeroDivisionError)


class SharedStore(SlowStore):
    """Some GETs rest on something that is shared and was cancelled, by nobody of the engine's."""

    def __init__(self, delay: Callable[[int, int], float], cancelled: Callable[[int, int], bool]) -> None:
        super().__init__(delay)
        self._cancelled = cancelled
        self._asked: Counter[int] = Counter()

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        number = int(uri.rpartition("/")[2])
        turn = self._asked[number]
        self._asked[number] += 1
        if self._cancelled(number, turn):
            shared = asyncio.ensure_future(asyncio.sleep(USUAL_S))
            asyncio.get_running_loop().call_soon(shared.cancel)
            await shared
        return await super().get(uri, admit=admit)


@in_virtual_time
async def test_a_get_that_the_store_has_cancelled_is_tried_again() -> None:
    run = await Run(SharedStore(slow_at(), lambda number, turn: number % 10 == 3 and turn == 0), 100).run()

    assert len(run.data) == 100
    assert all(isinstance(outcome, Fetched) for outcome in run.outcomes)
    assert run.counters.retries == 10


@in_virtual_time
async def test_a_get_that_the_store_cancels_for_ever_has_failed() -> None:
    retry = RetryPolicy(max_attempts=3)
    run = await Run(SharedStore(slow_at(), lambda number, _: number == 3), 20, retry=retry).run()

    failed = [outcome for outcome in run.outcomes if isinstance(outcome, Failed)]
    assert [(f.position, type(f.error), f.attempts) for f in failed] == [(3, ConnectionLost, 3)]
    assert "s3://bucket/3: the store itself has cancelled the GET" in str(failed[0].error)


@in_virtual_time
async def test_a_second_get_that_the_store_has_cancelled_leaves_the_first_alone() -> None:
    run = await Run(SharedStore(slow_at(60), lambda number, turn: number == 60 and turn == 1), 100).run()

    assert all(isinstance(outcome, Fetched) for outcome in run.outcomes)
    assert run.counters.hedges >= 1
    assert run.counters.retries == 0
