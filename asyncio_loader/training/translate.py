"""From a config of mmdet 2.x to the arguments of mmengine's Runner. Pure: nothing is read, built or written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.log_files import LogOutput
from asyncio_loader.training.out_dirs import OutDir, read_out_dir
from asyncio_loader.training.schedule import Schedule, read_schedule
from asyncio_loader.training.sections import Section

__all__ = ["RunPlan", "translate"]

_METRICS = ["bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_s", "bbox_mAP_m", "bbox_mAP_l"]
# What mmengine writes: the log, the scalars, the config, and copies of these for visualizers. And the quarantine file.
_LOG_SUFFIXES = (".log", ".json", ".py", ".yaml", ".jsonl")
# Of a run by epochs nobody knows how many iterations it will have before the data have been counted.
_MOST_ITERATIONS = 10**9 - 1
_FILENAMES = {True: "epoch_{}.pth", False: "iter_{}.pth"}
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
        checkpoints: which checkpoints are saved; None: none.
        checkpoint_dir: where they go; None: to the work directory.
        best_dir: where the best one goes; None: to the work directory.
        logs: where copies of the log go.
        logger: mmengine's `default_hooks.logger`.
        custom_hooks: mmengine's `custom_hooks`.
        load_from: checkpoint to start from, or to resume from.
        is_resumed: whether `load_from` is continued, optimizer and counters included.
        weights_client: what reads weights of ``s3://`` URIs; None: the one with endpoint and keys of the environment.
        trusted_checkpoints: places whose checkpoints may hold more than weights; see `read_checkpoint`.
        log_level: of the run's logger.
        opencv_thread_count: threads within one OpenCV call.
        randomness: mmengine's `randomness`. The seed is 0 unless the config has one: a run is repeatable by default.
    """

    batch_size: int
    thread_count: int
    schedule: Schedule
    val_interval: int | None
    val_begin: int
    checkpoints: CheckpointPlan | None
    checkpoint_dir: OutDir | None
    best_dir: OutDir | None
    logs: tuple[LogOutput, ...]
    logger: dict[str, Any]
    custom_hooks: list[dict[str, Any]]
    load_from: str | None
    is_resumed: bool
    weights_client: FileClient | None
    trusted_checkpoints: tuple[str, ...]
    log_level: str
    opencv_thread_count: int
    randomness: dict[str, Any]

    @property
    def train_cfg(self) -> dict[str, Any]:
        """mmengine's `train_cfg`, without the loop's type."""
        limit = "max_epochs" if self.schedule.by_epoch else "max_iters"
        interval = self.val_interval or self.schedule.length
        return {limit: self.schedule.length, "val_interval": interval, "val_begin": self.val_begin}

    @property
    def longest_names(self) -> tuple[str | None, str | None]:
        """Of a regular and of a best checkpoint; None where there is none."""
        plan, length = self.checkpoints, self.schedule.length
        steps = length if plan and plan.by_epoch == self.schedule.by_epoch else _MOST_ITERATIONS
        return (
            plan.regular_name(steps) if plan and plan.interval else None,
            plan.best_name(length) if plan and plan.best_metric else None,
        )


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
    out_dirs = _read_out_dirs(top)
    val_interval, val_begin, best = _read_evaluation(top, schedule)
    logger, logs = _read_logging(top, schedule, out_dirs)
    load_from, is_resumed = _read_start(top)
    _refuse_foreign(top)
    return RunPlan(
        batch_size=batch_size,
        thread_count=thread_count,
        schedule=schedule,
        val_interval=val_interval,
        val_begin=val_begin,
        checkpoints=_read_checkpoints(top, schedule, best),
        checkpoint_dir=out_dirs.get("checkpoint_config"),
        best_dir=out_dirs.get("evaluation"),
        logs=logs,
        logger=logger,
        custom_hooks=_read_custom_hooks(top),
        load_from=load_from,
        is_resumed=is_resumed,
        weights_client=_read_weights_client(top),
        trusted_checkpoints=_read_texts(top, "trusted_checkpoints", ()),
        log_level=top.choice("log_level", _LEVELS, "INFO"),
        opencv_thread_count=top.count("opencv_num_threads", 0),
        randomness={"seed": top.count("seed", 0), "deterministic": top.flag("deterministic", False)},
    )


def _read_out_dirs(top: Section) -> dict[str, OutDir]:
    """The `out_dir` of every section that has one, by the section's path. All that is wrong is said at once."""
    places = {path: top.take(path, None) for path in ("checkpoint_config", "evaluation")}
    loggers = _read_loggers(top.section("log_config", {}))
    places |= {f"log_config.hooks[{place}]": values for place, values in enumerate(loggers)}
    out_dirs: dict[str, OutDir] = {}
    problems = []
    for path, values in places.items():
        try:
            out_dir = read_out_dir(Section(values or {}, path))
        except ConfigError as error:
            problems.append(str(error))
        else:
            out_dirs |= {path: out_dir} if out_dir else {}
    if problems:
        raise ConfigError("; ".join(problems))
    return out_dirs


def _read_data(top: Section) -> tuple[int, int]:
    with top.section("data") as data:
        # The sets are made by `datasets.build_dataset`; there are no worker processes to keep, and no sampler.
        data.ignore("train", "val", "test", "group_by_aspect", "persistent_workers", "shuffle", "pin_memory")
        return data.count("samples_per_gpu", least=1), max(1, data.count("workers_per_gpu", 1))


