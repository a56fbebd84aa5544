from __future__ import annotations

import copy
import gc
import logging
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.bridge.worker_counters import WorkerCounters
from asyncio_loader.stats import NUMBERS, LoaderStats


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files are."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_worker_counts_can_be_read_at_once() -> None:
    shared = WorkerCounters()
    counters = shared.claim(3)
    counters.count_get(1)
    counters.count_get(2)
    counters.wait_s += 0.25

    assert shared.read() == [(3, LoaderStats(gets=2, retries=1, wait_s=0.25))]
    assert counters.snapshot() == LoaderStats(gets=2, retries=1, wait_s=0.25)
    assert type(counters.gets) is int


def test_shared_counters_have_every_number_that_counters_have() -> None:
    shared = WorkerCounters()
    counters = shared.claim(0)
    for value, name in enumerate(NUMBERS, start=1):
        setattr(counters, name, value)

    assert shared.read() == [(0, counters.snapshot())]
    assert len({getattr(counters, name) for name in NUMBERS}) == len(NUMBERS)


def test_nobody_has_begun() -> None:
    assert WorkerCounters().read() == []


def test_each_process_has_a_row_of_its_own_over_many_pages() -> None:
    shared = WorkerCounters()
    rows = [shared.claim(worker % 4) for worker in range(100)]
    for n, row in enumerate(rows):
        row.samples += n

    assert shared.read() == [(n % 4, LoaderStats(samples=n)) for n in range(100)]


def test_a_large_count_is_exact() -> None:
    shared = WorkerCounters()
    counters = shared.claim(0)
    counters.bytes_fetched = 2**53 - 1

    assert [stats.bytes_fetched for _, stats in shared.read()] == [2**53 - 1]


def _count(shared: WorkerCounters, worker: int, samples: int, *, is_killed: bool = False) -> None:
    counters = shared.claim(worker)
    for _ in range(samples):
        counters.samples += 1
    if is_killed:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_counts_of_processes_outlive_them(method: str) -> None:
    shared = WorkerCounters()
    context = multiprocessing.get_context(method)
    # At the same time, and of one number: what happens when an iteration is left and the next one has begun.
    processes: list[Any] = [
        context.Process(target=_count, args=(shared, 1, 5000)),
        context.Process(target=_count, args=(shared, 1, 7000), kwargs={"is_killed": True}),
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, -signal.SIGKILL]
    assert sorted(shared.read(), key=lambda row: row[1].samples) == [
        (1, LoaderStats(samples=5000)),
        (1, LoaderStats(samples=7000)),
    ]


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda shared: pickle.loads(pickle.dumps(shared))])
def test_a_copy_is_none(copied: Any) -> None:
    assert copied(WorkerCounters()) is None


def test_the_file_goes_with_the_object(folder: Path) -> None:
    shared = WorkerCounters()
    counters = shared.claim(0)
    assert len(list(folder.iterdir())) == 1

    del shared
    gc.collect()

    assert list(folder.iterdir()) == []
    counters.samples += 1


def test_a_forked_child_leaves_the_file_alone(folder: Path) -> None:
    shared = WorkerCounters()
    child = os.fork()
    if child == 0:
        is_own = shared.is_own
        del shared
        gc.collect()
        os._exit(is_own)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert shared.is_own
    assert len(list(folder.iterdir())) == 1


def test_where_the_file_is_gone_a_worker_counts_for_itself(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = WorkerCounters()
    shared.claim(0).samples += 2
    next(folder.iterdir()).unlink()

    with caplog.at_level(logging.WARNING):
        counters = shared.claim(1)
    counters.samples += 1

    assert "worker 1: its figures will be missing in the metrics" in caplog.text
    assert shared.read() == [(0, LoaderStats(samples=2))]
