"""The timers of a request through aiohttp."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.s3.aiohttp_transport import PhaseClock
from asyncio_loader.testing.virtual_time import in_virtual_time


@in_virtual_time
async def test_each_phase_has_its_own_limit_and_rest_has_none() -> None:
    timeouts = RetryPolicy(connect_timeout_s=1, first_byte_timeout_s=10, stall_timeout_s=5)

    async with PhaseClock(timeouts) as clock:
        await asyncio.sleep(0.9)
        clock.expect_head()
        await asyncio.sleep(9.9)
        clock.rest()
        await asyncio.sleep(10_000)
        for _ in range(3):
            clock.expect_bytes()
            await asyncio.sleep(4.9)


@pytest.mark.parametrize(("phase", "limit_s"), [(None, 1.0), ("expect_head", 10.0), ("expect_bytes", 5.0)])
@in_virtual_time
async def test_a_phase_ends_at_its_limit(phase: str | None, limit_s: float) -> None:
    async def wait() -> None:
        async with PhaseClock(RetryPolicy(connect_timeout_s=1, first_byte_timeout_s=10, stall_timeout_s=5)) as clock:
            if phase is not None:
                getattr(clock, phase)()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait()

    assert asyncio.get_running_loop().time() == pytest.approx(limit_s)
