"""This project as a training loop sees it: the dataset, and both loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

# The store is imported with its first use otherwise, which would count as memory and as the time to a first batch.
import asyncio_loader.stores.s3.store  # noqa: F401
from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, S3Options
from bench.measure import Cost, cost_of
from bench.peers.images import decode, decode_to_tensor
from bench.peers.ours import fetch_options, place_of
from bench.peers.tasks import BUCKET, REGION, GetTask, LoadTask, key_of

__all__ = ["get_through_dataset", "load", "load_with_workers"]


def get_through_dataset(task: GetTask) -> Cost:
    """What `AsyncIterableDataset` hands to a loop in another thread."""
    dataset = AsyncIterableDataset(
        [f"s3://{BUCKET}/{task.key(number)}" for number in range(task.warm_gets + task.gets)],
        options=fetch_options(task),
        storage=place_of(task),
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
    with Loader(_dataset(task, _decode), task.batch, threads=task.workers) as loader:
        yield from loader


def load_with_workers(task: LoadTask) -> Iterator[list[Any]]:
    """Our dataset in a torch DataLoader."""
    dataset = _dataset(task, _decode_to_tensor)
    loader: DataLoader[Any] = DataLoader(dataset, task.batch, num_workers=task.workers, collate_fn=list)
    yield from loader


def _dataset(task: LoadTask, transform: Callable[[Any], Any]) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        [f"s3://{BUCKET}/{key_of(number)}" for number in range(task.images)],
        transform=transform,
        shuffle=True,
        seed=1,
        batch_size=task.batch,
        options=FetchOptions(window_bytes=task.window_bytes),
        storage=S3Options(endpoint_url=task.endpoint_url, region_name=REGION),
    )


def _decode(fetched: Any) -> Any:
    return decode(fetched.data)


def _decode_to_tensor(fetched: Any) -> Any:
    return decode_to_tensor(fetched.data)
