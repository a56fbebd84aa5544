from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.errors import ConfigError, ObjectNotFound, ServerFault, Throttled
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit
from asyncio_loader.testing.virtual_time import in_virtual_time

Answer = Callable[[str], Awaitable[bytes]]


class AnsweringStore:
    """Answers GETs by a function, and remembers in what order they were asked and how many at once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        self.asked.append(uri)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            data = await self.answer(uri)
            if admit is not None:
                await admit(len(data))
            return data
        finally:
            self.in_flight -= 1


async def echo(uri: str) -> bytes:
    await asyncio.sleep(0)
    return uri.encode()


def jobs(count: int, size_bytes: int | None = None) -> list[Job]:
    return [Job(ObjectRef(f"m://{n}", size_bytes), Slot(n, n), epoch=3) for n in range(count)]


class Run:
    """A prefetcher whose deliveries are consumed, and given back, in order."""

    def __init__(self, store: AnsweringStore, work: list[Job], *, hold: bool = False, **options: object) -> None:
        self.delivered: list[Delivery] = []
        self.counters = Counters()
        self.hold = hold
        self.prefetcher = Prefetcher(
            store,  # type: ignore[arg-type]
            Agenda(work),
            options=FetchOptions(**options),  # type: ignore[arg-type]
            deliver=self.take,
            counters=self.counters,
        )

    def take(self, delivery: Delivery) -> None:
        self.delivered.append(delivery)
        if not self.hold:
            delivery.credit.release()


async def test_outcomes_come_in_the_order_of_the_jobs_whatever_the_answers_do() -> None:
    async def late_first(uri: str) -> bytes:
        for _ in range(20 - int(uri[4:])):
            await asyncio.sleep(0)
        return uri.encode()

    run = Run(AnsweringStore(late_first), jobs(20), max_in_flight=20)
    await run.prefetcher.run()

    assert [d.outcome.position for d in run.delivered] == list(range(20))
    assert all(isinstance(d.outcome, Fetched) and d.outcome.data == d.outcome.ref.uri.encode() for d in run.delivered)
    assert {d.outcome.epoch for d in run.delivered} == {3}


async def test_gets_are_issued_in_the_order_of_next_use() -> None:
    store = AnsweringStore(echo)
    run = Run(store, jobs(50), max_in_flight=7)
    await run.prefetcher.run()

    assert store.asked == [f"m://{n}" for n in range(50)]


async def test_concurrency_is_reached_and_not_exceeded() -> None:
    store = AnsweringStore(echo)
    run = Run(store, jobs(50), max_in_flight=7)
    await run.prefetcher.run()

    assert store.most_in_flight == 7


async def test_fetching_stops_at_the_window_and_goes_on_when_credits_return() -> None:
    store = AnsweringStore(echo)
    run = Run(store, jobs(10, size_bytes=5), hold=True, max_in_flight=2, window_bytes=20)
    running = asyncio.create_task(run.prefetcher.run())
    while len(run.delivered) < 4:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(store.asked) == 4

    run.hold = False
    for delivery in list(run.delivered):
        delivery.credit.release()
    await running

    assert len(run.delivered) == 10
    assert run.prefetcher.window.held_bytes == 0
    assert run.counters.peak_window_bytes <= 20


async def test_a_failed_object_is_an_outcome_in_its_place() -> None:
    async def all_but_two(uri: str) -> bytes:
        if uri == "m://2":
            raise ObjectNotFound("m://2: no such object")
        return b"x"

    run = Run(AnsweringStore(all_but_two), jobs(5))
    await run.prefetcher.run()

    kinds = [type(d.outcome) for d in run.delivered]
    assert kinds == [Fetched, Fetched, Failed, Fetched, Fetched]
    assert run.prefetcher.window.held_bytes == 0


async def test_retries_are_counted() -> None:
    failures = iter([True, True, False])

    async def twice_broken(uri: str) -> bytes:
        if next(failures):
            raise ServerFault("500")
        return b"data"

    run = Run(AnsweringStore(twice_broken), jobs(1), retry=RetryPolicy(backoff_initial_s=0))
    await run.prefetcher.run()

    stats = run.counters.snapshot()
    assert (stats.gets, stats.retries, stats.bytes_fetched) == (3, 2, 4)
    assert run.delivered[0].outcome.attempts == 3


async def test_a_bug_cancels_everything_and_names_the_object() -> None:
    async def broken(uri: str) -> bytes:
        if uri == "m://3":
            raise ConfigError("no such bucket region")
        await asyncio.Event().wait()
        raise AssertionError

    store = AnsweringStore(broken)
    run = Run(store, jobs(10), max_in_flight=8)
    with pytest.raises(ExceptionGroup) as caught:
        await run.prefetcher.run()

    (error,) = caught.value.exceptions
    assert isinstance(error, ConfigError)
    assert error.__notes__ == ["while fetching m://3 (sample 3)"]
    assert store.in_flight == 0


async def test_cancelling_leaves_no_get_behind() -> None:
    async def never(uri: str) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    store = AnsweringStore(never)
    run = Run(store, jobs(100), max_in_flight=30)
    running = asyncio.create_task(run.prefetcher.run())
    while store.in_flight < 30:
        await asyncio.sleep(0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert store.in_flight == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # What nobody waited for to the end is no duration to learn from.
    assert (run.counters.fetch.total, run.counters.fetch_s, run.counters.in_flight) == (0, 0.0, 0)


async def test_sizes_nobody_knew_stay_within_the_window_and_one_object() -> None:
    async def of_any_size(uri: str) -> bytes:
        await asyncio.sleep(0)
        return b"x" * (1000 * (1 + int(uri[4:]) % 9))

    run = Run(AnsweringStore(of_any_size), jobs(200), max_in_flight=16, window_bytes=20_000)
    await run.prefetcher.run()

    assert len(run.delivered) == 200
    # The first guess is for photographs: one object of that size may be reserved beyond the budget.
    assert run.counters.peak_window_bytes <= 20_000 + 128 * 1024
    assert run.prefetcher.window.held_bytes == 0


async def test_a_store_that_tells_no_sizes_is_held_to_the_window_afterwards() -> None:
    class SilentStore(AnsweringStore):
        async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
            return await super().get(uri)

    async def large(uri: str) -> bytes:
        await asyncio.sleep(0)
        return b"x" * 1000

    store = SilentStore(large)
    run = Run(store, jobs(50, size_bytes=10), hold=True, max_in_flight=2, window_bytes=3000)
    running = asyncio.create_task(run.prefetcher.run())
    for _ in range(200):
        await asyncio.sleep(0)

    # Three fill the window; each of the two tasks may have one more in hand.
    assert len(store.asked) <= 5
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@in_virtual_time
async def test_who_was_refused_comes_back_soon_where_a_gate_keeps_the_pace() -> None:
    begun_s: list[float] = []

    async def refuse_six_times(uri: str) -> bytes:
        begun_s.append(asyncio.get_running_loop().time())
        if len(begun_s) <= 6:
            raise Throttled("503")
        return b"data"

    retry = RetryPolicy(backoff_initial_s=0.1, throttle_backoff_max_s=5.0)
    run = Run(AnsweringStore(refuse_six_times), jobs(1), retry=retry)
    await run.prefetcher.run()
    # By itself the sixth pause would be up to 3.2 s.
    assert begun_s[-1] <= 0.6 + 0.1


async def test_errors_count_by_kind_whether_or_not_another_try_cures_them() -> None:
    tried: set[str] = set()

    async def answer(uri: str) -> bytes:
        if uri == "m://3":
            raise ObjectNotFound(uri)
        if uri in ("m://1", "m://2") and uri not in tried:
            tried.add(uri)
            raise ServerFault("500") if uri == "m://1" else Throttled("503")
        return uri.encode()

    run = Run(AnsweringStore(answer), jobs(6), retry=RetryPolicy(backoff_initial_s=0.0))
    await run.prefetcher.run()
    stats = run.counters.snapshot()

    assert (stats.server_faults, stats.throttled, stats.other_errors, stats.retries) == (1, 1, 1, 2)
    assert stats.fetch.count == 6
    assert stats.fetch_s == pytest.approx(stats.fetch.sum_s)


async def test_what_is_under_way_and_held_is_told_while_it_is() -> None:
    is_going_on = asyncio.Event()

    async def answer(uri: str) -> bytes:
        if uri != "m://0":
            await is_going_on.wait()
        return uri.encode()

    run = Run(AnsweringStore(answer), jobs(4, size_bytes=5), hold=True, max_in_flight=2, window_bytes=100)
    running = asyncio.create_task(run.prefetcher.run())
    while not run.delivered:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    during = run.counters.snapshot()
    is_going_on.set()
    await running
    after = run.counters.snapshot()

    assert (during.in_flight, during.window_bytes, during.most_in_flight) == (2, 100, 2)
    # As it was when the first one came: the second had not been begun.
    assert during.held_bytes == 5
    assert (after.in_flight, after.held_bytes) == (0, 20)
