"""This project without torch: the store alone, and the engine around it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvloop

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.records import ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.router import StoreRouter
from bench.measure import Cost, cost_of
from bench.peers.tasks import BUCKET, REGION, GetTask, run_tasks

__all__ = ["fetch_options", "get_from_store", "get_through_aiohttp", "get_through_engine", "place_of"]


def get_from_store(task: GetTask) -> Cost:
    """`StoreRouter.get`, with whatever transport is the default."""
    return _get(task, place_of(task))


def get_through_aiohttp(task: GetTask) -> Cost:
    """`StoreRouter.get` over aiohttp."""
    return _get(task, dataclasses.replace(place_of(task), transport="aiohttp"))


def get_through_engine(task: GetTask) -> Cost:
    """The prefetcher around it: window, retry policy, restored order."""

    async def main() -> Cost:
        store = StoreRouter(place_of(task), max_connections=task.in_flight, pool_bytes=_pool_bytes(task))
        await _prefetch(store, task, task.warm_gets)
        with cost_of() as cost:
            await _prefetch(store, task, task.gets)
        await store.aclose()
        return cost

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _get(task: GetTask, storage: S3Options) -> Cost:
    @asynccontextmanager
    async def open_get() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
        store = StoreRouter(storage, max_connections=task.in_flight, pool_bytes=_pool_bytes(task), verify=task.verify)

        async def get(key: str) -> int:
            return len(await store.get(f"s3://{BUCKET}/{key}"))

        yield get
        await store.aclose()

    return run_tasks(task, open_get)


async def _prefetch(store: StoreRouter, task: GetTask, count: int) -> None:
    counters = Counters()

    def consume(delivery: Delivery) -> None:
        delivery.credit.release()

    jobs = (Job(ObjectRef(f"s3://{BUCKET}/{task.key(number)}"), Slot(number, number)) for number in range(count))
    await Prefetcher(store, Agenda(jobs), options=fetch_options(task), deliver=consume, counters=counters).run()
    if counters.bytes_fetched != count * task.size_bytes:
        raise ValueError(f"{counters.bytes_fetched} bytes in place of {count * task.size_bytes}")


def fetch_options(task: GetTask) -> FetchOptions:
    """A window that holds back nothing: what is in flight, and as much again that waits for its turn."""
    default = FetchOptions()
    return FetchOptions(
        max_in_flight=task.in_flight,
        max_in_flight_per_node=max(task.in_flight, default.max_in_flight_per_node),
        window_bytes=max(default.window_bytes, 2 * task.in_flight * task.size_bytes),
        window_items=max(default.window_items, 2 * task.in_flight),
    )


def _pool_bytes(task: GetTask) -> int:
    """What a `Session` gives the store for the window of `fetch_options`."""
    return fetch_options(task).window_bytes * 9 // 8


def place_of(task: GetTask) -> S3Options:
    """Where the objects are."""
    return S3Options(endpoint_url=task.endpoint_url, region_name=REGION, ca_bundle=task.ca_bundle)
