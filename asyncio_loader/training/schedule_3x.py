"""`train_cfg`, `optim_wrapper` and `param_scheduler` of 3.x: how long and how fast. They are mmengine's own terms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.schedule import Schedule, read_optimizer, read_paramwise, read_rate_factor
from asyncio_loader.training.sections import Section

__all__ = ["read_schedule_3x", "read_train_cfg"]

# mmengine's defaults of `val_interval`.
_INTERVALS = {True: 1, False: 1000}


def read_schedule_3x(config: Section, by_epoch: bool, length: int, batch_size: int) -> Schedule:
    """`optim_wrapper`, `param_scheduler` and `auto_scale_lr` of a config.

    Args:
        config: its top.
        by_epoch: of `read_train_cfg`, as `length` is.
        length: epochs or iterations.
        batch_size: images per step, of all ranks; see `read_schedule`.

    Raises:
        ConfigError: a key, type or value that cannot be had; names its dotted path.
    """
    return Schedule(
        by_epoch=by_epoch,
        length=length,
        optim_wrapper=_read_optim_wrapper(config, read_rate_factor(config, batch_size)),
        param_scheduler=_read_schedulers(config, by_epoch, length),
    )


def read_train_cfg(config: Section) -> tuple[bool, int, int, int]:
    """Whether the run counts epochs, how many epochs or iterations it has, how many are between evaluations, and the
    first one that is evaluated."""
    with config.section("train_cfg") as section:
        kinds = {"EpochBasedTrainLoop": True, "IterBasedTrainLoop": False}
        if section.has("type"):
            by_epoch = kinds[section.choice("type", kinds)]
            section.choice("by_epoch", [by_epoch], by_epoch, why=f"so says {section.at('type')}")
        else:
            by_epoch = section.flag("by_epoch")
        section.fixed("the interval stays what it is", dynamic_intervals=None)
        length = section.count("max_epochs" if by_epoch else "max_iters", least=1)
        interval = section.count("val_interval", _INTERVALS[by_epoch], least=1)
        return by_epoch, length, interval, section.count("val_begin", 1)


def _read_optim_wrapper(config: Section, rate_factor: float) -> dict[str, Any]:
    with config.section("optim_wrapper") as section:
        section.choice("type", ["OptimWrapper"], "OptimWrapper", why="mixed precision is not there yet")
        section.fixed("this is the one there is", constructor="DefaultOptimWrapperConstructor")
        with section.section("optimizer") as values:
            optimizer = read_optimizer(values, rate_factor)
        paramwise = read_paramwise(section)
        wrapper: dict[str, Any] = {"type": "OptimWrapper", "optimizer": optimizer, "paramwise_cfg": paramwise}
        steps = section.count("accumulative_counts", 1, least=1)
        if steps > 1:
            wrapper["accumulative_counts"] = steps
        if section.has("clip_grad"):
            with section.section("clip_grad") as clip:
                clip.choice("type", ["norm"], "norm", why="gradients are clipped by their norm")
                norm_type = clip.number("norm_type", 2.0)
                wrapper["clip_grad"] = {"max_norm": clip.number("max_norm"), "norm_type": norm_type}
    return wrapper


def _read_schedulers(config: Section, by_epoch: bool, length: int) -> list[dict[str, Any]]:
    values = config.take("param_scheduler", None) or []
    if isinstance(values, Mapping):
        return [_read_scheduler(Section(values, "param_scheduler"), by_epoch, length)]
    if not isinstance(values, list | tuple):
        raise config.error("param_scheduler", "must be a dict or a list of dicts")
    return [
        _read_scheduler(Section(each, f"param_scheduler[{place}]"), by_epoch, length)
        for place, each in enumerate(values)
    ]


def _read_scheduler(section: Section, by_epoch: bool, length: int) -> dict[str, Any]:
    with section:
        kinds = PARAM_SCHEDULERS.module_dict
        # Those on a plateau would step by the name that another project gives a metric.
        known = [name for name in kinds if name.endswith(("LR", "Momentum")) and not name.startswith("ReduceOn")]
        kind = section.choice("type", sorted(known))
        counts_epochs = section.flag("by_epoch", True)
        is_converted = section.flag("convert_to_iter_based", False)
        if counts_epochs and not (by_epoch or is_converted):
            raise ConfigError(
                f"{section.at('by_epoch')}=True would never step, the run counts iterations: say by_epoch=False, or "
                "convert_to_iter_based=True"
            )
        scheduler = {"type": kind, "by_epoch": counts_epochs, "convert_to_iter_based": is_converted}
        for name in _parameters(kinds[kind]):
            if name in section:
                scheduler[name] = section.take(name)
            section.ignore(name)
    _try_out(section.path, scheduler, length)
    return scheduler


def _parameters(kind: type) -> list[str]:
    """What a scheduler takes from a config. Its own signature says only ``*args, **kwargs``."""
    makers = [vars(base)["__init__"] for base in kind.__mro__ if base is not object and "__init__" in vars(base)]
    names = [name for maker in makers for name in inspect.signature(maker).parameters]
    given = ("self", "args", "kwargs", "optimizer", "param_name", "last_step", "by_epoch")
    return [name for name in dict.fromkeys(names) if name not in given]


def _try_out(path: str, scheduler: Mapping[str, Any], length: int) -> None:
    """Make it for an optimizer of nothing: mmengine checks values only then, which would be after the data was read."""
    nothing = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([nothing], lr=1.0, momentum=0.9))
    # As the Runner does: epochs are of as many steps as there are, which is not known yet.
    defaults = {"optimizer": wrapper, "epoch_length": 1, **({} if "end" in scheduler else {"end": length})}
    try:
        PARAM_SCHEDULERS.build(dict(scheduler), default_args=defaults)
    except (AssertionError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}={dict(scheduler)!r}: {reason or type(error).__name__}") from error
