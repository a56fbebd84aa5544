from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader.bridge.worker_counters import WorkerCounters
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.openmmlab.scalars import LoaderScalars
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT, images
from tests.unit.openmmlab.runner_case import Notes, make_runner


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Simulator]:
    with S3Simulator(images()) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


def dataset(count: int = 4) -> AsyncIterableDataset:
    uris = [f"memory://{n}" for n in range(count)]
    return AsyncIterableDataset(uris, storage=MemoryStore(dict.fromkeys(uris, b"x")))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_scalars_of_a_runner_have_the_loaders_figures(simulator: S3Simulator, tmp_path: Path, workers: int) -> None:
    """Counted where samples are made, in this process or in workers."""
    runner = make_runner(
        tmp_path, Notes(), {"by_epoch": True, "max_epochs": 2}, workers, LoggerHook(interval=1, ignore_last=False)
    )
    runner.train()

    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert len(lines) == runner.iter
    assert {name for name in lines[-1] if name.startswith("loader/")} == {
        "loader/samples_per_s",
        "loader/mb_per_s",
        "loader/wait_share",
        "loader/in_flight",
        "loader/level",
        "loader/buffer_mb",
    }
    assert lines[-1]["loader/samples_per_s"] > 0
    assert lines[-1]["loader/level"] >= max(1, workers)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "PrefetchHook")
    assert hook._scalars._stats().samples == 2 * COUNT
    assert not any("/loader/" in name for name in runner.message_hub.state_dict()["log_scalars"])


def test_the_share_of_waiting_is_the_loops() -> None:
    hub = MessageHub.get_instance(f"test-{uuid4().hex}")
    hub.update_scalar("train/time", 0.5)
    hub.update_scalar("train/data_time", 0.1)
    LoaderScalars(dataset(), 0).write(hub)

    assert hub.get_scalar("train/loader/wait_share").current() == pytest.approx(0.2)


def test_counts_of_all_workers_add_up_and_the_rest_is_of_the_latest() -> None:
    data = dataset()
    scalars = LoaderScalars(data, 2)
    shared = data.share_counters()
    for worker, samples, in_flight in ((0, 5, 9), (1, 6, 3), (0, 7, 4)):
        counters = shared.claim(worker)
        counters.samples, counters.in_flight, counters.level = samples, in_flight, 8
    stats = scalars._stats()

    assert (stats.samples, stats.in_flight, stats.level) == (18, 7, 16)


def test_a_full_disk_takes_the_figures_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(counters: WorkerCounters) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WorkerCounters, "__init__", full)
    hub = MessageHub.get_instance(f"test-{uuid4().hex}")
    with caplog.at_level(logging.WARNING):
        scalars = LoaderScalars(dataset(), 2)
    scalars.write(hub)

    assert caplog.messages == ["the loader's figures will be missing in the log: No space left on device"]
    assert hub.get_scalar("train/loader/in_flight").current() == 0
