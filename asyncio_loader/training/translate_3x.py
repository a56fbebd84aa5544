"""From a config of mmdet 3.x to the plan of a run. Pure: nothing is read, built or written."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import Any

from asyncio_loader.datasets.location import join_root
from asyncio_loader.errors import ConfigError
from asyncio_loader.training.dataloaders import DataloaderKeys, read_dataloader
from asyncio_loader.training.default_hooks import read_default_hooks
from asyncio_loader.training.dialect import MMDET_3X
from asyncio_loader.training.entries import (
    check_unit,
    read_custom_hooks,
    read_log_level,
    read_trusted_checkpoints,
    read_weights_client,
)
from asyncio_loader.training.plan import RunPlan
from asyncio_loader.training.schedule import Schedule
from asyncio_loader.training.schedule_3x import read_schedule_3x, read_train_cfg
from asyncio_loader.training.sections import Section

__all__ = ["read_randomness", "translate_3x"]


def translate_3x(top: Section) -> RunPlan:
    """The plan of a run; see `translate`.

    Raises:
        ConfigError: names the dotted path and the value.
    """
    _refuse_foreign(top)
    train = read_dataloader(top, "train")
    by_epoch, length, interval, begin = read_train_cfg(top)
    val = _read_val(top)
    schedule = read_schedule_3x(top, by_epoch, length, train.batch_size)
    hooks = read_default_hooks(top, schedule, evaluates=val is not None)
    opencv_thread_count, benchmarks_cudnn = _read_environment(top)
    _check_visualizer(top)
    load_from = top.text("load_from") if top.has("load_from") else None
    resumes = top.flag("resume", False)
    return RunPlan(
        dialect=MMDET_3X,
        batch_size=train.batch_size,
        thread_count=train.thread_count,
        val_batch_size=(val or train).batch_size,
        val_thread_count=(val or train).thread_count,
        schedule=schedule,
        val_interval=interval if val else None,
        val_begin=begin,
        checkpoints=hooks.checkpoints,
        checkpoint_dir=hooks.checkpoint_dir,
        best_dir=hooks.checkpoint_dir,
        logs=hooks.logs,
        logger=hooks.logger,
        log_window=_read_log_window(top, schedule, hooks.logger["interval"]),
        custom_hooks=read_custom_hooks(top),
        load_from=load_from,
        is_resumed=resumes and load_from is not None,
        resumes_last=resumes and load_from is None,
        weights_client=read_weights_client(top, "backend_args"),
        trusted_checkpoints=read_trusted_checkpoints(top),
        log_level=read_log_level(top),
        opencv_thread_count=opencv_thread_count,
        benchmarks_cudnn=benchmarks_cudnn,
        randomness=read_randomness(top),
    )


def _refuse_foreign(top: Section) -> None:
    """What would silently train something else."""
    for key in ("sync_bn", "strategy", "runner_type"):
        if top.has(key):
            raise top.error(key, ": that is not there: leave it out")
    model = top.take("model", None)
    if top.has("data_preprocessor") and not (isinstance(model, Mapping) and model.get("data_preprocessor")):
        raise top.error("data_preprocessor", ": say it in model.data_preprocessor, too")


def _read_val(top: Section) -> DataloaderKeys | None:
    """None: nothing is evaluated."""
    trio = ("val_dataloader", "val_cfg", "val_evaluator")
    missing = [key for key in trio if top.take(key, None) is None]
    if len(missing) == len(trio):
        return None
    if missing:
        raise ConfigError(f"{missing[0]} is missing: {', '.join(trio)} are there together, or none of them is")
    keys = read_dataloader(top, "val")
    with top.section("val_cfg") as section:
        section.choice("type", ["ValLoop"], "ValLoop")
        section.fixed("mixed precision is not there yet", fp16=False)
    _check_evaluator(top, keys.data_set)
    return keys


def _check_evaluator(top: Section, data_set: Section) -> None:
    value = top.take("val_evaluator")
    is_list = isinstance(value, list | tuple)
    if is_list and len(value) != 1:
        raise top.error("val_evaluator", "must be one evaluator")
    with Section(value[0], "val_evaluator[0]") if is_list else top.section("val_evaluator") as section:
        section.choice("type", ["CocoMetric"])
        section.choice("metric", ["bbox", ["bbox"]], "bbox", why="boxes are what this model predicts")
        section.fixed("predictions are judged, and not written", format_only=False, outfile_prefix=None)
        section.fixed("the six numbers of COCO are what there is", classwise=False, iou_thrs=None, metric_items=None)
        section.fixed("metrics have no prefix", prefix=None)
        # How it gets its work done; and what the data set has said already.
        section.ignore("proposal_nums", "collect_device", "collect_dir", "use_mp_eval", "sort_categories")
        section.ignore("backend_args")
        if section.has("ann_file"):
            _check_same_file(section, data_set)


def _check_same_file(evaluator: Section, data_set: Section) -> None:
    judged = evaluator.text("ann_file")
    wanted = join_root(data_set.text("ann_file"), data_set.take("data_root", None)) or ""
    if os.path.normpath(judged) != os.path.normpath(wanted):
        raise evaluator.error("ann_file", f"must be that of {data_set.path}, {wanted!r}, or left out")


def _read_environment(top: Section) -> tuple[int, bool]:
    """Threads of OpenCV, and whether cuDNN tries out its algorithms."""
    with top.section("env_cfg", {}) as section:
        # Ranks are torchrun's; the backend follows the device.
        section.ignore("dist_cfg", "resource_limit")
        with section.section("mp_cfg", {}) as processes:
            # There are no worker processes to start.
            processes.ignore("mp_start_method")
            threads = processes.count("opencv_num_threads", 0)
        return threads, section.flag("cudnn_benchmark", False)


def _check_visualizer(top: Section) -> None:
    """What it would write besides the scalars of the log."""
    if not top.has("visualizer"):
        return
    with top.section("visualizer") as section:
        section.choice("type", ["DetLocalVisualizer", "Visualizer"])
        section.ignore("name", "save_dir")
        backends = section.take("vis_backends", None) or []
        if not isinstance(backends, list | tuple):
            raise section.error("vis_backends", "must be a list of dicts")
        for place, values in enumerate(backends):
            with Section(values, f"visualizer.vis_backends[{place}]") as backend:
                backend.choice("type", ["LocalVisBackend"], why="scalars are written beside the log")
                backend.ignore("save_dir", "img_save_dir", "config_save_file", "scalar_save_file")


def _read_log_window(top: Section, schedule: Schedule, interval: int) -> int:
    if not top.has("log_processor"):
        return interval
    with top.section("log_processor") as section:
        section.choice("type", ["LogProcessor"], "LogProcessor")
        check_unit(section, schedule)
        section.ignore("num_digits")
        return section.count("window_size", interval, least=1)


def read_randomness(top: Section) -> dict[str, Any]:
    """mmengine's `randomness`, with a seed."""
    values = top.take("randomness", None) or {}
    with Section(values, "randomness") as section:
        seed = section.count("seed") if section.has("seed") else 0
        # Every rank draws its own regions anyway, and all share the order of the data.
        section.ignore("diff_rank_seed")
        randomness = {"seed": seed, "deterministic": section.flag("deterministic", False)}
    _refuse_2x_seed(top, randomness)
    return randomness


def _refuse_2x_seed(top: Section, randomness: Mapping[str, Any]) -> None:
    """As variables they may be there: but then they say what is the case."""
    for key, value in randomness.items():
        if top.has(key) and top.take(key) != value:
            raise top.error(key, f"is how mmdet 2.x says it: in 3.x say randomness=dict({key}=…)")
