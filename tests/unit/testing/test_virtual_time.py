from __future__ import annotations

import asyncio
import time

import pytest

from asyncio_loader.testing.virtual_time import Deadlock, in_virtual_time, run_in_virtual_time


def test_an_hour_passes_at_once() -> None:
    async def sleep() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    started_s = time.monotonic()

    assert run_in_virtual_time(sleep()) == 3600
    assert time.monotonic() - started_s < 60


def test_more_than_the_longest_wait_of_a_selector_passes_too() -> None:
    async def sleep() -> float:
        await asyncio.sleep(30 * 86400)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(sleep()) == pytest.approx(30 * 86400)


@in_virtual_time
async def test_timers_fire_in_their_order() -> None:
    fired: list[float] = []

    async def note(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        fired.append(asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        for delay_s in (3, 1, 2):
            group.create_task(note(delay_s))

    assert fired == [1, 2, 3]


@in_virtual_time
async def test_a_timeout_fires_where_nothing_else_would() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()

    assert asyncio.get_running_loop().time() == 5


def test_time_stands_still_while_something_is_ready() -> None:
    async def spin() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(spin()) == 0


def test_a_deadlock_names_the_tasks_that_wait() -> None:
    async def wait() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait(), name="waits for Godot")

    with pytest.raises(Deadlock, match=r"waits for Godot at .*locks\.py"):
        run_in_virtual_time(wait())


def test_a_deadlock_lets_the_tasks_clean_up() -> None:
    cleaned: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("yes")

    with pytest.raises(Deadlock):
        run_in_virtual_time(wait())

    assert cleaned == ["yes"]


def test_a_thread_is_refused() -> None:
    with pytest.raises(RuntimeError, match="cannot wait for a thread"):
        run_in_virtual_time(asyncio.to_thread(time.time))


@pytest.mark.parametrize("delay_s", [1, 2])
@in_virtual_time
async def test_parameters_and_fixtures_reach_a_decorated_test(delay_s: int, tmp_path: object) -> None:
    await asyncio.sleep(delay_s)

    assert tmp_path is not None
    assert asyncio.get_running_loop().time() == delay_s
