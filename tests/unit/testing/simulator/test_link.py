from __future__ import annotations

import asyncio

import pytest

from asyncio_loader.testing import in_virtual_time
from asyncio_loader.testing.simulator.link import Link


class Body:
    """A sender that notes when its bytes leave."""

    def __init__(self, size_bytes: int, pause_after_bytes: int | None = None) -> None:
        self.left_bytes = size_bytes
        self.pause_after_bytes = pause_after_bytes
        self.done = asyncio.Event()
        self.finished_s = 0.0

    def send_part(self, limit_bytes: int) -> tuple[int, bool]:
        if self.pause_after_bytes is not None and self.left_bytes <= self.pause_after_bytes:
            return 0, False
        sent_bytes = min(limit_bytes, self.left_bytes)
        self.left_bytes -= sent_bytes
        if not self.left_bytes:
            self.finished_s = asyncio.get_running_loop().time()
            self.done.set()
        return sent_bytes, self.left_bytes > 0


@in_virtual_time
async def test_a_body_takes_its_size_over_the_bandwidth() -> None:
    loop = asyncio.get_running_loop()
    link, body = Link(1_000_000), Body(500_000)
    started_s = loop.time()
    link.join(body)
    await body.done.wait()

    assert body.finished_s - started_s == pytest.approx(0.5, abs=0.02)


@in_virtual_time
async def test_bodies_share_the_bandwidth_evenly() -> None:
    loop = asyncio.get_running_loop()
    link, bodies = Link(1_000_000), [Body(100_000) for _ in range(10)]
    started_s = loop.time()
    for body in bodies:
        link.join(body)
    for body in bodies:
        await body.done.wait()

    assert {round(body.finished_s - started_s, 1) for body in bodies} == {1.0}


@in_virtual_time
async def test_a_sender_that_waits_for_its_client_leaves_the_bandwidth_to_others() -> None:
    loop = asyncio.get_running_loop()
    link, paused, body = Link(1_000_000), Body(500_000, pause_after_bytes=490_000), Body(490_000)
    started_s = loop.time()
    link.join(paused)
    link.join(body)
    await body.done.wait()

    assert body.finished_s - started_s == pytest.approx(0.5, abs=0.02)
    assert not paused.done.is_set()


@in_virtual_time
async def test_a_line_that_rested_does_not_save_up() -> None:
    loop = asyncio.get_running_loop()
    link = Link(1_000_000)
    await asyncio.sleep(60)
    body = Body(500_000)
    started_s = loop.time()
    link.join(body)
    await body.done.wait()

    assert body.finished_s - started_s == pytest.approx(0.5, abs=0.02)


@in_virtual_time
async def test_another_bandwidth_holds_from_now_on() -> None:
    loop = asyncio.get_running_loop()
    link, body, last = Link(1_000_000), Body(1_000_000), Body(10_000_000)
    started_s = loop.time()
    link.join(body)
    await asyncio.sleep(0.5)
    link.set_bandwidth(5_000_000)
    await body.done.wait()

    assert body.finished_s - started_s == pytest.approx(0.6, abs=0.02)
    link.join(last)
    link.set_bandwidth(None)
    assert last.done.is_set()
