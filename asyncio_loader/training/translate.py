"""From a config of mmdet 2.x to the arguments of mmengine's Runner. Pure: nothing is read, built or written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.schedule import Schedule, read_schedule
from asyncio_loader.training.sections import Section

__all__ = ["RunPlan", "translate"]

_METRICS = ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l"]
_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How a run goes, in mmengine's terms.

    Attributes:
        batch_size: images per step (`data.samples_per_gpu`).
        thread_count: threads that decode and transform (`data.workers_per_gpu`, at least 1).
        schedule: length, optimizer and learning rates.
        val_interval: epochs or iterations between evaluations; None: never.
        val_begin: the first epoch or iteration that is evaluated.
        default_hooks: mmengine's `default_hooks`.
        custom_hooks: mmengine's `custom_hooks`.
        load_from: checkpoint to start from, or to resume from.
        is_resumed: whether `load_from` is continued, optimizer and counters included.
        log_level: of the run's logger.
        opencv_thread_count: threads within one OpenCV call.
        randomness: mmengine's `randomness`. The seed is 0 unless the config has one: a run is repeatable by default.
    """

    batch_size: int
    thread_count: int
    schedule: Schedule
    val_interval: int | None
    val_begin: int
    default_hooks: dict[str, Any]
    custom_hooks: list[dict[str, Any]]
    load_from: str | None
    is_resumed: bool
    log_level: str
    opencv_thread_count: int
    randomness: dict[str, Any]

    @property
    def train_cfg(self) -> dict[str, Any]:
        """mmengine's `train_cfg`, without the loop's type."""
        limit = "max_epochs" if self.schedule.by_epoch else "max_iters"
        interval = self.val_interval or self.schedule.length
        return {limit: self.schedule.length, "val_interval": interval, "val_begin": self.val_begin}


def translate(config: Mapping[str, Any]) -> RunPlan:
    """The plan of a run.

    Top-level keys without a meaning in the dialect are a user's variables and pass; within a section of the dialect,
    each key is honoured, or known to change nothing here, or refused.

    Raises:
        ConfigError: names the dotted path and the value.
    """
    top = Section(config)
    batch_size, thread_count = _read_data(top)
    schedule = read_schedule(top, batch_size)
    val_interval, val_begin, best = _read_evaluation(top, schedule)
    load_from, is_resumed = _read_start(top)
    _refuse_foreign(top)
    return RunPlan(
        batch_size=batch_size,
        thread_count=thread_count,
        schedule=schedule,
        val_interval=val_interval,
        val_begin=val_begin,
        default_hooks={
            "logger": _read_logging(top, schedule),
            "checkpoint": _read_checkpoints(top, schedule, best),
            # Epochs are set by a hook of ours; there is no sampler.
            "sampler_seed": None,
        },
        custom_hooks=_read_custom_hooks(top),
        load_from=load_from,
        is_resumed=is_resumed,
        log_level=top.choice("log_level", _LEVELS, "INFO"),
        opencv_thread_count=top.count("opencv_num_threads", 0),
        randomness={"seed": top.count("seed", 0), "deterministic": top.flag("deterministic", False)},
    )


def _read_data(top: Section) -> tuple[int, int]:
    with top.section("data") as data:
        # The sets are read by `datasets.build_dataset`; there are no worker processes to keep, and no sampler.
        data.ignore("train", "val", "test", "persistent_workers", "shuffle", "pin_memory")
        return data.count("samples_per_gpu", least=1), max(1, data.count("workers_per_gpu", 1))


def _read_evaluation(top: Section, schedule: Schedule) -> tuple[int | None, int, dict[str, Any]]:
    """Interval, first time, and what the checkpoint hook must know of the best one."""
    if not top.has("evaluation"):
        return None, 1, {}
    with top.section("evaluation") as section:
        interval = section.count("interval", 1, least=1)
        begin = section.count("start", least=0) if section.has("start") else 1
        section.choice("metric", ["bbox", ["bbox"]], "bbox", why="boxes are what this model predicts")
        _check_unit(section, schedule)
        # How processes exchange results, and where a copy of them goes: there is one process, and no copy.
        section.ignore("gpu_collect", "tmpdir", "broadcast_bn_buffer")
        _local_directory(section, "checkpoints")
        if not section.has("save_best"):
            return interval, begin, {}
        choice = section.choice("save_best", ["bbox", "auto", *_METRICS])
        best = {"save_best": "bbox_mAP" if choice in ("bbox", "auto") else choice, "rule": "greater"}
        section.choice("rule", ["greater", None], None)
        return interval, begin, best


