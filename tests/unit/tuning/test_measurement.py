from __future__ import annotations

import dataclasses
import json

import pytest

from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import ObjectRef
from asyncio_loader.trace import TraceFile
from asyncio_loader.tuning.measurement import Measurement, Task, options_for, percentile

MIB = 1024 * 1024


def test_a_task_crosses_as_text(task: Task) -> None:
    task = dataclasses.replace(task, options=FetchOptions(max_in_flight=7, retry=RetryPolicy(max_attempts=2)))
    traced = dataclasses.replace(task, trace=TraceFile("/tmp/trace.json", max_bytes=MIB, label="x"))

    assert Task.load(task.dump()) == task
    assert Task.load(traced.dump()) == traced


def test_each_setting_has_a_name_in_the_trace(task: Task) -> None:
    traced = dataclasses.replace(task, trace=TraceFile("/tmp/trace.json"))

    assert traced.with_concurrency(64).trace == TraceFile("/tmp/trace.json", label="64 in flight")
    assert task.with_concurrency(64).trace is None


def test_the_loader_is_told_the_sizes_of_the_listing(task: Task) -> None:
    assert task.refs == [ObjectRef("s3://bucket/a.jpg", 100_000), ObjectRef("s3://bucket/b.jpg", 130_000)]


def test_what_is_enough_by_default_stays_as_it_is() -> None:
    assert options_for(64, 1, 115_000) == FetchOptions(max_in_flight=64)


@pytest.mark.parametrize(
    ("concurrency", "processes", "mean_bytes", "raised"),
    [
        (600, 1, 1000, {"max_in_flight_per_node": 600, "window_items": 1200}),
        (200, 4, 1000, {"max_in_flight_per_node": 800}),
        (256, 1, MIB, {"window_bytes": 512 * MIB}),
        (3, 1, 20 * MIB + 1, {"window_bytes": 121 * MIB}),
    ],
)
def test_nothing_else_stops_the_gets_before(
    concurrency: int, processes: int, mean_bytes: float, raised: dict[str, int]
) -> None:
    assert options_for(concurrency, processes, mean_bytes) == FetchOptions(max_in_flight=concurrency, **raised)


def test_a_task_gets_its_options_by_the_mean_size_and_the_workers(task: Task) -> None:
    changed = dataclasses.replace(task, objects=[("a", MIB), ("b", 3 * MIB), ("c", None)], workers=8)

    options = changed.with_concurrency(100).options

    assert (options.max_in_flight, options.max_in_flight_per_node) == (100, 800)
    assert options.window_bytes == 400 * MIB


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.99, 7.0), ([1, 2, 3, 4], 0.5, 2), ([1, 2, 3, 4], 0.51, 3), (range(1, 101), 0.99, 99)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_what_a_measurement_says_per_second_and_get() -> None:
    measurement = Measurement(
        concurrency=4,
        elapsed_s=2.0,
        samples=200,
        gets=240,
        retries=40,
        bytes_fetched=20_000_000,
        cpu_s=0.024,
        latency_p50_s=0.0,
        latency_p95_s=0.0,
        latency_p99_s=0.0,
        wait_share=0.0,
        peak_rss_bytes=0,
        base_rss_bytes=0,
    )

    assert (measurement.rate, measurement.mb_per_s) == (100.0, 10.0)
    assert measurement.cpu_us_per_get == pytest.approx(100)
    assert json.loads(json.dumps(measurement.as_dict()))["rate"] == 100.0
