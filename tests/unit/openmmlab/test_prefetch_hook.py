from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.evaluator import Evaluator
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import ConfigError
from asyncio_loader.openmmlab.prefetch import PrefetchDataset
from asyncio_loader.openmmlab.prefetch_hook import PrefetchHook
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT, ImagesOfCase, images
from tests.unit.openmmlab.runner_case import INSIDE, Notes, Numbers, OneWeight, make_runner


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Simulator]:
    with S3Simulator(images()) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


def orders(epochs: int) -> list[list[int]]:
    """The numbers as they come in each epoch."""
    dataset = PrefetchDataset(INSIDE, batch_size=3)
    made = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        made.append([sample["number"] for sample in dataset])
    return made


def test_it_stands_in_for_mmengines_own_hook() -> None:
    assert HOOKS.get("DistSamplerSeedHook") is HOOKS.get("PrefetchHook") is PrefetchHook


@pytest.mark.parametrize("workers", [0, 2])
def test_a_runner_goes_through_every_epoch_in_an_order_of_its_own(
    simulator: S3Simulator, tmp_path: Path, workers: int
) -> None:
    expected = orders(2)
    notes = Notes()
    make_runner(tmp_path, notes, {"by_epoch": True, "max_epochs": 2}, workers).train()

    assert [number for batch in notes.batches for number in batch] == expected[0] + expected[1]
    assert expected[0] != expected[1]
    assert {len(batch) for batch in notes.batches} == {3, COUNT % 3}


def test_by_iterations_each_pass_is_an_epoch_without_a_pause(
    simulator: S3Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: float) -> None:
        pytest.fail("mmengine's own iterator sleeps")

    monkeypatch.setattr("mmengine.runner.loops.time", SimpleNamespace(sleep=refuse))
    expected = orders(2)
    notes = Notes()
    make_runner(tmp_path, notes, {"by_epoch": False, "max_iters": 6}).train()

    numbers = [number for batch in notes.batches for number in batch]
    assert numbers[:COUNT] == expected[0]
    assert numbers[COUNT:] == expected[1][: len(numbers) - COUNT]


def test_validation_sees_every_image_once(simulator: S3Simulator, tmp_path: Path) -> None:
    runner = Runner(
        model=OneWeight(),
        work_dir=str(tmp_path),
        val_dataloader={
            "batch_size": 4,
            "num_workers": 0,
            "sampler": None,
            "dataset": {"type": "PrefetchDataset", "dataset": {**INSIDE, "test_mode": True}},
        },
        val_cfg={},
        val_evaluator=Evaluator(Numbers()),
        experiment_name=tmp_path.name,
        log_level="ERROR",
    )

    assert runner.val() == {"sum": sum(range(COUNT))}
    assert len(simulator.requests()) == COUNT


def loop_over(dataset: Any, batch_size: int = 3, **attributes: Any) -> Any:
    dataloader = SimpleNamespace(dataset=dataset, batch_size=batch_size, **attributes)
    return SimpleNamespace(dataloader=dataloader, epoch=0, iter=0)


def test_before_training_it_says_that_batch_sizes_differ() -> None:
    dataset = PrefetchDataset(ImagesOfCase(), batch_size=2)
    with pytest.raises(ConfigError, match="batch_size=2, but the dataloader's is 3"):
        PrefetchHook().before_train(SimpleNamespace(train_loop=loop_over(dataset)))


def test_before_testing_it_fills_in_the_batch_size() -> None:
    dataset = PrefetchDataset(ImagesOfCase())
    PrefetchHook().before_test_epoch(SimpleNamespace(test_loop=loop_over(dataset)))
    assert dataset.batch_size == 3


@pytest.fixture
def two_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.openmmlab.prefetch_hook.get_world_size", lambda: 2)


@pytest.mark.usefixtures("two_ranks")
def test_evaluation_on_many_ranks_has_samples_dealt_one_by_one_whatever_the_dataset_is_for() -> None:
    dataset = PrefetchDataset(ImagesOfCase())
    dataset.set_rank(0, 2)
    assert len(dataset) == -(-COUNT // 2)

    PrefetchHook().before_val_epoch(SimpleNamespace(val_loop=loop_over(dataset)))

    assert len(dataset) == COUNT
    assert dataset.plan(3).interleaved


@pytest.mark.usefixtures("two_ranks")
def test_evaluation_on_many_ranks_refuses_datasets_that_tell_one_ranks_length() -> None:
    runner = SimpleNamespace(val_loop=loop_over(AsyncIterableDataset(["s3://bucket/a"])))
    with pytest.raises(ConfigError, match=r"val_dataloader: on 2 ranks .* AsyncIterableDataset tells one rank's"):
        PrefetchHook().before_val_epoch(runner)


@pytest.mark.usefixtures("two_ranks")
def test_evaluation_on_many_ranks_refuses_to_leave_samples_out() -> None:
    runner = SimpleNamespace(test_loop=loop_over(PrefetchDataset(ImagesOfCase(), on_error="skip")))
    with pytest.raises(ConfigError, match="on_error='skip' leaves samples out"):
        PrefetchHook().before_test_epoch(runner)


@pytest.mark.usefixtures("two_ranks")
def test_evaluation_of_another_dataset_on_many_ranks_is_left_alone() -> None:
    PrefetchHook().before_val_epoch(SimpleNamespace(val_loop=loop_over(ImagesOfCase())))


@pytest.mark.parametrize(("workers", "is_refused"), [(2, True), (1, False), (0, False)])
def test_another_batch_size_is_refused_where_the_order_depends_on_it(workers: int, is_refused: bool) -> None:
    loop = loop_over(AsyncIterableDataset(["s3://bucket/a"], batch_size=2), num_workers=workers)
    runner = SimpleNamespace(train_loop=loop)

    if is_refused:
        with pytest.raises(ConfigError, match="train_dataloader: batch_size=3, but its AsyncIterableDataset has batch"):
            PrefetchHook().before_train(runner)
    else:
        PrefetchHook().before_train(runner)


def test_for_other_datasets_it_is_mmengines_own_hook() -> None:
    epochs: list[int] = []
    loop = loop_over(ImagesOfCase(), sampler=SimpleNamespace(set_epoch=epochs.append))
    runner = SimpleNamespace(train_loop=loop, epoch=5, iter=7)

    hook = PrefetchHook()
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 0)

    assert isinstance(hook, DistSamplerSeedHook)
    assert epochs == [5]


def test_loops_of_others_may_have_several_dataloaders_or_none() -> None:
    datasets = [PrefetchDataset(ImagesOfCase()), PrefetchDataset(ImagesOfCase())]
    loaders = [SimpleNamespace(dataset=dataset, batch_size=3, num_workers=0) for dataset in datasets]
    hook, runner = PrefetchHook(), SimpleNamespace(val_loop=SimpleNamespace(dataloaders=loaders))
    runner.train_loop = runner.test_loop = SimpleNamespace()

    for moment in (hook.before_train, hook.before_val_epoch, hook.before_test_epoch):
        moment(runner)
    hook.after_train_iter(runner, 0)

    assert [dataset.batch_size for dataset in datasets] == [3, 3]
