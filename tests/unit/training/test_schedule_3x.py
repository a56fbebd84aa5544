from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.schedule import Schedule, read_schedule
from asyncio_loader.training.schedule_3x import read_schedule_3x, read_train_cfg
from asyncio_loader.training.sections import Section
from tests.unit.training.config_3x import config_3x


def schedule(changes: dict[str, Any] | None = None, *, by_epoch: bool = True) -> Schedule:
    return read_schedule_3x(Section(config_3x(changes)), by_epoch, 12, 8)


def refusal(changes: dict[str, Any], *, by_epoch: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        schedule(changes, by_epoch=by_epoch)
    return str(caught.value)


def train_cfg(**values: Any) -> tuple[bool, int, int, int]:
    return read_train_cfg(Section({"train_cfg": values}))


def test_a_loop_by_epochs_and_one_by_iterations() -> None:
    epochs = {"type": "EpochBasedTrainLoop", "max_epochs": 3, "val_interval": 2, "val_begin": 2}

    assert train_cfg(**epochs) == (True, 3, 2, 2)
    assert train_cfg(type="IterBasedTrainLoop", max_iters=9) == (False, 9, 1000, 1)


@pytest.mark.parametrize(("limit", "by_epoch"), [("max_epochs", True), ("max_iters", False)])
def test_by_epoch_may_stand_for_the_type(limit: str, by_epoch: bool) -> None:
    assert train_cfg(by_epoch=by_epoch, **{limit: 3})[:2] == (by_epoch, 3)


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"type": "EpochBasedTrainLop", "max_epochs": 1}, "train_cfg.type='EpochBasedTrainLop' must be"),
        ({"type": "EpochBasedTrainLoop", "max_iters": 1}, "train_cfg.max_epochs is missing"),
        ({"max_epochs": 1}, "train_cfg.by_epoch is missing"),
        ({"type": "IterBasedTrainLoop", "by_epoch": True, "max_iters": 1}, "train_cfg.by_epoch=True must be False: so"),
        ({"by_epoch": True, "max_epochs": 1, "max_iters": 1}, "train_cfg.max_iters=1: there is no such key"),
        (
            {"by_epoch": True, "max_epochs": 1, "dynamic_intervals": [(1, 2)]},
            "train_cfg.dynamic_intervals=[(1, 2)] must",
        ),
    ],
)
def test_a_wrong_loop_is_named_by_its_path(values: dict[str, Any], start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train_cfg(**values)

    assert str(caught.value).startswith(start)


def test_the_same_schedule_in_2x() -> None:
    old = {
        "runner": {"type": "EpochBasedRunner", "max_epochs": 12},
        "optimizer": {"type": "SGD", "lr": 0.02, "paramwise_cfg": {"norm_decay_mult": 0.0}},
        "optimizer_config": {
            "type": "GradientCumulativeOptimizerHook",
            "cumulative_iters": 4,
            "grad_clip": {"max_norm": 35, "norm_type": 2},
        },
        "lr_config": {"policy": "step", "step": [8, 11], "warmup": "linear", "warmup_iters": 4, "warmup_ratio": 0.1},
        "auto_scale_lr": {"enable": True, "base_batch_size": 16},
    }
    new = {
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.02},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
            "accumulative_counts": 4,
            "clip_grad": {"max_norm": 35, "norm_type": 2},
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 5},
            {"type": "MultiStepLR", "milestones": [8, 11], "gamma": 0.1},
        ],
        "auto_scale_lr": {"enable": True, "base_batch_size": 16},
    }

    assert schedule(new) == read_schedule(Section(old), 8)
    assert schedule(new).optim_wrapper["optimizer"]["lr"] == 0.01


def test_one_scheduler_needs_no_list_and_none_is_none() -> None:
    one = {"type": "CosineAnnealingLR", "T_max": 3, "eta_min": 0.1}

    assert schedule({"param_scheduler": one}).param_scheduler == [
        {**one, "by_epoch": True, "convert_to_iter_based": False}
    ]
    assert schedule({"param_scheduler": None}).param_scheduler == []


@pytest.mark.parametrize(
    "values",
    [
        {"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 12},
        {"type": "PolyLR", "power": 0.9, "eta_min": 1e-4},
        {"type": "MultiStepLR", "milestones": [1], "convert_to_iter_based": True},
        {"type": "ConstantMomentum", "factor": 0.5},
    ],
)
def test_all_of_mmengine_may_be_there(values: dict[str, Any]) -> None:
    (scheduler,) = schedule({"param_scheduler": [values]}).param_scheduler

    assert values.items() <= scheduler.items()


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        (
            {"optim_wrapper.type": "AmpOptimWrapper"},
            "optim_wrapper.type='AmpOptimWrapper' must be 'OptimWrapper': mixed",
        ),
        ({"optim_wrapper.loss_scale": "dynamic"}, "optim_wrapper.loss_scale='dynamic': there is no such key"),
        ({"optim_wrapper.optimizer.type": "SDG"}, "optim_wrapper.optimizer.type='SDG' must be one of"),
        ({"optim_wrapper.optimizer.learning_rate": 1}, "optim_wrapper.optimizer.learning_rate=1: there is no such key"),
        ({"optim_wrapper.optimizer.lr": ...}, "optim_wrapper.optimizer.lr is missing"),
        ({"optim_wrapper.clip_grad": {"max_nrm": 1, "max_norm": 2}}, "optim_wrapper.clip_grad.max_nrm=1: there is no"),
        (
            {"optim_wrapper.clip_grad": {"type": "value", "clip_value": 1}},
            "optim_wrapper.clip_grad.type='value' must be",
        ),
        ({"optim_wrapper.constructor": "Mine"}, "optim_wrapper.constructor='Mine' must be"),
        ({"optim_wrapper.accumulative_counts": 0}, "optim_wrapper.accumulative_counts=0 must be"),
        ({"param_scheduler": "step"}, "param_scheduler='step' must be a dict or a list of dicts"),
        ({"param_scheduler": [{"type": "MultiStepRL"}]}, "param_scheduler[0].type='MultiStepRL' must be one of"),
        ({"param_scheduler": {"type": "ReduceOnPlateauLR"}}, "param_scheduler.type='ReduceOnPlateauLR' must be one of"),
        ({"param_scheduler.1.milestone": [1]}, "param_scheduler[1].milestone=[1]: there is no such key; did you mean"),
        ({"param_scheduler.1.milestones": ...}, "param_scheduler[1]={'type': 'MultiStepLR', "),
        ({"param_scheduler.0.start_factor": 2.0}, "param_scheduler[0]={'type': 'LinearLR', "),
        ({"param_scheduler.0.end": 0}, "param_scheduler[0]={'type': 'LinearLR', "),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], start: str) -> None:
    said = refusal(changes)

    assert said.startswith(start)
    assert "\n" not in said


def test_a_run_by_iterations_has_no_end_of_an_epoch_to_step_at() -> None:
    said = refusal({}, by_epoch=False)

    assert said == (
        "param_scheduler[1].by_epoch=True would never step, the run counts iterations: say by_epoch=False, or "
        "convert_to_iter_based=True"
    )
