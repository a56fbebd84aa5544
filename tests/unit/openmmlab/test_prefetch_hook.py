from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import DistSamplerSeedHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader.errors import ConfigError
from asyncio_loader.openmmlab.prefetch import PrefetchDataset
from asyncio_loader.openmmlab.prefetch_hook import PrefetchHook
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT, ImagesOfCase, images

INSIDE = {"type": "ImagesOfCase", "count": COUNT, "pipeline": [{"type": "LoadImageOfCase"}], "root": "s3://bucket/"}


class OneWeight(BaseModel):  # type: ignore[misc]  # mmengine ships no types
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, img: Any, number: Any, mode: str = "tensor", **_: Any) -> Any:
        return {"loss": self.weight.sum()} if mode == "loss" else number


class Numbers(BaseMetric):  # type: ignore[misc]
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += list(data_samples)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {"sum": float(sum(results))}


class Notes(Hook):  # type: ignore[misc]
    """The numbers of each batch of training."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.batches.append(data_batch["number"])


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Simulator]:
    with S3Simulator(images()) as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        yield server


def make_runner(work_dir: Path, notes: Notes, train_cfg: dict[str, Any], workers: int = 0, **options: Any) -> Runner:
    loader = {
        "batch_size": 3,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "sampler": None,
        "dataset": {"type": "PrefetchDataset", "dataset": INSIDE},
    }
    return Runner(
        model=OneWeight(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=train_cfg,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        custom_hooks=[notes],
        default_hooks={"checkpoint": None, "logger": None},
        experiment_name=work_dir.name,
        log_level="ERROR",
        **options,
    )


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


def test_a_resumed_runner_goes_on_with_the_epoch_that_is_next(simulator: S3Simulator, tmp_path: Path) -> None:
    expected = orders(2)
    notes = Notes()
    runner = make_runner(tmp_path, notes, {"by_epoch": True, "max_epochs": 2})
    runner.train_loop._epoch = 1

    runner.train()

    assert [number for batch in notes.batches for number in batch] == expected[1]


def test_by_iterations_each_pass_is_an_epoch(
    simulator: S3Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # mmengine waits for two seconds between passes.
    monkeypatch.setattr("mmengine.runner.loops.time.sleep", lambda _: None)
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
    return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset, batch_size=batch_size, **attributes))


def test_before_training_it_says_that_batch_sizes_differ() -> None:
    dataset = PrefetchDataset(ImagesOfCase(), batch_size=2)
    with pytest.raises(ConfigError, match="batch_size=2, but the dataloader's is 3"):
        PrefetchHook().before_train(SimpleNamespace(train_loop=loop_over(dataset)))


def test_before_testing_it_fills_in_the_batch_size() -> None:
    dataset = PrefetchDataset(ImagesOfCase())
    PrefetchHook().before_test_epoch(SimpleNamespace(test_loop=loop_over(dataset)))
    assert dataset.batch_size == 3


def test_evaluation_on_more_than_one_rank_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.openmmlab.prefetch_hook.get_world_size", lambda: 2)
    runner = SimpleNamespace(val_loop=loop_over(PrefetchDataset(ImagesOfCase())))
    with pytest.raises(ConfigError, match="val_dataloader: on 2 ranks"):
        PrefetchHook().before_val_epoch(runner)


def test_evaluation_of_another_dataset_on_many_ranks_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.openmmlab.prefetch_hook.get_world_size", lambda: 2)
    PrefetchHook().before_val_epoch(SimpleNamespace(val_loop=loop_over(ImagesOfCase())))


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


@pytest.mark.parametrize(("workers", "given", "is_refused"), [(2, None, True), (2, 3, False), (0, None, False)])
def test_workers_that_have_started_cannot_learn_the_batch_size(
    workers: int, given: int | None, is_refused: bool
) -> None:
    loop = loop_over(PrefetchDataset(ImagesOfCase(), batch_size=given), num_workers=workers)
    loop.dataloader_iterator = SimpleNamespace(_iterator=iter(()))
    runner = SimpleNamespace(train_loop=loop)

    if is_refused:
        with pytest.raises(ConfigError, match="give the PrefetchDataset batch_size=3"):
            PrefetchHook().before_train(runner)
    else:
        PrefetchHook().before_train(runner)
        assert loop.dataloader.dataset.batch_size == 3
