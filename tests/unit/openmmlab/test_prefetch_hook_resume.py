"""A Runner that is killed within an epoch, and another one that goes on."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import CheckpointHook

import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import StateMismatch
from asyncio_loader.openmmlab.prefetch_hook import STATE_KEY
from asyncio_loader.records import Fetched
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import COUNT
from tests.unit.openmmlab.runner_case import INSIDE, KillAfter, Killed, Notes, make_runner

EPOCHS = {"by_epoch": True, "max_epochs": 3}
# Eleven samples in batches of three are four steps an epoch.
STEPS = 4
ITERATIONS = {"by_epoch": False, "max_iters": 3 * STEPS}
EVERY_SECOND = {"type": "CheckpointHook", "by_epoch": False, "interval": 2}


def pack(fetched: Fetched) -> dict[str, Any]:
    return {"img": len(fetched.data), "number": fetched.index}


def plain() -> AsyncIterableDataset:
    uris = [f"s3://bucket/images/{number}.png" for number in range(COUNT)]
    return AsyncIterableDataset(uris, transform=pack, shuffle=True, batch_size=3)


def loader_of(kind: str, workers: int = 0, *, persistent: bool = False, batch_size: int = 3) -> dict[str, Any]:
    dataset = {"type": "PrefetchDataset", "dataset": INSIDE} if kind == "prefetch" else plain()
    return {
        "dataset": dataset,
        "batch_size": batch_size,
        "num_workers": workers,
        "persistent_workers": persistent,
        "collate_fn": {"type": "pseudo_collate"},
    }


def uninterrupted(epochs: int = 3) -> list[int]:
    """The numbers as an undisturbed run has them; both kinds of dataset have the same order."""
    dataset, numbers = plain(), []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        numbers += [sample["number"] for sample in dataset]
    return numbers


def end_workers(runner: Any) -> None:
    """Before the garbage collector does, which closes their queues first: they then wait for five seconds each."""
    iterator = runner.train_dataloader._iterator
    if iterator is not None:
        iterator._shutdown_workers()


def train(work_dir: Path, train_cfg: dict[str, Any], *, until: int | None = None, **options: Any) -> list[int]:
    """The numbers trained on, by a run that is killed after `until` steps."""
    notes = Notes()
    runner = make_runner(
        work_dir, notes, train_cfg, 0, *([KillAfter(until)] if until else []), checkpoint=EVERY_SECOND, **options
    )
    with pytest.raises(Killed) if until else nullcontext():
        runner.train()
    end_workers(runner)
    return [int(number) for batch in notes.batches for number in batch]


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
@pytest.mark.parametrize("kind", ["prefetch", "plain"])
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_a_run_goes_on_behind_the_last_checkpoint_and_fetches_nothing_that_was_consumed(
    simulator: S3Simulator, tmp_path: Path, train_cfg: dict[str, Any], kind: str, workers: int, persistent: bool
) -> None:
    expected = uninterrupted()
    # Killed in the second epoch: three samples after the checkpoint of step 6 are trained on again.
    train(tmp_path, train_cfg, until=STEPS + 3, loader=loader_of(kind, workers, persistent=persistent))
    simulator.requests(clear=True)

    numbers = train(tmp_path, train_cfg, resume=True, loader=loader_of(kind, workers, persistent=persistent))

    rest = expected[COUNT + 2 * 3 :]
    assert numbers == rest
    assert Counter(request.key for request in simulator.requests()) == Counter(f"images/{n}.png" for n in rest)


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_a_checkpoint_at_the_very_end_of_an_epoch_leads_into_the_next(
    simulator: S3Simulator, tmp_path: Path, train_cfg: dict[str, Any]
) -> None:
    train(tmp_path, train_cfg, until=STEPS)
    assert train(tmp_path, train_cfg, resume=True) == uninterrupted()[COUNT:]


def test_checkpoints_by_epoch_lead_into_the_next(simulator: S3Simulator, tmp_path: Path) -> None:
    notes, checkpoint = Notes(), CheckpointHook(interval=1)
    with pytest.raises(Killed):
        make_runner(tmp_path, Notes(), EPOCHS, 0, KillAfter(STEPS + 2), checkpoint=checkpoint).train()
    make_runner(tmp_path, notes, EPOCHS, resume=True).train()

    assert [number for batch in notes.batches for number in batch] == uninterrupted()[COUNT:]


def test_a_run_that_was_resumed_is_resumed_again(simulator: S3Simulator, tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, until=STEPS + 1)
    train(tmp_path, EPOCHS, until=STEPS + 2, resume=True)
    assert train(tmp_path, EPOCHS, resume=True) == uninterrupted()[COUNT + 6 :]


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_batches_and_workers_may_be_others_than_before(
    simulator: S3Simulator, tmp_path: Path, train_cfg: dict[str, Any]
) -> None:
    train(tmp_path, train_cfg, until=STEPS + 3)
    numbers = train(tmp_path, train_cfg, resume=True, loader=loader_of("prefetch", 2, batch_size=2))

    rest = uninterrupted()[COUNT + 6 :]
    assert numbers == rest[: len(numbers)]
    # By iterations six steps are left, three of them in the epoch under way; by epochs all that they hold.
    assert len(numbers) == (5 + 6 if train_cfg is ITERATIONS else len(rest))


def test_the_last_step_is_known_as_such_with_batches_of_another_size(simulator: S3Simulator, tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, until=STEPS + 3)
    runner = make_runner(tmp_path, Notes(), EPOCHS, resume=True, loader={"batch_size": 2})

    runner.train()

    # Six steps before, then three for the five samples of the epoch under way, then six.
    assert (runner.iter, runner.max_iters) == (15, 15)


def test_the_checkpoint_says_what_was_trained_on_not_what_was_fetched(simulator: S3Simulator, tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, until=STEPS + 3)
    state = torch.load(tmp_path / f"iter_{STEPS + 2}.pth", weights_only=False)[STATE_KEY]

    assert (state["version"], state["epoch"], state["consumed"]) == (1, 1, 6)
    assert state["plan"]["samples"] == COUNT


def test_within_an_epoch_other_samples_are_refused(simulator: S3Simulator, tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, until=STEPS + 3)
    fewer = {"dataset": {"type": "PrefetchDataset", "dataset": {**INSIDE, "count": COUNT - 1}}}
    with pytest.raises(StateMismatch, match=r"cannot be resumed within epoch 1 of its data.* is 11 in the state"):
        train(tmp_path, EPOCHS, resume=True, loader=fewer)


def test_weights_alone_say_nothing_of_the_data(simulator: S3Simulator, tmp_path: Path) -> None:
    train(tmp_path, EPOCHS, until=STEPS + 3)
    numbers = train(tmp_path, EPOCHS, load_from=str(tmp_path / f"iter_{STEPS + 2}.pth"))
    assert numbers == uninterrupted()


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERATIONS], ids=["epochs", "iterations"])
def test_without_a_position_the_steps_of_an_iteration_loop_are_counted_and_an_epoch_begins_again(
    simulator: S3Simulator, tmp_path: Path, train_cfg: dict[str, Any]
) -> None:
    train(tmp_path, train_cfg, until=STEPS + 3)
    path = tmp_path / f"iter_{STEPS + 2}.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint[STATE_KEY]
    torch.save(checkpoint, path)

    numbers = train(tmp_path, train_cfg, resume=True)

    assert numbers == uninterrupted()[COUNT + (6 if train_cfg is ITERATIONS else 0) :]


def test_a_dataset_of_somebody_else_leaves_no_position(simulator: S3Simulator, tmp_path: Path) -> None:
    sampler = {"type": "DefaultSampler", "shuffle": False}
    train(tmp_path, EPOCHS, until=3, loader={"dataset": INSIDE, "sampler": sampler})
    assert STATE_KEY not in torch.load(tmp_path / "iter_2.pth", weights_only=False)
