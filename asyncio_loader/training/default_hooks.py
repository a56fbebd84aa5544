"""`default_hooks` of a config of mmdet 3.x: when it is saved and logged, and where that goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.entries import LOG_SUFFIXES, check_unit, read_filename, read_metric, read_texts
from asyncio_loader.training.log_files import LogOutput
from asyncio_loader.training.out_dirs import OutDir, read_out_dir
from asyncio_loader.training.schedule import Schedule
from asyncio_loader.training.sections import Section

__all__ = ["HookKeys", "read_default_hooks"]

# More steps than a run has.
_NEVER = 10**9 - 1

# What happens anyway: their types, and what they may say.
_STANDING = {
    "runtime_info": "RuntimeInfoHook",
    "timer": "IterTimerHook",
    "param_scheduler": "ParamSchedulerHook",
    "sampler_seed": "DistSamplerSeedHook",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HookKeys:
    """What the hooks' keys say; see `RunPlan`."""

    checkpoints: CheckpointPlan | None
    checkpoint_dir: OutDir | None
    logger: dict[str, Any]
    logs: tuple[LogOutput, ...]


def read_default_hooks(top: Section, schedule: Schedule, *, evaluates: bool) -> HookKeys:
    """The hooks that mmengine has by their names; `evaluates`: whether there is a metric to go by.

    Raises:
        ConfigError: a key or value is wrong, or such a hook is not there; names its dotted path.
    """
    with top.section("default_hooks", {}) as hooks:
        for key, kind in _STANDING.items():
            _check_standing(hooks, key, kind)
        if hooks.has("visualization"):
            with hooks.section("visualization") as section:
                section.choice("type", ["DetVisualizationHook"])
                section.fixed("pictures of the data are made by asyncio-loader show", draw=False, show=False)
                section.ignore("interval", "score_thr", "wait_time", "test_out_dir", "backend_args")
        places = _read_out_dirs(hooks)
        logger, logs = _read_logger(hooks, schedule, places.get("logger"))
        return HookKeys(
            checkpoints=_read_checkpoint(hooks, schedule, evaluates=evaluates),
            checkpoint_dir=places.get("checkpoint"),
            logger=logger,
            logs=logs,
        )


def _check_standing(hooks: Section, key: str, kind: str) -> None:
    # None is how one leaves the sampler to others: there is none to seed.
    if key in hooks and not (key == "sampler_seed" and not hooks.has(key)):
        with hooks.section(key) as section:
            section.choice("type", [kind])
            section.ignore("priority")


def _read_out_dirs(hooks: Section) -> dict[str, OutDir]:
    """The `out_dir` of each hook that has one. All that is wrong is said at once."""
    found: dict[str, OutDir] = {}
    problems = []
    for key in ("checkpoint", "logger"):
        try:
            place = read_out_dir(hooks.section(key), "backend_args") if hooks.has(key) else None
        except ConfigError as error:
            problems.append(str(error))
        else:
            found |= {key: place} if place else {}
    if problems:
        raise ConfigError("; ".join(problems))
    return found


def _read_checkpoint(hooks: Section, schedule: Schedule, *, evaluates: bool) -> CheckpointPlan | None:
    # mmengine has a hook where none is named, which saves after every epoch: of a run by iterations, never.
    default = {"type": "CheckpointHook", "interval": 1} if schedule.by_epoch else None
    if hooks.take("checkpoint", default) is None:
        return None
    with hooks.section("checkpoint", default) as section:
        section.choice("type", ["CheckpointHook"], "CheckpointHook")
        by_epoch = schedule.by_epoch
        if by_epoch:
            by_epoch = section.flag("by_epoch", True)
        else:
            check_unit(section, schedule)
        section.fixed("schedulers are saved with the optimizer", save_param_scheduler=True)
        section.fixed("a checkpoint is saved as it is, from the first one on", published_keys=None, save_begin=0)
        section.choice("rule", ["greater", None], None)
        # For metrics of a user's own; the last two have been read.
        section.ignore("greater_keys", "less_keys", "priority", "out_dir", "backend_args")
        best = read_metric(section, "coco/")
        if best and not evaluates:
            raise section.error("save_best", ": there is no val_evaluator to tell which is the best")
        saves_last = section.flag("save_last", True)
        # mmengine saves the last step whatever the interval is.
        interval = _count_or_none(section, "interval") or (_NEVER if saves_last else None)
        plan = CheckpointPlan(
            by_epoch=by_epoch,
            best_by_epoch=schedule.by_epoch,
            interval=interval,
            save_last=saves_last,
            save_optimizer=section.flag("save_optimizer", True),
            keep_items=_count_or_none(section, "max_keep_ckpts"),
            filename=read_filename(section, by_epoch),
            best_metric=best,
        )
    return plan if plan.interval or best else None


def _count_or_none(section: Section, key: str) -> int | None:
    """A number of at least 1; -1, the default, is none."""
    return None if section.take(key, -1) == -1 else section.count(key, least=1)


def _read_logger(
    hooks: Section, schedule: Schedule, out_dir: OutDir | None
) -> tuple[dict[str, Any], tuple[LogOutput, ...]]:
    with hooks.section("logger", {}) as section:
        section.choice("type", ["LoggerHook"], "LoggerHook")
        hook = {
            "type": "LoggerHook",
            "log_metric_by_epoch": section.flag("log_metric_by_epoch", schedule.by_epoch),
            "interval": section.count("interval", 10, least=1),
            "ignore_last": section.flag("ignore_last", True),
        }
        keep_local = section.flag("keep_local", True)
        suffixes = read_texts(section, "out_suffix", LOG_SUFFIXES)
        section.ignore("interval_exp_name", "priority", "out_dir", "backend_args")
    return hook, (LogOutput(out_dir=out_dir, keep_local=keep_local, suffixes=suffixes),) if out_dir else ()
