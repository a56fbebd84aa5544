"""From a config to the plan of a run; here those of mmdet 2.x are read. Pure: nothing is read, built or written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.dataloaders import read_dataloader
from asyncio_loader.training.dialect import MMDET_2X, dialect_of
from asyncio_loader.training.entries import (
    FILENAMES,
    LOG_SUFFIXES,
    check_unit,
    read_custom_hooks,
    read_filename,
    read_log_level,
    read_metric,
    read_texts,
    read_trusted_checkpoints,
    read_weights_client,
)
from asyncio_loader.training.log_files import LogOutput
from asyncio_loader.training.out_dirs import OutDir, read_out_dir
from asyncio_loader.training.plan import DataPlan, RunPlan
from asyncio_loader.training.schedule import Schedule, read_schedule
from asyncio_loader.training.sections import Section
from asyncio_loader.training.translate_3x import read_randomness, translate_3x

__all__ = ["DataPlan", "RunPlan", "translate", "translate_data"]

_LOG = logging.getLogger(__name__)


def translate(config: Mapping[str, Any]) -> RunPlan:
    """The plan of a run.

    Top-level keys without a meaning in the dialect are a user's variables and pass; within a section of the dialect,
    each key is honoured, or known to change nothing here, or refused.

    Args:
        config: of mmdet 2.x or 3.x; what both can say comes to equal plans, but for the names in `RunPlan.dialect`.

    Raises:
        ConfigError: names the dotted path and the value; or it is a mixture of both dialects.
    """
    dialect = dialect_of(config)
    dialect.check_sections(config)
    top = Section(config)
    plan = translate_3x(top) if dialect.is_3x else _translate_2x(top)
    for key, name in top.near_misses():
        _LOG.warning("config: %s is taken for a variable of yours; if it shall be %s, it is misspelt", key, name)
    return plan


def translate_data(config: Mapping[str, Any], split: str) -> DataPlan:
    """How the data of a split are taken. What else a run needs need not be there, and is not looked at.

    Args:
        config: of mmdet 2.x or 3.x.
        split: ``"train"``, ``"val"`` or ``"test"``.

    Raises:
        ConfigError: names the dotted path and the value; or it is a mixture of both dialects.
    """
    dialect, top = dialect_of(config), Section(config)
    if dialect.is_3x:
        keys = read_dataloader(top, split)
        batch_size, thread_count, seed = keys.batch_size, keys.thread_count, read_randomness(top)["seed"]
    else:
        batch_size, thread_count = _read_data(top)
        seed = top.count("seed", 0)
    return DataPlan(dialect=dialect, batch_size=batch_size, thread_count=thread_count, seed=seed)


def _translate_2x(top: Section) -> RunPlan:
    batch_size, thread_count = _read_data(top)
    schedule = read_schedule(top, batch_size)
    out_dirs = _read_out_dirs(top)
    val_interval, val_begin, best = _read_evaluation(top, schedule)
    logger, logs = _read_logging(top, schedule, out_dirs)
    load_from, is_resumed = _read_start(top)
    _refuse_foreign(top)
    return RunPlan(
        dialect=MMDET_2X,
        batch_size=batch_size,
        thread_count=thread_count,
        val_batch_size=batch_size,
        val_thread_count=thread_count,
        schedule=schedule,
        val_interval=val_interval,
        val_begin=val_begin,
        checkpoints=_read_checkpoints(top, schedule, best),
        checkpoint_dir=out_dirs.get("checkpoint_config"),
        best_dir=out_dirs.get("evaluation"),
        logs=logs,
        logger=logger,
        log_window=logger["interval"],
        custom_hooks=read_custom_hooks(top),
        load_from=load_from,
        is_resumed=is_resumed,
        weights_client=read_weights_client(top, "file_client_args"),
        trusted_checkpoints=read_trusted_checkpoints(top),
        log_level=read_log_level(top),
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
        check_unit(section, schedule)
        # How processes exchange results: there is one. The last two have been read.
        section.ignore("gpu_collect", "tmpdir", "broadcast_bn_buffer", "out_dir", "file_client_args")
        section.choice("rule", ["greater", None], None)
        return interval, begin, read_metric(section)


def _read_checkpoints(top: Section, schedule: Schedule, best: str | None) -> CheckpointPlan | None:
    units = {"by_epoch": schedule.by_epoch, "best_by_epoch": schedule.by_epoch}
    if not top.has("checkpoint_config"):
        filename = FILENAMES[schedule.by_epoch]
        return CheckpointPlan(**units, interval=None, filename=filename, best_metric=best) if best else None
    with top.section("checkpoint_config") as section:
        if schedule.by_epoch:
            units["by_epoch"] = section.flag("by_epoch", True)
        else:
            check_unit(section, schedule)
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
            filename=read_filename(section, units["by_epoch"]),
            best_metric=best,
        )


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
                suffixes = read_texts(logger, "out_suffix", LOG_SUFFIXES)
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


def _read_start(top: Section) -> tuple[str | None, bool]:
    for key, is_resumed in (("resume_from", True), ("load_from", False)):
        if top.has(key):
            return top.text(key), is_resumed
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