def _read_evaluation(top: Section, schedule: Schedule) -> tuple[int | None, int, str | None]:
    """Interval, first time, and the metric whose best checkpoint is kept."""
    if not top.has("evaluation"):
        return None, 1, None
    with top.section("evaluation") as section:
        interval = section.count("interval", 1, least=1)
        begin = section.count("start", least=0) if section.has("start") else 1
        section.choice("metric", ["bbox", ["bbox"]], "bbox", why="boxes are what this model predicts")
        _check_unit(section, schedule)
        # How processes exchange results: there is one. The last two have been read.
        section.ignore("gpu_collect", "tmpdir", "broadcast_bn_buffer", "out_dir", "file_client_args")
        section.choice("rule", ["greater", None], None)
        if not section.has("save_best"):
            return interval, begin, None
        choice = section.choice("save_best", ["bbox", "auto", *_METRICS])
        return interval, begin, "bbox_mAP" if choice in ("bbox", "auto") else choice


def _read_checkpoints(top: Section, schedule: Schedule, best: str | None) -> CheckpointPlan | None:
    units = {"by_epoch": schedule.by_epoch, "best_by_epoch": schedule.by_epoch}
    if not top.has("checkpoint_config"):
        filename = _FILENAMES[schedule.by_epoch]
        return CheckpointPlan(**units, interval=None, filename=filename, best_metric=best) if best else None
    with top.section("checkpoint_config") as section:
        if schedule.by_epoch:
            units["by_epoch"] = section.flag("by_epoch", True)
        else:
            _check_unit(section, schedule)
        # The file `last_checkpoint` is there instead of a link, and always mmengine's own meta data. The last two have
        # been read.
        section.ignore("create_symlink", "meta", "sync_buffer", "out_dir", "file_client_args")
        keep = section.take("max_keep_ckpts", -1)
        return CheckpointPlan(
            **units,
            interval=section.count("interval", 1, least=1),
            save_last=section.flag("save_last", True),
            save_optimizer=section.flag("save_optimizer", True),
            keep_items=None if keep == -1 else section.count("max_keep_ckpts", least=1),
            filename=_read_filename(section, units["by_epoch"]),
            best_metric=best,
        )


def _read_filename(section: Section, by_epoch: bool) -> str:
    filename = section.text("filename_tmpl") if section.has("filename_tmpl") else _FILENAMES[by_epoch]
    # Any other brace would fail, or vanish, when the name is made.
    if "{}" not in filename or {"{", "}", "/"} & set(filename.replace("{}", "", 1)):
        raise section.error("filename_tmpl", "must be the name of a file with one {} for the steps")
    return filename


def _read_logging(
    top: Section, schedule: Schedule, out_dirs: Mapping[str, OutDir]
) -> tuple[dict[str, Any], tuple[LogOutput, ...]]:
    hook: dict[str, Any] = {"type": "LoggerHook", "log_metric_by_epoch": schedule.by_epoch}
    outputs = []
    with top.section("log_config", {}) as section:
        hook["interval"] = section.count("interval", 10, least=1)
        for place, values in enumerate(_read_loggers(section)):
            with Section(values, f"log_config.hooks[{place}]") as logger:
                logger.choice("type", ["TextLoggerHook"], why="this is the logger there is")
                hook["interval"] = logger.count("interval", hook["interval"], least=1)
                hook["ignore_last"] = logger.flag("ignore_last", True)
                keep_local = logger.flag("keep_local", True)
                suffixes = _read_texts(logger, "out_suffix", _LOG_SUFFIXES)
                logger.ignore("by_epoch", "reset_flag", "interval_exp_name", "out_dir", "file_client_args")
                if logger.path in out_dirs:
                    out_dir = out_dirs[logger.path]
                    outputs.append(LogOutput(out_dir=out_dir, keep_local=keep_local, suffixes=suffixes))
    return hook, tuple(outputs)


def _read_loggers(section: Section) -> list[Any]:
    hooks = section.take("hooks", None)
    if hooks is not None and not isinstance(hooks, list | tuple):
        raise section.error("hooks", "must be a list of dicts")
    return list(hooks or ())


def _read_texts(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    values = section.take(key, default)
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) and value for value in values):
        raise section.error(key, "must be a list of non-empty strings")
    return tuple(values)


def _check_unit(section: Section, schedule: Schedule) -> None:
    unit = "epochs" if schedule.by_epoch else "iterations"
    section.choice("by_epoch", [schedule.by_epoch], schedule.by_epoch, why=f"the runner counts {unit}")


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
            return top.text(key), is_resumed
    return None, False


def _read_weights_client(top: Section) -> FileClient | None:
    """From the `file_client_args` at the top, the variable that configs of the dialect have for all their data."""
    arguments = top.take("file_client_args", None)
    if not isinstance(arguments, Mapping) or arguments.get("backend", arguments.get("prefix")) not in ("aws", "s3"):
        return None
    return FileClient(**arguments)


def _refuse_foreign(top: Section) -> None:
    """What would silently train something else."""
    workflow = top.take("workflow", None)
    if workflow is not None and [list(step) for step in workflow] != [["train", 1]]:
        raise ConfigError(
            f"workflow={workflow!r} must be [('train', 1)]: losses on the validation set are not computed"
        )
    if top.has("fp16"):
        raise top.error("fp16", ": mixed precision is not there yet: leave it out")
