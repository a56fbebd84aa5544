"""s3torchconnector: Amazon's client in C under Mountpoint's in Rust. It has no option for an authority to trust."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from s3torchconnector import S3ClientConfig, S3MapDataset
from s3torchconnector._s3client import S3Client
from torch.utils.data import DataLoader

from bench.measure import Cost
from bench.peers.images import decode_to_tensor
from bench.peers.tasks import BUCKET, REGION, GetTask, LoadTask, run_threads

__all__ = ["get", "load"]

_CONFIG = S3ClientConfig(force_path_style=True)


def get(task: GetTask) -> Cost:
    """`read` of a reader, which blocks: a thread for each GET in flight."""
    if task.ca_bundle:
        raise NotImplementedError("it has no option for an authority to trust")
    client = S3Client(REGION, endpoint=task.endpoint_url, s3client_config=_CONFIG)
    return run_threads(task, lambda key: len(client.get_object(BUCKET, key).read()))


def load(task: LoadTask) -> Iterator[list[Any]]:
    """Its map-style dataset in a torch DataLoader, which shuffles."""
    dataset = S3MapDataset.from_objects(
        [f"s3://{BUCKET}/{key}" for key in sorted(task.shuffled_keys())],
        region=REGION,
        endpoint=task.endpoint_url,
        transform=_decode,
        s3client_config=_CONFIG,
    )
    loader: DataLoader[Any] = DataLoader(dataset, task.batch, shuffle=True, num_workers=task.workers, collate_fn=list)
    yield from loader


def _decode(reader: Any) -> Any:
    return decode_to_tensor(reader.read())
