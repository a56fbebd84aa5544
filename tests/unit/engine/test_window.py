from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.engine.window import Credit, SizeEstimate, Window


async def turn() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_credits_are_granted_while_there_is_room() -> None:
    window = Window(limit_bytes=100, limit_items=10)

    await window.reserve(0, 60)
    await window.reserve(1, 40)

    assert window.held_bytes == 100
    assert window.held_items == 2


async def test_one_that_does_not_fit_waits_until_enough_is_given_back() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 60)
    waiting = asyncio.create_task(window.reserve(1, 50))
    await turn()
    assert not waiting.done()

    first.release()
    credit = await waiting

    assert credit.size_bytes == 50
    assert window.held_bytes == 50


async def test_items_are_bounded_too() -> None:
    window = Window(limit_bytes=100, limit_items=1)
    first = await window.reserve(0, 1)
    waiting = asyncio.create_task(window.reserve(1, 1))
    await turn()
    assert not waiting.done()

    first.release()
    await waiting


async def test_the_oldest_always_proceeds_even_if_it_is_larger_than_the_window() -> None:
    window = Window(limit_bytes=100, limit_items=10)

    credit = await window.reserve(0, 1000)

    assert window.held_bytes == 1000
    credit.release()
    assert window.held_bytes == 0


async def test_a_small_late_one_does_not_overtake_a_large_early_one() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 60)
    large = asyncio.create_task(window.reserve(1, 90))
    small = asyncio.create_task(window.reserve(2, 10))
    await turn()
    assert not small.done()

    first.release()
    await turn()

    assert large.done()
    assert small.done()


async def test_growth_waits_for_room_and_goes_before_newer_ones() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 50)
    second = await window.reserve(1, 40)
    growing = asyncio.create_task(second.resize(60))
    newer = asyncio.create_task(window.reserve(2, 5))
    await turn()
    assert not growing.done()
    assert not newer.done()

    first.release()
    await turn()

    assert growing.done()
    assert newer.done()
    assert window.held_bytes == 65


async def test_the_oldest_grows_at_once() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 50)
    await window.reserve(1, 50)

    await first.resize(500)

    assert window.held_bytes == 550


async def test_shrinking_lets_the_next_one_in() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 90)
    waiting = asyncio.create_task(window.reserve(1, 50))
    await turn()

    await first.resize(10)
    await turn()

    assert waiting.done()
    assert window.held_bytes == 60


async def test_releasing_twice_gives_back_once() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    credit = await window.reserve(0, 30)

    credit.release()
    credit.release()

    assert window.held_bytes == 0
    assert window.held_items == 0


async def test_closing_takes_back_every_credit_and_grants_no_further_one() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    credit = await window.reserve(0, 90)
    waiting = asyncio.create_task(window.reserve(1, 50))
    await turn()

    window.close()
    await turn()
    assert (window.held_bytes, window.held_items, waiting.done()) == (0, 0, False)

    credit.release()
    waiting.cancel()
    await turn()
    assert (window.held_bytes, window.held_items, waiting.cancelled()) == (0, 0, True)


async def test_cancelling_a_waiting_reservation_leaves_the_window_as_it_was() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    await window.reserve(0, 90)
    waiting = asyncio.create_task(window.reserve(1, 50))
    behind = asyncio.create_task(window.reserve(2, 10))
    await turn()

    waiting.cancel()
    await turn()

    assert waiting.cancelled()
    assert behind.done()
    assert window.held_bytes == 100


async def test_cancelling_one_that_was_granted_in_the_same_turn_gives_it_back() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 90)
    waiting = asyncio.create_task(window.reserve(1, 50))
    await turn()

    first.release()
    waiting.cancel()
    await turn()

    assert window.held_bytes == 0
    assert window.held_items == 0


async def test_cancelling_a_growth_leaves_the_old_size() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    await window.reserve(0, 50)
    second = await window.reserve(1, 40)
    growing = asyncio.create_task(second.resize(60))
    await turn()

    growing.cancel()
    await turn()

    assert second.size_bytes == 40
    assert window.held_bytes == 90


SIZES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=40)