def _read_checkpoints(top: Section, schedule: Schedule, best: dict[str, Any]) -> dict[str, Any] | None:
    hook: dict[str, Any] = {"type": "CheckpointHook", "by_epoch": schedule.by_epoch, **best}
    if not top.has("checkpoint_config"):
        return {**hook, "interval": -1, "save_last": False} if best else None
    with top.section("checkpoint_config") as section:
        hook["interval"] = section.count("interval", 1, least=1)
        hook["save_last"] = section.flag("save_last", True)
        hook["save_optimizer"] = section.flag("save_optimizer", True)
        keep = section.take("max_keep_ckpts", -1)
        hook["max_keep_ckpts"] = keep if keep == -1 else section.count("max_keep_ckpts", least=1)
        if section.has("filename_tmpl"):
            hook["filename_tmpl"] = section.text("filename_tmpl")
        hook["out_dir"] = _local_directory(section, "checkpoints")
        _check_unit(section, schedule)
        # mmengine writes a file `last_checkpoint` instead of a link, and always its own meta data.
        section.ignore("create_symlink", "meta", "sync_buffer")
    return hook


def _read_logging(top: Section, schedule: Schedule) -> dict[str, Any]:
    hook: dict[str, Any] = {"type": "LoggerHook", "log_metric_by_epoch": schedule.by_epoch}
    with top.section("log_config", {}) as section:
        hook["interval"] = section.count("interval", 10, least=1)
        for place, values in enumerate(section.take("hooks", [])):
            with Section(values, f"log_config.hooks[{place}]") as logger:
                logger.choice("type", ["TextLoggerHook"], why="this is the logger there is")
                hook["interval"] = logger.count("interval", hook["interval"], least=1)
                hook["ignore_last"] = logger.flag("ignore_last", True)
                hook["out_dir"] = _local_directory(logger, "logs")
                hook["keep_local"] = logger.flag("keep_local", True)
                logger.ignore("by_epoch", "reset_flag", "interval_exp_name", "out_suffix")
    return hook


def _check_unit(section: Section, schedule: Schedule) -> None:
    unit = "epochs" if schedule.by_epoch else "iterations"
    section.choice("by_epoch", [schedule.by_epoch], schedule.by_epoch, why=f"the runner counts {unit}")


def _local_directory(section: Section, what: str) -> str | None:
    if not section.has("out_dir"):
        return None
    directory = section.text("out_dir")
    if "://" in directory:
        raise section.error("out_dir", f": {what} on S3 are not there yet: say None, they go to the work directory")
    return directory


def _read_custom_hooks(top: Section) -> list[dict[str, Any]]:
    # Importing its module is what registers a hook.
    import mmengine.hooks  # noqa: F401
    from mmengine.registry import HOOKS

    known = {"NumClassCheckHook", *HOOKS.module_dict}
    hooks = []
    for place, values in enumerate(top.take("custom_hooks", None) or []):
        with Section(values, f"custom_hooks[{place}]") as section:
            kind = section.take("type")
            section.ignore("priority")
            if isinstance(kind, str):
                section.choice("type", sorted(known))
                section.ignore(*_parameters(HOOKS.module_dict.get(kind)))
            else:
                section.ignore(*_parameters(kind))
        # The number of classes is checked anyway.
        if values["type"] != "NumClassCheckHook":
            hooks.append(dict(values))
    return hooks


def _parameters(kind: object) -> list[str]:
    return list(inspect.signature(kind).parameters) if callable(kind) else []


def _read_start(top: Section) -> tuple[str | None, bool]:
    for key, is_resumed in (("resume_from", True), ("load_from", False)):
        if top.has(key):
            checkpoint = top.text(key)
            if "://" in checkpoint:
                raise top.error(key, ": checkpoints on S3 or the web are not there yet: say None, or a local file")
            return checkpoint, is_resumed
    return None, False


def _refuse_foreign(top: Section) -> None:
    """What would silently train something else."""
    workflow = top.take("workflow", None)
    if workflow is not None and [list(step) for step in workflow] != [["train", 1]]:
        raise ConfigError(
            f"workflow={workflow!r} must be [('train', 1)]: losses on the validation set are not computed"
        )
    if top.has("fp16"):
        raise top.error("fp16", ": mixed precision is not there yet: leave it out")
