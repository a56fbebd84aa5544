from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asyncio_loader.doctor.speed import (
    Rate,
    Retries,
    check_first_byte,
    check_rate,
    judge_first_byte,
    judge_rate,
    percentile,
)
from asyncio_loader.errors import ConnectionLost, ServerFault, Throttled
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.stores.router import StoreRouter
from asyncio_loader.testing.virtual_time import in_virtual_time

URI = "memory://x/"
RETRY = RetryPolicy(max_attempts=2, backoff_initial_s=0.0, throttle_backoff_max_s=0.0)


class Counting(MemoryStore):
    """Counts GETs and bytes, and fails some of them."""

    def __init__(self, fails: Callable[[int], bool] = lambda number: False) -> None:
        super().__init__()
        self.fails = fails
        self.gets = 0
        self.bytes = 0

    async def get(self, uri: str, **about: Any) -> Any:
        self._count(uri)
        data = await super().get(uri, **about)
        self.bytes += len(data)
        return data

    async def get_range(self, uri: str, start: int, stop: int, **about: Any) -> Any:
        self._count(uri)
        piece = await super().get_range(uri, start, stop, **about)
        self.bytes += len(piece.data)
        return piece

    def _count(self, uri: str) -> None:
        self.gets += 1
        if self.fails(self.gets):
            raise ServerFault(f"{uri}: the server failed (HTTP 500)", key=uri)


async def filled(store: MemoryStore, *sizes: int) -> tuple[StoreRouter, list[tuple[str, int]]]:
    objects = [(f"{URI}{number}.jpg", size) for number, size in enumerate(sizes)]
    for uri, size in objects:
        await store.put(uri, bytes(size))
    return StoreRouter(store), objects


def test_percentiles_are_values_that_were_seen() -> None:
    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.0, 0.5, 0.95)] == [1.0, 2.0, 4.0]


async def test_the_first_byte_is_asked_for_twenty_times() -> None:
    store = Counting()
    router, objects = await filled(store, 5000, 100)

    found = await check_first_byte(router, objects, URI, seconds=60.0, retry=RETRY)

    assert found.level == "ok"
    assert found.text.endswith("of 20 small GETs")
    # One more, which connects; the small object as a whole, of the other one a KiB.
    assert (store.gets, store.bytes) == (21, 11 * 1024 + 10 * 100)


async def test_an_end_of_the_time_ends_it_with_what_there_is() -> None:
    router, objects = await filled(Counting(), 10)

    found = await check_first_byte(router, objects, URI, seconds=1e-9, retry=RETRY)

    assert found.text.endswith("of 1 small GETs")


async def test_errors_on_the_way_are_a_warning() -> None:
    router, objects = await filled(Counting(lambda number: number == 5), 10)

    found = await check_first_byte(router, objects, URI, seconds=60.0, retry=RETRY)

    assert found.level == "warning"
    assert "of 20 small GETs; 1 asked again: the server failed (HTTP 500)" in found.text


async def test_nothing_but_errors_is_a_failure() -> None:
    router, objects = await filled(Counting(lambda number: True), 10)

    found = await check_first_byte(router, objects, URI, seconds=60.0, retry=RETRY)
    rate = await check_rate(router, objects, URI, in_flight=3, seconds=60.0, most_bytes=1 << 20, retry=RETRY)

    assert (found.level, rate.level) == ("failed", "failed")
    assert found.text.startswith("the server failed (HTTP 500) (gave up after 2 attempts")
    assert rate.text.startswith("the server failed (HTTP 500) (gave up after 2 attempts")


def test_a_far_bucket_is_a_warning() -> None:
    assert judge_first_byte([0.3] * 20, Retries(), URI).level == "warning"
    assert judge_first_byte([0.1] * 20, Retries(), URI).level == "ok"


async def test_a_rate_is_measured_over_no_more_bytes_than_are_allowed() -> None:
    store = Counting()
    router, objects = await filled(store, 1000, 3000)

    found = await check_rate(router, objects, URI, in_flight=2, seconds=60.0, most_bytes=20_000, retry=RETRY)

    assert found.level == "ok"
    assert (found.name, store.gets, store.bytes) == ("2 in flight", 10, 20_000)


async def test_of_a_large_object_a_part_is_read_again_and_again() -> None:
    store = Counting()
    router, objects = await filled(store, 20 << 20)

    await check_rate(router, objects, URI, in_flight=1, seconds=60.0, most_bytes=16 << 20, retry=RETRY)

    assert (store.gets, store.bytes) == (2, 16 << 20)


@in_virtual_time
async def test_a_server_that_is_silent_is_waited_for_a_little_longer() -> None:
    class Silent(Counting):
        async def get(self, uri: str, **about: Any) -> Any:
            await asyncio.Event().wait()

    router, objects = await filled(Silent(), 100)

    found = await check_rate(router, objects, URI, in_flight=2, seconds=2.0, most_bytes=1 << 20, retry=RETRY)

    assert asyncio.get_running_loop().time() == 7.0
    assert found.level == "failed"
    assert found.text.startswith("nothing came within 7.0 s")


def test_a_server_that_throttles_is_left_to_the_loader() -> None:
    rate = Rate(10, 1000, 2.0, Retries(3, Throttled("s3://b/k: slower (HTTP 503 SlowDown)", key="s3://b/k")))

    found = judge_rate(rate, 64, URI)

    assert found.text == "5 objects/s, 0.0 MB/s; 3 asked again: slower (HTTP 503 SlowDown)"
    assert "max_in_flight=None" in found.advice


def test_other_errors_bring_their_own_advice() -> None:
    rate = Rate(10, 1000, 2.0, Retries(1, ConnectionLost("s3://b/k: lost; look at the cable", key="s3://b/k")))

    assert judge_rate(rate, 64, URI).advice == "look at the cable"


@pytest.mark.parametrize("name", ["1 in flight", "64 in flight"])
def test_the_name_says_how_many(name: str) -> None:
    assert judge_rate(Rate(1, 1, 1.0), int(name.split()[0]), URI).name == name
