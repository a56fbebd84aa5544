"""LitData's `StreamingRawDataset`: asyncio and obstore in each worker, without look-ahead where the order is shuffled.

The workers start by spawning, as its README advises.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from litdata import StreamingRawDataset
from litdata.raw.indexer import FileIndexer
from litdata.streaming import downloader
from torch.utils.data import DataLoader, RandomSampler

from bench.peers.images import decode_to_tensor
from bench.peers.tasks import BUCKET, PREFIX, LoadTask

__all__ = ["load"]

# It refuses http otherwise, and has no option for it.
downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"  # type: ignore[typeddict-unknown-key]


def load(task: LoadTask) -> Iterator[list[Any]]:
    """It lists the bucket by itself; that is part of the time to the first batch."""
    with tempfile.TemporaryDirectory(prefix="bench-litdata-") as directory:
        dataset = StreamingRawDataset(
            f"s3://{BUCKET}/{PREFIX}/",
            cache_dir=directory,
            indexer=_Indexer(),
            storage_options={"endpoint_url": task.endpoint_url},
            transform=_decode,
        )
        loader: DataLoader[Any] = DataLoader(
            dataset,
            task.batch,
            # It lists all that there is, which may be more.
            sampler=RandomSampler(dataset, num_samples=task.images),
            num_workers=task.workers,
            multiprocessing_context="spawn",
            collate_fn=list,
        )
        yield from loader


class _Indexer(FileIndexer):
    """Keeps its list of the bucket to itself: the server takes no uploads, and it would try for ten seconds."""

    def _upload_to_cloud(self, *_: Any) -> None:
        return


def _decode(data: bytes) -> Any:
    # Here, so that a worker imports this module with it, and http is allowed there, too.
    return decode_to_tensor(data)
