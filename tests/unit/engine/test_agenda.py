from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.records import ObjectRef, Slot


def jobs(*numbers: int) -> list[Job]:
    return [Job(ObjectRef(f"m://{n}"), Slot(n, n)) for n in numbers]


async def take_all(agenda: Agenda) -> list[tuple[int, str]]:
    taken = []
    while (entry := await agenda.take()) is not None:
        taken.append((entry[0], entry[1].ref.uri))
    return taken


async def test_jobs_come_in_order_with_their_numbers_and_then_none_for_ever() -> None:
    agenda = Agenda(jobs(7, 8, 9))

    assert await take_all(agenda) == [(0, "m://7"), (1, "m://8"), (2, "m://9")]
    assert await agenda.take() is None


async def test_an_agenda_without_jobs_is_done_at_once() -> None:
    assert await Agenda().take() is None


async def test_what_is_added_follows_what_was_there_and_the_numbers_go_on() -> None:
    agenda = Agenda(jobs(1), is_complete=False)
    agenda.add(jobs(2, 3))
    agenda.add([])
    agenda.add(jobs(4))
    agenda.complete()

    assert await take_all(agenda) == [(0, "m://1"), (1, "m://2"), (2, "m://3"), (3, "m://4")]


async def test_takers_wait_until_more_is_added() -> None:
    agenda = Agenda(is_complete=False)
    takers = [asyncio.create_task(agenda.take()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(taker.done() for taker in takers)

    agenda.add(jobs(1))
    agenda.add(jobs(2))

    entries = [await taker for taker in takers]
    assert [entry and entry[0] for entry in entries] == [0, 1]


async def test_one_job_for_two_waiting_takers_leaves_the_other_waiting() -> None:
    agenda = Agenda(is_complete=False)
    takers = {asyncio.create_task(agenda.take()) for _ in range(2)}
    await asyncio.sleep(0)

    agenda.add(jobs(1))
    done, waiting = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
    assert [taker.result() for taker in done] == [(0, jobs(1)[0])]
    assert len(waiting) == 1

    agenda.complete()
    assert await waiting.pop() is None


async def test_completing_ends_takers_that_wait() -> None:
    agenda = Agenda(jobs(1), is_complete=False)
    everything = asyncio.create_task(take_all(agenda))
    await asyncio.sleep(0)
    assert not everything.done()

    agenda.complete()

    assert await everything == [(0, "m://1")]


async def test_jobs_are_drawn_one_by_one_when_they_are_taken() -> None:
    drawn = []

    def draw() -> Iterator[Job]:
        for job in jobs(*range(1000)):
            drawn.append(job)
            yield job

    agenda = Agenda(draw())
    agenda.add(draw())
    assert drawn == []

    await agenda.take()
    await agenda.take()

    assert len(drawn) == 2


async def test_a_cancelled_taker_takes_no_job() -> None:
    agenda = Agenda(is_complete=False)
    taker = asyncio.create_task(agenda.take())
    await asyncio.sleep(0)

    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    agenda.add(jobs(5))
    agenda.complete()

    assert await take_all(agenda) == [(0, "m://5")]


async def test_a_taker_that_is_cancelled_as_a_job_arrives_takes_none_either() -> None:
    agenda = Agenda(is_complete=False)
    taker = asyncio.create_task(agenda.take())
    await asyncio.sleep(0)

    agenda.add(jobs(5))
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker
    agenda.complete()

    assert await take_all(agenda) == [(0, "m://5")]


async def test_what_a_source_of_jobs_raises_comes_out_of_take() -> None:
    def broken() -> Iterator[Job]:
        yield from jobs(1)
        raise ValueError("no such ref")

    agenda = Agenda(broken())
    await agenda.take()

    with pytest.raises(ValueError, match="no such ref"):
        await agenda.take()
