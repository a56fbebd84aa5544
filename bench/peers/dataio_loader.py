"""dataio-rs: fetching, decoding and batching in Rust, with a decoder of its own. A batch is one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dataio
import torch  # noqa: F401 - it is imported with the first batch otherwise

from bench.peers.tasks import BUCKET, LoadTask

__all__ = ["load"]

# It fetches for as many batches as it may hold, and needs four times those in flight: sixteen of 16 for 64 GETs.
_HELD_OF_FLIGHT = 4


def load(task: LoadTask) -> Iterator[Any]:
    """In order, as all others deliver."""
    dataio.configure_credentials("s3", method="default")
    dataio.configure_endpoint("s3", task.endpoint_url)
    ahead = _HELD_OF_FLIGHT * -(-task.in_flight // task.batch)
    pipeline = dataio.pipeline(dataio.slot("image").decode_image(mode="rgb"), dataio.batch(task.batch, prefetch=ahead))
    records = [{"key": key, "image": f"s3://{BUCKET}/{key}"} for key in task.shuffled_keys()]
    loading = pipeline.bind(records).run("torch", concurrency=task.in_flight, order="submit", on_failure="strict")
    with loading as loader:
        for batch in loader:
            yield batch["image"]
