"""The one timer, on a loop of virtual time. What a connection makes of it: test_connection.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.deadline import SLOWEST_BYTES_PER_S, TimedProtocol
from asyncio_loader.testing.virtual_time import in_virtual_time

STALL_S = 5.0


class Waiting(TimedProtocol):
    """Notes when its time was up."""

    def __init__(self) -> None:
        super().__init__(RetryPolicy(stall_timeout_s=STALL_S))
        self.up_s: list[float] = []

    def _time_is_up(self) -> None:
        self.up_s.append(self._loop.time())

    def come(self, count: int) -> None:
        """So many bytes have come."""
        self._received_bytes += count
        self._expect_bytes()


@in_virtual_time
async def test_time_is_up_once_and_not_before() -> None:
    waiting, start_s = Waiting(), asyncio.get_running_loop().time()
    waiting._expect(3.0)
    await asyncio.sleep(10)

    assert waiting.up_s == pytest.approx([start_s + 3], abs=0.01)


@in_virtual_time
async def test_a_later_deadline_takes_the_place_of_an_earlier_one_and_the_other_way_round() -> None:
    for first_s, second_s in ((1.0, 4.0), (4.0, 1.0)):
        waiting, start_s = Waiting(), asyncio.get_running_loop().time()
        waiting._expect(first_s)
        waiting._expect(second_s)
        await asyncio.sleep(10)

        assert waiting.up_s == pytest.approx([start_s + second_s], abs=0.01)


@in_virtual_time
async def test_many_deadlines_are_one_timer() -> None:
    waiting = Waiting()
    waiting._expect(1.0)
    timer = waiting._timer
    for _ in range(100):
        waiting._expect(2.0)

    assert waiting._timer is timer
    waiting._end_timer()


async def _rest(waiting: Waiting) -> None:
    waiting.rest()


async def _end(waiting: Waiting) -> None:
    waiting._end_timer()


@pytest.mark.parametrize("stop", [_rest, _end])
@in_virtual_time
async def test_nothing_is_expected_of_what_rests_or_has_ended(stop: Callable[[Waiting], Awaitable[None]]) -> None:
    waiting = Waiting()
    waiting._begin_body()
    await stop(waiting)
    await asyncio.sleep(100)

    assert waiting.up_s == []


@in_virtual_time
async def test_a_trickle_is_too_slow_in_the_end() -> None:
    waiting, start_s = Waiting(), asyncio.get_running_loop().time()
    waiting._begin_body()
    while not waiting.up_s:
        # Half of the least pace, and never a pause that would be too long by itself.
        await asyncio.sleep(1)
        waiting.come(SLOWEST_BYTES_PER_S // 2)

    assert waiting.up_s[0] == pytest.approx(start_s + 2 * STALL_S, abs=1.5)


@in_virtual_time
async def test_the_pace_begins_anew_after_a_rest() -> None:
    waiting = Waiting()
    waiting._begin_body()
    waiting.rest()
    await asyncio.sleep(1000)
    start_s = asyncio.get_running_loop().time()
    waiting._expect_bytes()
    await asyncio.sleep(100)

    assert waiting.up_s == pytest.approx([start_s + STALL_S], abs=0.01)
