"""What people use today: boto3 in threads and in a DataLoader, and aioboto3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aioboto3
import boto3
from botocore.config import Config
from torch.utils.data import DataLoader

from bench.measure import Cost
from bench.peers.images import decode_to_tensor
from bench.peers.tasks import BUCKET, GetTask, LoadTask, run_tasks, run_threads

__all__ = ["get_with_aioboto3", "get_with_boto3", "load", "open_loader"]


def get_with_boto3(task: GetTask) -> Cost:
    """`get_object` and `read`, a thread for each GET in flight, one client."""
    client = boto3.session.Session().client("s3", **_place(task))
    return run_threads(task, lambda key: len(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()))


def get_with_aioboto3(task: GetTask) -> Cost:
    """The same, awaited."""

    @asynccontextmanager
    async def open_get() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
        async with aioboto3.Session().client("s3", **_place(task)) as client:

            async def get(key: str) -> int:
                answer = await client.get_object(Bucket=BUCKET, Key=key)
                return len(await answer["Body"].read())

            yield get

    return run_tasks(task, open_get)


def load(task: LoadTask) -> Iterator[list[Any]]:
    """The DataLoader that one finds in most repositories."""
    yield from open_loader(task.endpoint_url, task.shuffled_keys(), batch=task.batch, workers=task.workers)


def open_loader(endpoint_url: str, keys: list[str], *, batch: int, workers: int) -> DataLoader[Any]:
    """The same, of any keys: its batches are lists of tensors."""
    dataset: Any = _Images(endpoint_url, keys)
    return DataLoader(dataset, batch, shuffle=True, num_workers=workers, collate_fn=list)


class _Images:
    """Map-style; the client is made in the worker, at the first item."""

    def __init__(self, endpoint_url: str, keys: list[str]) -> None:
        self._endpoint_url = endpoint_url
        self._keys = keys
        self._client: Any = None

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Any:
        if self._client is None:
            self._client = boto3.session.Session().client("s3", endpoint_url=self._endpoint_url)
        return decode_to_tensor(self._client.get_object(Bucket=BUCKET, Key=self._keys[index])["Body"].read())


def _place(task: GetTask) -> dict[str, Any]:
    config = Config(max_pool_connections=task.in_flight, s3={"addressing_style": "path"})
    return {"endpoint_url": task.endpoint_url, "config": config, "verify": task.ca_bundle}
