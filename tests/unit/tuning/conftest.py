from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.tuning.measurement import Measurement, Task

Measured = Callable[..., Measurement]


@pytest.fixture
def task() -> Task:
    return Task(
        objects=[("s3://bucket/a.jpg", 100_000), ("s3://bucket/b.jpg", 130_000)],
        storage=S3Options(endpoint_url="http://minio:9000"),
        options=FetchOptions(),
        seconds=5.0,
    )


@pytest.fixture
def measured() -> Measured:
    """A measurement of a second with so many images."""

    def make(concurrency: int, samples: int, **others: float) -> Measurement:
        fields = {
            "elapsed_s": 1.0,
            "gets": samples,
            "retries": 0,
            "bytes_fetched": samples * 100_000,
            "cpu_s": samples * 100e-6,
            "latency_p50_s": 0.030,
            "latency_p95_s": 0.090,
            "latency_p99_s": 0.150,
            "wait_share": 0.5,
            "peak_rss_bytes": 300 * 1024 * 1024,
            "base_rss_bytes": 200 * 1024 * 1024,
        }
        return Measurement(concurrency=concurrency, samples=samples, **fields | others)  # type: ignore[arg-type]

    return make
