"""SPDL's pipeline with obstore: fetching in its loop, decoding in its threads, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import obstore
from spdl.pipeline import PipelineBuilder

from bench.peers.images import decode
from bench.peers.rust import open_store
from bench.peers.tasks import LoadTask

__all__ = ["load"]

_BATCHES_AHEAD = 4


def load(task: LoadTask) -> Iterator[list[Any]]:
    """Three stages and a queue of batches."""
    store = open_store(task.endpoint_url)

    async def fetch(key: str) -> Any:
        return await (await obstore.get_async(store, key)).bytes_async()

    pipeline = (
        PipelineBuilder()
        .add_source(task.shuffled_keys())
        .pipe(fetch, concurrency=task.in_flight, output_order="input")
        .pipe(decode, concurrency=task.workers, output_order="input")
        .aggregate(task.batch)
        .add_sink(_BATCHES_AHEAD)
        .build(num_threads=task.workers)
    )
    with pipeline.auto_stop():
        yield from pipeline
