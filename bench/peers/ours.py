"""This project: the store alone, the engine around it, the dataset as a training loop sees it, and both loaders."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from torch.utils.data import DataLoader

# The store is imported with its first use otherwise, which would count as memory and as the time to a first batch.
import asyncio_loader.stores.s3.store  # noqa: F401
from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, S3Options
from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.records import ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.router import StoreRouter
from bench.measure import Cost, cost_of
from bench.peers.images import decode, decode_to_tensor
from bench.peers.tasks import BUCKET, REGION, GetTask, LoadTask, key_of, run_tasks

__all__ = [
    "get_from_store",
    "get_through_aiohttp",
    "get_through_dataset",
    "get_through_engine",
    "load",
    "load_with_workers",
]


def get_from_store(task: GetTask) -> Cost:
    """`StoreRouter.get`, with whatever transport is the default."""
    return _get(task, _storage(task))


def get_through_aiohttp(task: GetTask) -> Cost:
    """`StoreRouter.get` over aiohttp."""
    return _get(task, dataclasses.replace(_storage(task), transport="aiohttp"))


def get_through_engine(task: GetTask) -> Cost:
    """The prefetcher around it: window, retry policy, restored order."""

    async def main() -> Cost:
        store = StoreRouter(_storage(task), max_connections=task.in_flight)
        await _prefetch(store, task, task.warm_gets)
        with cost_of() as cost:
            await _prefetch(store, task, task.gets)
        await store.aclose()
        return cost

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def get_through_dataset(task: GetTask) -> Cost:
    """What `AsyncIterableDataset` hands to a loop in another thread."""
    dataset = AsyncIterableDataset(
        [f"s3://{BUCKET}/{task.key(number)}" for number in range(task.warm_gets + task.gets)],
        options=_fetch_options(task),
        storage=_storage(task),
    )
    samples = iter(dataset)
    for _ in range(task.warm_gets):
        next(samples)
    with cost_of() as cost:
        sizes = {len(sample.data) for sample in samples}
    if sizes != {task.size_bytes}:
        raise ValueError(f"bodies of {sizes} bytes in place of {task.size_bytes}")
    return cost


def load(task: LoadTask) -> Iterator[list[Any]]:
    """`Loader`: one process."""
    with Loader(_dataset(task, _decode, task.in_flight), task.batch, threads=task.workers) as loader:
        yield from loader


def load_with_workers(task: LoadTask) -> Iterator[list[Any]]:
    """Our dataset in a torch DataLoader, whose workers have their share of the GETs in flight each."""
    dataset = _dataset(task, _decode_to_tensor, max(1, task.in_flight // task.workers))
    loader: DataLoader[Any] = DataLoader(dataset, task.batch, num_workers=task.workers, collate_fn=list)
    yield from loader


def _get(task: GetTask, storage: S3Options) -> Cost:
    @asynccontextmanager
    async def open_get() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
        store = StoreRouter(storage, max_connections=task.in_flight)

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
    await Prefetcher(store, Agenda(jobs), options=_fetch_options(task), deliver=consume, counters=counters).run()
    if counters.bytes_fetched != count * task.size_bytes:
        raise ValueError(f"{counters.bytes_fetched} bytes in place of {count * task.size_bytes}")


def _fetch_options(task: GetTask) -> FetchOptions:
    # A window that holds back nothing: what is in flight, and as much again that waits for its turn.
    default = FetchOptions()
    return FetchOptions(
        max_in_flight=task.in_flight,
        max_in_flight_per_node=max(task.in_flight, default.max_in_flight_per_node),
        window_bytes=max(default.window_bytes, 2 * task.in_flight * task.size_bytes),
        window_items=max(default.window_items, 2 * task.in_flight),
    )


def _storage(task: GetTask) -> S3Options:
    return S3Options(endpoint_url=task.endpoint_url, region_name=REGION, ca_bundle=task.ca_bundle)


def _dataset(task: LoadTask, transform: Callable[[Any], Any], in_flight: int) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        [f"s3://{BUCKET}/{key_of(number)}" for number in range(task.images)],
        transform=transform,
        shuffle=True,
        seed=1,
        batch_size=task.batch,
        options=FetchOptions(
            max_in_flight=in_flight,
            max_in_flight_per_node=max(task.in_flight, FetchOptions().max_in_flight_per_node),
        ),
        storage=S3Options(endpoint_url=task.endpoint_url, region_name=REGION),
    )


def _decode(fetched: Any) -> Any:
    return decode(fetched.data)


def _decode_to_tensor(fetched: Any) -> Any:
    return decode_to_tensor(fetched.data)
