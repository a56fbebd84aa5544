"""What the engine tells a trace, in virtual time: attempts, heads, and which of two GETs was read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.errors import ConnectionLost, FetchError, FetchTimeout, ObjectNotFound, Throttled
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import Buffer, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit
from asyncio_loader.testing.virtual_time import in_virtual_time
from asyncio_loader.trace import ObjectRecord, ObjectTracks
from asyncio_loader.trace.objects import Item, SecondGet


class Sink:
    def __init__(self) -> None:
        self.is_on = True
        self.items: list[Any] = []
        self.instants: list[dict[str, object]] = []

    def add(self, item: Item) -> None:
        self.items.append(item)

    def instant(self, name: str, **args: object) -> None:
        self.instants.append(args)

    @property
    def objects(self) -> dict[int, ObjectRecord]:
        return {item.place[1]: item for item in self.items if isinstance(item, ObjectRecord)}

    @property
    def seconds(self) -> list[SecondGet]:
        return [item for item in self.items if isinstance(item, SecondGet)]


class ScriptedStore:
    """What becomes of a GET: ``script(number of the object, number of the GET for it from 0)``; seconds or an error."""

    def __init__(self, script: Callable[[int, int], float | FetchError]) -> None:
        self.script = script
        self.gets: Counter[int] = Counter()

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        assert admit is not None
        number = int(uri.rpartition("/")[2])
        turn = self.gets[number]
        self.gets[number] += 1
        outcome = self.script(number, turn)
        if isinstance(outcome, FetchError):
            raise outcome
        await asyncio.sleep(outcome)
        if not admit.now(100):  # type: ignore[attr-defined]
            await admit(100)
        await asyncio.sleep(0.001)
        return b"x" * 100


async def run(
    script: Callable[[int, int], float | FetchError],
    count: int,
    *,
    scheme: str = "s3://bucket/",
    **options: Any,
) -> tuple[Sink, Counters]:
    sink, counters = Sink(), Counters()
    tracks = ObjectTracks(sink)

    def deliver(delivery: Delivery) -> None:
        delivery.credit.release()
        tracks.deliver(delivery.credit.order)

    prefetcher = Prefetcher(
        ScriptedStore(script),  # type: ignore[arg-type]
        Agenda([Job(ObjectRef(f"{scheme}{n}", 100), Slot(n, n)) for n in range(count)]),
        options=FetchOptions(**{"max_in_flight": 16} | options),
        deliver=deliver,
        counters=counters,
        tracks=tracks,
    )
    await prefetcher.run()
    tracks.close()
    return sink, counters


@pytest.mark.parametrize("scheme", ["s3://bucket/", "memory://bucket/"])
@in_virtual_time
async def test_each_object_has_its_stages_in_order(scheme: str) -> None:
    sink, _ = await run(lambda number, turn: 0.01 * (number % 3), 30, scheme=scheme)

    assert sorted(sink.objects) == list(range(30))
    for record in sink.objects.values():
        (attempt,) = record.attempts
        times = [
            record.drawn_s,
            record.granted_s,
            attempt.asked_s,
            attempt.begun_s,
            attempt.head_s,
            attempt.ended_s,
            record.came_s,
            record.released_s,
            record.delivered_s,
        ]
        assert times == sorted(times)
        assert record.size_bytes == 100


@in_virtual_time
async def test_attempts_that_failed_have_the_class_of_their_error() -> None:
    lost, slow_down = ConnectionLost("gone", key="k"), Throttled("no", key="k")
    missing = ObjectNotFound("not there", key="k")
    scripts: dict[int, list[float | FetchError]] = {3: [lost, slow_down, 0.01], 5: [missing]}

    sink, counters = await run(lambda number, turn: scripts.get(number, [0.01] * 3)[turn], 8, max_in_flight=None)

    assert [attempt.error for attempt in sink.objects[3].attempts] == ["ConnectionLost", "Throttled", ""]
    assert sink.objects[3].error == ""
    assert ([a.error for a in sink.objects[5].attempts], sink.objects[5].error) == (
        ["ObjectNotFound"],
        "ObjectNotFound",
    )
    assert Counter(args["error"] for args in sink.instants) == {
        "ConnectionLost": 1,
        "Throttled": 1,
        "ObjectNotFound": 1,
    }
    assert counters.gets == sum(len(record.attempts) for record in sink.objects.values())


@in_virtual_time
async def test_second_gets_are_told_apart_by_who_was_read() -> None:
    slow = {300: 1.0, 400: 0.06}

    def script(number: int, turn: int) -> float:
        # The second GET of 400 is the slower one.
        return (slow if turn == 0 else {400: 0.5}).get(number, 0.03)

    sink, counters = await run(script, 600, hedge=0.05)

    assert counters.hedges == len(sink.seconds) == 2
    won, lost = sorted(sink.seconds, key=lambda second: not second.has_won)
    assert (won.has_won, won.outcome, lost.has_won, lost.outcome) == (True, "came", False, "dropped")
    assert counters.hedges_won == 1
    assert [position for position, record in sink.objects.items() if record.attempts[0].is_second] == [300]
    read = sink.objects[300].attempts[0]
    assert read.begun_s <= won.begun_s <= read.head_s == won.head_s <= won.ended_s


@in_virtual_time
async def test_a_get_that_is_given_up_is_a_timeout() -> None:
    sink, _ = await run(
        lambda number, turn: 60.0 if (number, turn) == (1, 0) else 0.01, 4, retry=RetryPolicy(slow_attempt_s=1.0)
    )

    assert [attempt.error for attempt in sink.objects[1].attempts] == [FetchTimeout.__name__, ""]


@in_virtual_time
async def test_those_who_wait_for_a_turn_begin_later_than_they_asked() -> None:
    """A server that takes 200 GETs per second: refusals set a pace, which the others wait for."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    taken = 0

    def script(number: int, turn: int) -> float | FetchError:
        nonlocal taken
        if taken >= 20 + 200 * (loop.time() - begin_s):
            return Throttled("no", key="k")
        taken += 1
        return 0.05

    sink, counters = await run(script, 1000, max_in_flight=None)

    waited = [a for record in sink.objects.values() for a in record.attempts if a.begun_s > a.asked_s]
    assert counters.pace > 0
    assert len(waited) > 100
