from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.schedule import Schedule, read_schedule
from asyncio_loader.training.sections import Section

SGD = {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.0001}


def schedule(batch_size: int = 2, **changes: Any) -> Schedule:
    values = {"optimizer": SGD, "runner": {"type": "IterBasedRunner", "max_iters": 10}, **changes}
    return read_schedule(Section(values), batch_size)


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        schedule(**changes)
    return str(caught.value)


def rates(plan: Schedule, steps: int) -> list[float]:
    """The learning rate at each step, as mmengine drives it."""
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), dict(plan.optim_wrapper))
    schedulers = []
    for values in plan.param_scheduler:
        assert not values["by_epoch"]
        options = {k: v for k, v in values.items() if k != "convert_to_iter_based"}
        schedulers.append(PARAM_SCHEDULERS.build({**options, "optimizer": wrapper}))
    seen = []
    for _ in range(steps):
        seen.append(wrapper.get_lr()["lr"][0])
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return seen


def test_optimizer_and_clipping() -> None:
    wrapper = schedule(optimizer_config={"grad_clip": {"max_norm": 35, "norm_type": 2}}).optim_wrapper

    assert wrapper["optimizer"] == SGD
    assert wrapper["clip_grad"] == {"max_norm": 35.0, "norm_type": 2.0}


def test_gradients_accumulate() -> None:
    kind = {"type": "GradientCumulativeOptimizerHook", "cumulative_iters": 4}

    assert schedule(optimizer_config=kind).optim_wrapper["accumulative_counts"] == 4


def test_linear_warm_up_starts_at_the_ratio_and_ends_at_the_full_rate() -> None:
    plan = schedule(
        lr_config={"policy": "fixed", "by_epoch": False, "warmup": "linear", "warmup_iters": 4, "warmup_ratio": 0.2}
    )

    assert rates(plan, 6) == pytest.approx([0.02 * f for f in (0.2, 0.4, 0.6, 0.8, 1.0, 1.0)])


def test_constant_warm_up_lasts_as_many_steps_as_it_says() -> None:
    plan = schedule(
        lr_config={"policy": "fixed", "by_epoch": False, "warmup": "constant", "warmup_iters": 2, "warmup_ratio": 0.5}
    )

    assert rates(plan, 4) == pytest.approx([0.01, 0.01, 0.02, 0.02])


def test_steps_multiply_the_rate() -> None:
    plan = schedule(lr_config={"policy": "step", "by_epoch": False, "step": [2, 4], "gamma": 0.5})

    assert rates(plan, 6) == pytest.approx([0.02, 0.02, 0.01, 0.01, 0.005, 0.005])


def test_one_number_means_every_so_many_steps() -> None:
    plan = schedule(lr_config={"policy": "step", "by_epoch": False, "step": 2})

    assert rates(plan, 5) == pytest.approx([0.02, 0.02, 0.002, 0.002, 0.0002])


def test_cosine_falls_to_its_floor() -> None:
    plan = schedule(lr_config={"policy": "CosineAnnealing", "by_epoch": False, "min_lr": 0.001})

    seen = rates(plan, 11)

    assert seen[0] == pytest.approx(0.02)
    assert seen[-1] == pytest.approx(0.001)


def test_steps_in_epochs_are_converted_in_a_run_by_iterations() -> None:
    by_iteration = schedule(lr_config={"policy": "step", "step": [8, 11]})
    by_epoch = schedule(
        lr_config={"policy": "step", "step": [8, 11]}, runner={"type": "EpochBasedRunner", "max_epochs": 12}
    )

    assert by_iteration.param_scheduler[0]["convert_to_iter_based"]
    assert not by_epoch.param_scheduler[0]["convert_to_iter_based"]


def test_the_rate_grows_with_the_batch_where_that_is_enabled() -> None:
    scale = {"enable": True, "base_batch_size": 16}

    assert schedule(8, auto_scale_lr=scale).optim_wrapper["optimizer"]["lr"] == pytest.approx(0.01)
    assert schedule(8, auto_scale_lr={**scale, "enable": False}).optim_wrapper["optimizer"]["lr"] == 0.02


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"optimizer": {"type": "SDG", "lr": 1.0}}, "optimizer.type='SDG' must be one of"),
        ({"optimizer": {**SGD, "momentun": 1}}, "optimizer.momentun=1: there is no such key; did you mean 'momentum'?"),
        ({"optimizer": {"type": "SGD"}}, "optimizer.lr is missing"),
        ({"optimizer": {**SGD, "paramwise_cfg": {"bias_lr": 2}}}, "optimizer.paramwise_cfg.bias_lr=2: there is no"),
        ({"optimizer_config": {"grad_clip": {"norm": 1}}}, "optimizer_config.grad_clip.max_norm is missing"),
        ({"optimizer_config": {"type": "Fp16OptimizerHook"}}, "optimizer_config.type='Fp16OptimizerHook' must be"),
        ({"lr_config": {"policy": "stpe"}}, "lr_config.policy='stpe' must be one of"),
        ({"lr_config": {"policy": "fixed", "warmup": "exp"}}, "lr_config.warmup='exp' must be one of"),
        ({"lr_config": {"policy": "step", "steps": [3]}}, "lr_config.step is missing"),
        ({"lr_config": {"policy": "CosineAnnealing"}}, "lr_config.by_epoch=None must be False"),
        ({"auto_scale_lr": {"enabled": True}}, "auto_scale_lr.enabled=True: there is no such key"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(changes: dict[str, Any], start: str) -> None:
    assert refusal(**changes).startswith(start)
