"""What a DataLoader's workers make of a `PrefetchDataset`: one order, one GET for each image, from any start method."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.openmmlab.prefetch import PrefetchDataset
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT, ImagesOfCase, images, seen

# A spawned worker imports torch and mmengine anew, for seconds: two of these will do.
WORKERS = [("fork", workers, persistent) for workers in (1, 2, 4) for persistent in (False, True)]
WORKERS += [("spawn", 2, False), ("spawn", 4, True)]


@pytest.fixture(scope="module")
def _server() -> Iterator[S3Simulator]:
    with S3Simulator(images()) as simulator:
        yield simulator


@pytest.fixture
def simulator(_server: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> S3Simulator:
    for name, value in _server.environ.items():
        monkeypatch.setenv(name, value)
    _server.requests(clear=True)
    return _server


def make_loader(dataset: Any, workers: int, start: str | None = None, *, persistent: bool = False) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context=start,
        persistent_workers=persistent,
    )


def epoch_of(loader: DataLoader[Any]) -> list[tuple[int, int]]:
    return seen(sample for batch in loader for sample in batch)


@pytest.mark.parametrize(("start", "workers", "persistent"), WORKERS)
def test_two_epochs_are_the_same_from_any_workers(
    simulator: S3Simulator, start: str, workers: int, persistent: bool
) -> None:
    dataset = PrefetchDataset(ImagesOfCase(), batch_size=2, seed=4)
    if persistent:
        # Else they begin a third one.
        dataset.epochs = 2
    loaders = [make_loader(dataset, 0), make_loader(dataset, workers, start, persistent=persistent)]

    expected, got = [], []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        expected.append(epoch_of(loaders[0]))
        got.append(epoch_of(loaders[1]))

    assert got == expected
    assert expected[0] != expected[1]
    assert sorted(expected[0]) == sorted(expected[1])
    # Two epochs of two loaders, and nothing is fetched twice.
    assert Counter(request.key for request in simulator.requests()) == dict.fromkeys(images(), 4)


def test_a_missing_image_is_named_out_of_a_worker(simulator: S3Simulator) -> None:
    with pytest.raises(ObjectNotFound, match=r"images/11\.png"):
        epoch_of(make_loader(PrefetchDataset(ImagesOfCase(count=COUNT + 1), batch_size=2), 1, "fork"))


def test_workers_may_be_forked_after_the_dataset_was_used_in_the_parent(simulator: S3Simulator) -> None:
    dataset = PrefetchDataset(ImagesOfCase(), batch_size=2)
    iterator = iter(dataset)
    next(iterator)

    assert sorted(epoch_of(make_loader(dataset, 2, "fork"))) == [(n, n) for n in range(COUNT)]
    assert len(list(iterator)) == COUNT - 1
    assert multiprocessing.active_children() == []
