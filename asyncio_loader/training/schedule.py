"""`optimizer`, `optimizer_config`, `lr_config` and `runner` of 2.x: how long and how fast, in mmengine's terms."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from asyncio_loader.training.sections import Section

__all__ = ["Schedule", "read_optimizer", "read_paramwise", "read_rate_factor", "read_schedule"]

_PARAMWISE = (
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "dwconv_decay_mult",
    "dcn_offset_lr_mult",
    "flat_decay_mult",
    "bypass_duplicate",
    "custom_keys",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What the Runner needs to know about time and steps.

    Attributes:
        by_epoch: whether the run counts epochs, or iterations.
        length: epochs or iterations.
        optim_wrapper: mmengine's `optim_wrapper`.
        param_scheduler: mmengine's `param_scheduler`.
    """

    by_epoch: bool
    length: int
    optim_wrapper: dict[str, Any]
    param_scheduler: list[dict[str, Any]]


def read_schedule(config: Section, batch_size: int) -> Schedule:
    """The four sections of a config.

    `batch_size`, in images of all ranks, scales the learning rate where `auto_scale_lr` is enabled: linearly, by the
    rule of "Accurate, Large Minibatch SGD" (2017).

    Raises:
        ConfigError: a key, type or value without a counterpart; names its dotted path.
    """
    by_epoch, length = _read_runner(config)
    return Schedule(
        by_epoch=by_epoch,
        length=length,
        optim_wrapper=_read_optim_wrapper(config, read_rate_factor(config, batch_size)),
        param_scheduler=_read_rates(config, by_epoch, length),
    )


def _read_runner(config: Section) -> tuple[bool, int]:
    with config.section("runner") as runner:
        if runner.choice("type", ["EpochBasedRunner", "IterBasedRunner"]) == "EpochBasedRunner":
            return True, runner.count("max_epochs", least=1)
        return False, runner.count("max_iters", least=1)


def read_rate_factor(config: Section, batch_size: int) -> float:
    """What `auto_scale_lr` at the top multiplies the learning rate with."""
    if not config.has("auto_scale_lr"):
        return 1.0
    with config.section("auto_scale_lr") as scale:
        enabled, base = scale.flag("enable", False), scale.count("base_batch_size", 16, least=1)
    return batch_size / base if enabled else 1.0


def _read_optim_wrapper(config: Section, rate_factor: float) -> dict[str, Any]:
    with config.section("optimizer") as section:
        optimizer = read_optimizer(section, rate_factor)
        paramwise = read_paramwise(section)
    return {"type": "OptimWrapper", "optimizer": optimizer, "paramwise_cfg": paramwise, **_read_clipping(config)}


def read_optimizer(section: Section, rate_factor: float) -> dict[str, Any]:
    """Any of `torch.optim` and its arguments, `lr` times the factor."""
    known = {n: c for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    kind = section.choice("type", sorted(known.keys() - {"Optimizer"}))
    optimizer: dict[str, Any] = {"type": kind, "lr": section.number("lr") * rate_factor}
    for name in inspect.signature(known[kind]).parameters:
        if name not in ("params", "lr") and name in section:
            optimizer[name] = section.take(name)
        section.ignore(name)
    return optimizer


def read_paramwise(section: Section) -> dict[str, Any] | None:
    """`paramwise_cfg` of a section."""
    if not section.has("paramwise_cfg"):
        return None
    with section.section("paramwise_cfg") as paramwise:
        return {key: paramwise.take(key) for key in _PARAMWISE if paramwise.has(key)}


def _read_clipping(config: Section) -> dict[str, Any]:
    if not config.has("optimizer_config"):
        return {}
    with config.section("optimizer_config") as section:
        kinds = ["OptimizerHook", "GradientCumulativeOptimizerHook"]
        kind = section.choice("type", kinds, "OptimizerHook")
        section.fixed("anomalies are found with torch.autograd.set_detect_anomaly", detect_anomalous_params=False)
        options: dict[str, Any] = {}
        if kind == kinds[1]:
            options["accumulative_counts"] = section.count("cumulative_iters", least=1)
        if section.has("grad_clip"):
            with section.section("grad_clip") as clip:
                norm_type = clip.number("norm_type", 2.0)
                options["clip_grad"] = {"max_norm": clip.number("max_norm"), "norm_type": norm_type}
        return options


def _read_rates(config: Section, by_epoch: bool, length: int) -> list[dict[str, Any]]:
    if not config.has("lr_config"):
        return []
    with config.section("lr_config") as section:
        unit = _unit(section.flag("by_epoch", True), by_epoch)
        policy = section.choice("policy", ["step", "fixed", "CosineAnnealing"])
        schedulers = _read_warmup(section)
        if policy == "step":
            schedulers.append(_step(section, unit))
        elif policy == "CosineAnnealing":
            schedulers.append(_cosine(section, unit, by_epoch, length))
    return schedulers


def _unit(counts_epochs: bool, runs_epochs: bool) -> dict[str, Any]:
    # A run by iterations has no end of an epoch at which mmengine would step: it counts the epoch's iterations.
    return {"by_epoch": counts_epochs, "convert_to_iter_based": counts_epochs and not runs_epochs}


def _read_warmup(section: Section) -> list[dict[str, Any]]:
    kind = section.choice("warmup", ["linear", "constant", None], None, why="these are the warm-ups there are")
    ratio = section.number("warmup_ratio", 0.1)
    steps = section.count("warmup_iters", 0)
    counts_epochs = section.flag("warmup_by_epoch", False)
    if kind is None or steps == 0:
        return []
    if not 0 < ratio <= 1:
        raise section.error("warmup_ratio", "must be above 0 and at most 1")
    # mmengine's last step of a scheduler is `end - 1`; the dialect has the full rate at step `warmup_iters`.
    span = {"begin": 0, "end": steps + 1, **_unit(counts_epochs, False)}
    if kind == "linear":
        return [{"type": "LinearLR", "start_factor": ratio, **span}]
    return [{"type": "ConstantLR", "factor": ratio, **span}]


def _step(section: Section, unit: dict[str, Any]) -> dict[str, Any]:
    gamma = section.number("gamma", 0.1)
    section.fixed("mmengine's steps have no floor", min_lr=None)
    steps = section.take("step")
    if isinstance(steps, int) and not isinstance(steps, bool):
        return {"type": "StepLR", "step_size": section.count("step", least=1), "gamma": gamma, **unit}
    milestones = [int(s) for s in section.numbers("step")]
    return {"type": "MultiStepLR", "milestones": milestones, "gamma": gamma, **unit}


def _cosine(section: Section, unit: dict[str, Any], by_epoch: bool, length: int) -> dict[str, Any]:
    if unit["by_epoch"] != by_epoch:
        raise section.error("by_epoch", f"must be {by_epoch} as the runner counts that way")
    floor = "min_lr_ratio" if section.has("min_lr_ratio") else "min_lr"
    value = section.number(floor, 0.0)
    section.ignore("min_lr", "min_lr_ratio")
    eta = {"eta_min_ratio": value} if floor == "min_lr_ratio" else {"eta_min": value}
    return {"type": "CosineAnnealingLR", "T_max": length, **eta, **unit}
