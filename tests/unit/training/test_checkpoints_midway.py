"""Checkpoints in the middle of an epoch, and on several ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.training import checkpoints
from asyncio_loader.training.checkpoints import LAST_CHECKPOINT
from tests.unit.training.test_checkpoints import Case


def by_iterations(tmp_path: Path, **plan: Any) -> Case:
    """A run by epochs that saves by iterations: four steps, two per epoch."""
    return Case(tmp_path, **{"by_epoch": False, "interval": 1, "filename": "iter_{}.pth", **plan})


def step(case: Case, *, ends_epoch: bool = False, score: float | None = None) -> None:
    """One iteration of a run by epochs, with an evaluation behind an epoch."""
    case.hook.after_train_iter(case.runner, 0)
    case.runner.iter += 1
    if ends_epoch:
        case.hook.after_train_epoch(case.runner)
        case.runner.epoch += 1
    if score is not None:
        case.hook.after_val_epoch(case.runner, {"bbox_mAP": score})


def test_a_run_by_epochs_may_save_in_the_middle_of_one(tmp_path: Path) -> None:
    case = by_iterations(tmp_path, keep_items=2)

    step(case)
    step(case, ends_epoch=True)
    step(case)

    assert case.done == ["write iter_1.pth", "write iter_2.pth", "write iter_3.pth", "remove iter_1.pth"]
    positions = [case.saved(f"iter_{step}.pth")["meta"] for step in (2, 3)]
    # Behind the last step of an epoch it is still that epoch: what follows it has yet to be done.
    assert [(meta["epoch"], meta["iter"]) for meta in positions] == [(0, 2), (1, 3)]
    assert (case.work_dir / LAST_CHECKPOINT).read_text() == case.place.at("iter_3.pth")


def test_the_position_in_the_data_is_saved_and_is_harmless_to_read(tmp_path: Path) -> None:
    case = by_iterations(tmp_path)
    case.runner.iter = 3

    step(case)

    with case.client.open(case.place.at("iter_4.pth"), "rb") as file:
        data = torch.load(file, weights_only=True)["data"]
    assert data == {"version": 1, "epoch": 0, "consumed": 6, "plan": {"seed": 0}}


def test_a_best_one_of_a_run_by_epochs_is_named_by_its_epoch(tmp_path: Path) -> None:
    case = by_iterations(tmp_path, best_metric="bbox_mAP")

    step(case)
    step(case, ends_epoch=True, score=0.5)

    # The last one again, so that it knows the best one; now the epoch is over.
    assert case.done[-2:] == ["write best_bbox_mAP_epoch_1.pth", "write iter_2.pth"]
    meta = case.saved("iter_2.pth")["meta"]
    assert (meta["epoch"], meta["iter"]) == (1, 2)


def test_a_best_one_between_two_regular_ones_is_no_reason_to_save_those_again(tmp_path: Path) -> None:
    case = by_iterations(tmp_path, interval=3, best_metric="bbox_mAP")

    step(case)
    step(case, ends_epoch=True, score=0.5)

    assert case.done == ["write best_bbox_mAP_epoch_1.pth"]


def test_a_resumed_run_that_saves_by_another_unit_leaves_the_old_ones_alone(tmp_path: Path) -> None:
    case = by_iterations(tmp_path, keep_items=1)
    case.runner.message_hub.update_info("keep_ckpt_ids", [1, 2])
    case.runner.message_hub.update_info("last_ckpt", case.place.at("epoch_2.pth"))

    case.hook.before_train(case.runner)

    assert case.done == []


def test_only_the_main_process_writes_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tmp_path, keep_items=1, best_metric="bbox_mAP")
    monkeypatch.setattr(checkpoints, "is_main_process", lambda: False)

    case.go(0.1, 0.2, None)

    assert case.done == []
    assert not (case.work_dir / LAST_CHECKPOINT).exists()
    # What the next checkpoint would say is known to all.
    assert case.runner.message_hub.get_info("best_ckpt") == case.place.at("best_bbox_mAP_epoch_2.pth")
    assert case.runner.message_hub.get_info("last_ckpt") == case.place.at("epoch_3.pth")


def test_the_names_of_a_wrapped_model_are_its_own(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.runner.model = torch.nn.DataParallel(case.runner.model)

    case.go(None)

    assert case.saved("epoch_1.pth")["state_dict"].keys() == {"weight", "bias"}
