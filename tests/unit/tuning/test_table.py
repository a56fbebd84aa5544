from __future__ import annotations

import dataclasses

import pytest

from asyncio_loader.tuning.measurement import Task
from asyncio_loader.tuning.table import describe_task, format_table
from tests.unit.tuning.conftest import Measured


def test_a_row_for_each_measurement_and_a_mark_at_the_knee(task: Task, measured: Measured) -> None:
    lines = format_table([measured(16, 400), measured(64, 1970, retries=3)], task, 64).splitlines()

    assert lines[:4] == [
        "in flight  img/s   MB/s  CPU µs/GET  p50 ms  p95 ms  p99 ms  waits  retries  peak RSS MiB",
        "---------  -----  -----  ----------  ------  ------  ------  -----  -------  ------------",
        "       16    400   40.0         100    30.0    90.0   150.0    50%        0           300",
        "       64  1,970  197.3         100    30.0    90.0   150.0    50%        3           300  <- knee",
    ]


@pytest.mark.parametrize(
    ("changes", "described", "waits"),
    [
        ({}, "2 objects, 115 KB on average; fetched, 5 s per setting", "the consumer waited"),
        ({"decode": True, "threads": 1}, "decoded in 1 thread, 5 s", "of the decoding threads' time"),
        ({"decode": True, "workers": 2}, "decoded in 2 DataLoader workers, 5 s", "of the workers' time"),
        ({"workers": 1}, "fetched in 1 DataLoader worker, 5 s", "of the workers' time"),
    ],
)
def test_who_waits_is_said(task: Task, measured: Measured, changes: dict[str, int], described: str, waits: str) -> None:
    task = dataclasses.replace(task, **changes)  # type: ignore[arg-type]

    assert described in describe_task(task)
    assert waits in format_table([measured(16, 400)], task, None)


def test_sizes_that_nobody_knows_are_not_made_up(task: Task) -> None:
    assert describe_task(dataclasses.replace(task, objects=[("a", None)])).startswith("1 object; fetched")
