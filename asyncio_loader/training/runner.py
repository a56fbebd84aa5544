"""A config becomes a run: data from wherever it lies, a model, mmengine's Runner around them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, set_random_seed

from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.stats import LoaderStats
from asyncio_loader.training.datasets import annotation_reader, build_dataset, build_loader, check_classes
from asyncio_loader.training.evaluation import CocoMetric
from asyncio_loader.training.hooks import EpochHook, ThroughputHook
from asyncio_loader.training.loops import IterationLoop
from asyncio_loader.training.model import FasterRCNN, build_model
from asyncio_loader.training.run_log import relay_log
from asyncio_loader.training.translate import RunPlan, translate
from asyncio_loader.training.weights import load_pretrained

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

__all__ = ["TrainingReport", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What came of a run.

    Attributes:
        work_dir: where checkpoints and logs are.
        losses: total loss of every step, those before a resume included.
        metrics: the last evaluation, ``bbox_mAP`` and so on; empty without one.
        detections: predictions of the last evaluation; see `CocoMetric`.
        stats: of the training loader.
        elapsed_s: seconds from the first step to the end, evaluation and checkpoints included.
    """

    work_dir: Path
    losses: list[float]
    metrics: dict[str, float]
    detections: list[dict[str, Tensor]] = field(repr=False)
    stats: LoaderStats
    elapsed_s: float


@dataclass(slots=True)
class _Parts:
    """What a run is made of."""

    plan: RunPlan
    model: FasterRCNN
    train_loader: Loader
    val_loader: Loader | None
    metric: CocoMetric | None


def train(
    config: Config,
    *,
    work_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    hooks: Sequence[Hook] = (),
    console: TextIO | None = None,
) -> TrainingReport:
    """Train what a config describes, on a GPU if there is one, else on the CPU.

    Args:
        config: from `load_config`.
        work_dir: checkpoints and logs go there. None: the config's `work_dir`, else ``work_dirs/<name of the config>``.
        resume: continue from the last checkpoint in `work_dir`, if there is one.
        hooks: mmengine hooks of yours.
        console: where log lines go besides the log file. None: standard output.

    Raises:
        ConfigError: something in the config is wrong; names the config file, the dotted path and the value.
        LoaderError: data could not be had; see `asyncio_loader.errors`.

    However it ends, an interrupt included, connections, threads and log files of the run are closed then.
    It seeds the global generators of random, numpy and torch.
    """
    directory = Path(work_dir or config.get("work_dir") or Path("work_dirs", _stem(config)))
    with relay_log(logging.INFO) as relay, contextlib.ExitStack() as stack:
        with _named(config.filename):
            # First of all: it would be a pity to find out after the data has been read.
            _check_directory(directory)
            parts = _prepare(config.to_dict(), stack)
        runner = _build_runner(config, parts, directory, resume, hooks, console)
        stack.callback(_close_log, runner)
        relay.attach(runner.logger)
        start_s = time.monotonic()
        runner.train()
        losses = runner.message_hub.get_scalar("train/loss").data[0]
        return TrainingReport(
            work_dir=directory,
            losses=[float(loss) for loss in losses],
            metrics=parts.metric.metrics if parts.metric else {},
            detections=parts.metric.detections if parts.metric else [],
            stats=parts.train_loader.stats(),
            elapsed_s=time.monotonic() - start_s,
        )


def _check_directory(directory: Path) -> None:
    """It is, or can be made, a directory to write to. Makes nothing: a wrong config leaves no trace."""
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"work_dir {str(directory)!r}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"work_dir {str(directory)!r}: {there} is not writable")


def _stem(config: Config) -> str:
    return Path(config.filename).stem if config.filename else "run"


def _prepare(config: Mapping[str, Any], stack: contextlib.ExitStack) -> _Parts:
    """Everything that can be wrong with a config is found here, before the first step. Loaders close with `stack`."""
    plan = translate(config)
    if "model" not in config:
        raise ConfigError("model is missing")
    # The Runner seeds too, but only after the model has been given its first weights.
    set_random_seed(**plan.randomness)
    model = build_model(config["model"])
    if plan.load_from and not plan.is_resumed:
        load_pretrained(model, plan.load_from, path="load_from")
    seed = plan.randomness["seed"]
    train_set = build_dataset(config, "train", seed=seed, batch_size=plan.batch_size)
    check_classes(train_set, model.class_count)
    train_loader = stack.enter_context(build_loader(train_set, plan.batch_size, plan.thread_count))
    if plan.val_interval is None:
        return _Parts(plan, model, train_loader, None, None)
    val_set = build_dataset(config, "val", seed=seed, batch_size=plan.batch_size)
    val_loader = stack.enter_context(build_loader(val_set, plan.batch_size, plan.thread_count))
    metric = CocoMetric(val_set.index, annotation_reader(config, val_set, "val"))
    return _Parts(plan, model, train_loader, val_loader, metric)


def _build_runner(
    config: Config, parts: _Parts, directory: Path, resume: bool, hooks: Sequence[Hook], console: TextIO | None
) -> Runner:
    plan = parts.plan
    schedule = plan.schedule
    evaluates = parts.val_loader is not None
    # mmengine's console handler keeps the stream that is standard output when it is made.
    with contextlib.redirect_stdout(console) if console else contextlib.nullcontext():
        return Runner(
            model=parts.model,
            work_dir=str(directory),
            train_dataloader=parts.train_loader,
            train_cfg={"type": EpochBasedTrainLoop if schedule.by_epoch else IterationLoop, **plan.train_cfg},
            val_dataloader=parts.val_loader,
            val_cfg={} if evaluates else None,
            val_evaluator=Evaluator([parts.metric]) if evaluates else None,
            optim_wrapper=schedule.optim_wrapper,
            param_scheduler=schedule.param_scheduler,
            default_hooks=plan.default_hooks,
            custom_hooks=[*([EpochHook()] if schedule.by_epoch else []), ThroughputHook(), *hooks, *plan.custom_hooks],
            load_from=plan.load_from if plan.is_resumed else None,
            resume=plan.is_resumed or resume,
            env_cfg={"mp_cfg": _process_settings(plan)},
            log_processor=_log_processor(plan),
            log_level=plan.log_level,
            randomness=plan.randomness,
            # mmengine keeps loggers and message hubs by this name for ever: each run has its own.
            experiment_name=f"{_stem(config)}_{uuid.uuid4().hex[:8]}",
            cfg=config,
        )


def _process_settings(plan: RunPlan) -> dict[str, Any]:
    # There are no worker processes: the start method stays what it is, whatever `mp_start_method` says.
    return {"mp_start_method": multiprocessing.get_start_method(), "opencv_num_threads": plan.opencv_thread_count}


def _log_processor(plan: RunPlan) -> dict[str, Any]:
    return {
        "by_epoch": plan.schedule.by_epoch,
        "window_size": plan.default_hooks["logger"]["interval"],
        "mean_pattern": r".*(loss|time|grad_norm|images_per_s|wait_share).*",
    }


def _close_log(runner: Runner) -> None:
    for handler in list(runner.logger.handlers):
        handler.close()
        runner.logger.removeHandler(handler)


@contextlib.contextmanager
def _named(filename: str | None) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{filename}: {error}" if filename else str(error)) from error