@settings(deadline=None)
@given(sizes=SIZES, limit_bytes=st.integers(1, 200), limit_items=st.integers(1, 8), workers=st.integers(1, 9))
def test_never_more_than_the_budget_and_one_object_and_everything_back_at_the_end(
    sizes: list[tuple[int, int]], limit_bytes: int, limit_items: int, workers: int
) -> None:
    """Workers reserve a guess, correct it, and a consumer releases in order: whatever the sizes, it comes to an end."""
    window = asyncio.run(_consume_in_order(sizes, limit_bytes, limit_items, workers))

    assert window.held_bytes == 0
    assert window.held_items == 0
    assert window.peak_bytes <= limit_bytes + max(max(pair) for pair in sizes)


async def _consume_in_order(sizes: list[tuple[int, int]], limit_bytes: int, limit_items: int, workers: int) -> Window:
    window = Window(limit_bytes, limit_items)
    jobs = iter(enumerate(sizes))
    done: dict[int, asyncio.Future[Credit]] = {
        order: asyncio.get_running_loop().create_future() for order in range(len(sizes))
    }

    async def work() -> None:
        for order, (guess, size) in jobs:
            credit = await window.reserve(order, guess)
            await asyncio.sleep(0)
            await credit.resize(size)
            done[order].set_result(credit)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())
        for order in range(len(sizes)):
            (await done[order]).release()
    return window


def test_the_estimate_learns_sizes() -> None:
    estimate = SizeEstimate(first_bytes=1000)

    for _ in range(100):
        estimate.learn(50_000)

    assert estimate.size_bytes == pytest.approx(50_000, rel=0.01)


def test_the_estimate_covers_most_of_what_varies() -> None:
    estimate = SizeEstimate()
    sizes = [80_000, 120_000] * 50
    covered = 0

    for size in sizes:
        covered += size <= estimate.size_bytes
        estimate.learn(size)

    assert covered > 90


async def test_now_takes_what_is_free_and_no_more() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    await window.reserve(0, 10)
    credit = await window.reserve(1, 10)

    assert credit.now(90)
    assert (window.held_bytes, credit.size_bytes) == (100, 90)
    assert not credit.now(91)
    assert (window.held_bytes, credit.size_bytes) == (100, 90)


async def test_now_gives_back_what_is_too_much_and_wakes_who_waits_for_it() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    credit = await window.reserve(0, 100)
    waiting = asyncio.create_task(window.reserve(1, 60))
    await turn()

    assert credit.now(40)
    assert (await waiting).size_bytes == 60


async def test_now_does_not_pass_one_that_is_older_and_waits() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 60)
    older = await window.reserve(1, 10)
    younger = await window.reserve(2, 10)
    waiting = asyncio.create_task(older.resize(80))
    await turn()

    assert not younger.now(11)
    first.release()
    await waiting
    assert older.size_bytes == 80


async def test_now_lets_the_oldest_have_more_than_there_is() -> None:
    window = Window(limit_bytes=100, limit_items=10)
    oldest = await window.reserve(0, 10)
    await window.reserve(1, 90)

    assert oldest.now(1000)
    assert window.held_bytes == 1090


async def test_how_long_somebody_has_waited_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("asyncio_loader.engine.window.time.perf_counter", lambda: now_s)
    window = Window(limit_bytes=100, limit_items=10)
    first = await window.reserve(0, 60)
    now_s = 101.0
    assert window.full_s == 0.0

    waiting = [asyncio.create_task(window.reserve(order, 60)) for order in (1, 2)]
    await turn()
    now_s = 103.0
    assert window.full_s == 2.0
    first.release()
    (await waiting[0]).release()
    await waiting[1]
    now_s = 110.0
    assert window.full_s == 2.0

    cancelled = asyncio.create_task(window.reserve(3, 60))
    await turn()
    now_s = 111.5
    cancelled.cancel()
    await turn()
    now_s = 120.0
    assert window.full_s == 3.5

    dropped = asyncio.create_task(window.reserve(4, 60))
    await turn()
    now_s = 124.0
    window.close()
    now_s = 130.0
    assert window.full_s == 7.5
    dropped.cancel()
