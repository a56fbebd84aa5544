"""A config becomes a run: data, weights and results wherever they lie, a model, mmengine's Runner around them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.naming import named
from asyncio_loader.order.shard import Shard
from asyncio_loader.stats import LoaderStats
from asyncio_loader.trace import TraceFile
from asyncio_loader.training.checkpoints import CheckpointHook
from asyncio_loader.training.datasets import (
    annotation_reader,
    build_dataset,
    build_loader,
    check_classes,
    expect_epochs,
    keep_quarantine,
)
from asyncio_loader.training.distributed import Ranks, joined_ranks, noticing_lost_ranks
from asyncio_loader.training.evaluation import CocoMetric
from asyncio_loader.training.exporting import open_exporter
from asyncio_loader.training.hooks import EpochHook, ThroughputHook
from asyncio_loader.training.log_files import LogShipment, shipped
from asyncio_loader.training.loops import EpochLoop, IterationLoop
from asyncio_loader.training.model import FasterRCNN, build_model
from asyncio_loader.training.out_dirs import check_writable
from asyncio_loader.training.parallel import BroadcastBuffers, RankRunner
from asyncio_loader.training.places import Places, look_back, plan_places
from asyncio_loader.training.preprocess import ImagePreprocessor, check_normalized_once
from asyncio_loader.training.recording import recorded
from asyncio_loader.training.run_log import quiet_rank, relay_log
from asyncio_loader.training.tracing import open_trace
from asyncio_loader.training.translate import RunPlan, translate
from asyncio_loader.training.watching import Watch, open_watch
from asyncio_loader.training.weights import load_pretrained

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

    from asyncio_loader.metrics import PrometheusExporter

__all__ = ["TrainingReport", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """What came of a run.

    Attributes:
        work_dir: where checkpoints and logs are, as far as the config wants them nowhere else.
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

    ranks: Ranks
    plan: RunPlan
    places: Places
    model: FasterRCNN
    train_loader: Loader
    val_loader: Loader | None
    metric: CocoMetric | None


def train(
    config: Config,
    *,
    work_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    trusted: Sequence[str] = (),
    hooks: Sequence[Hook] = (),
    console: TextIO | None = None,
    before_kill: Callable[[Callable[[], None]], None] | None = None,
    metrics_port: int | None = None,
    metrics_addr: str = "127.0.0.1",
    trace: str | os.PathLike[str] | None = None,
    progress: bool | None = False,
) -> TrainingReport:
    """Train what a config describes, on a GPU if there is one, else on the CPU.

    Args:
        config: from `load_config`.
        work_dir: checkpoints and logs go there. None: the config's `work_dir`, else ``work_dirs/<name of the config>``.
        resume: continue from the last checkpoint of this `work_dir`, or from the one of most steps in the directory
            that `checkpoint_config.out_dir` makes, if that went further; see `find_last_checkpoint`.
        trusted: places, besides the config's `trusted_checkpoints`, whose checkpoints may hold more than weights,
            which can run code when read.
        hooks: mmengine hooks of yours.
        console: where log lines go besides the log file. None: standard output.
        before_kill: is given a function that copies the log, to be called from any thread before the process is ended
            in a way that does not unwind this function. Not called where the config wants no copies.
        metrics_port: where Prometheus finds the figures of the loaders "train" and "val" while the run lasts: see
            `asyncio_loader.metrics`. Each rank takes the port above it by its number on its machine. None: nowhere.
        metrics_addr: address of this machine to listen at.
        trace: local file for when each object got where, for ui.perfetto.dev and chrome://tracing; see `open_trace`
            for several ranks. None: there is none.
        progress: show on standard error, on the first rank, how the epochs of training and validation, uploads and
            downloads go. None: where that is a terminal on which a line can move.

    Raises:
        ConfigError: something in the config is wrong; names the config file, the dotted path and the value. So do all
            errors before the first step. Or the port for metrics is in use, or the trace cannot be written.
        LoaderError: data could not be had, or results not be written; see `asyncio_loader.errors`. A checkpoint whose
            upload failed lies in the work directory then, and logs stay there; the message says so.

    However it ends, an interrupt included, connections, threads and log files of the run are closed then, and the log
    has been copied to where the config wants it. It seeds the global generators of random, numpy and torch.

    Called on each of several ranks, see `joined_ranks`, it is one run: rank 0 writes and evaluates. What is wrong
    before the first step is raised on all of them; after it an error is its rank's own, and ends the others' next
    collective.
    """
    directory = _directory_of(work_dir, config)
    with joined_ranks() as ranks, relay_log(logging.INFO, ranks.rank) as relay, contextlib.ExitStack() as stack:
        # Before the data is read: whether the port is free is known at once.
        exporter = open_exporter(metrics_port, metrics_addr, ranks, stack)
        trace_file = open_trace(trace, ranks)
        watch = open_watch(progress, ranks, stack)
        parts = _prepare(config, directory, resume, trusted, ranks, watch, stack)
        if trace_file is not None:
            _record(trace_file, parts)
        if exporter is not None:
            _show(exporter, parts)
        runner = _build_runner(config, parts, hooks, console)
        stack.callback(_close_log, runner)
        watch.keep_whole(runner.logger.handlers, stack)
        _keep_quarantine(parts, runner)
        if not ranks.is_main:
            quiet_rank(runner.logger, ranks.rank)
        relay.attach(runner.logger)
        stack.enter_context(shipped(_plan_shipment(config, parts, runner), runner.logger, before_kill))
        # After the former, so that it is complete when it is copied with the log.
        loaders = {"train": parts.train_loader, "val": parts.val_loader}
        stack.enter_context(recorded(loaders, Path(runner.log_dir), parts.ranks))
        start_s = time.monotonic()
        with noticing_lost_ranks():
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


def _directory_of(work_dir: str | os.PathLike[str] | None, config: Config) -> Path:
    directory = os.fspath(work_dir or config.get("work_dir") or Path("work_dirs", _stem(config)))
    with named(config.filename):
        if "://" in directory:
            raise ConfigError(
                f"work_dir={directory!r} is a URI, and must be a path: what shall go to S3 has an out_dir of its own"
            )
    return Path(directory)


def _stem(config: Config) -> str:
    return Path(config.filename).stem if config.filename else "run"


def _config_name(config: Config, timestamp: str = "20260101_000000") -> str:
    """As `Runner.dump_config` calls its file. Any time will do where only the length of the name counts."""
    return os.path.basename(config.filename) if config.filename else f"{timestamp}.py"


def _prepare(
    source: Config,
    directory: Path,
    resume: bool,
    trusted: Sequence[str],
    ranks: Ranks,
    watch: Watch,
    stack: contextlib.ExitStack,
) -> _Parts:
    """Everything that can be wrong with a config is found here, before the first step. Loaders close with `stack`.

    Collective. Errors name the config, and are raised on all ranks.
    """
    name = source.filename
    with ranks.agreed(), named(name):
        # First of all: it would be a pity to find out after the data has been read.
        check_writable(directory, "work_dir")
        config: Mapping[str, Any] = source.to_dict()
        plan = translate(config)
        plan = replace(plan, trusted_checkpoints=(*plan.trusted_checkpoints, *trusted))
        if "model" not in config:
            raise ConfigError("model is missing")
        _check_rate(config, plan, ranks)
        places = plan_places(plan, directory)

    def resumed() -> tuple[str | None, str]:
        with named(name):
            return look_back(places, plan, resume=resume or plan.resumes_last, config_name=_config_name(source))

    places.resumed, places.resumed_by = ranks.from_main(resumed)
    with ranks.agreed(), named(name):
        return _build_parts(config, plan, places, ranks, watch, stack)


def _check_rate(config: Mapping[str, Any], plan: RunPlan, ranks: Ranks) -> None:
    if ranks.world > 1 and (config.get("auto_scale_lr") or {}).get("enable"):
        raise ConfigError(
            f"auto_scale_lr.enable=True: on {ranks.world} ranks say {plan.dialect.rate} as it shall be, for "
            f"{plan.dialect.batch_size} × {ranks.world} images per step"
        )


def _build_parts(
    config: Mapping[str, Any], plan: RunPlan, places: Places, ranks: Ranks, watch: Watch, stack: contextlib.ExitStack
) -> _Parts:
    # The Runner seeds too, but only after the model has been given its first weights.
    set_random_seed(**plan.randomness)
    trusts, client = plan.trusted_checkpoints, plan.weights_client
    model = build_model(config["model"], trusted=trusts, s3_client=client)
    check_normalized_once(config, model.data_preprocessor)
    if plan.load_from and not places.resumed:
        load_pretrained(model, plan.load_from, path="load_from", trusted=trusts, s3_client=client)
    seed = plan.randomness["seed"]
    # Only a model that makes floats of them itself takes bytes.
    as_float = not isinstance(model.data_preprocessor, ImagePreprocessor)
    train_set = build_dataset(config, "train", seed=seed, batch_size=plan.batch_size)
    check_classes(train_set, model.class_count, plan.dialect.data_set("train"))
    way: dict[str, Any] = {"as_float": as_float, "device": _device()}
    train_loader = stack.enter_context(
        build_loader(train_set, plan.batch_size, plan.thread_count, progress=watch.line_of("train"), **way)
    )
    expect_epochs(train_loader, plan.schedule)
    if plan.val_interval is None:
        return _Parts(ranks, plan, places, model, train_loader, None, None)
    val_set = build_dataset(config, "val", seed=seed, batch_size=plan.val_batch_size)
    val_loader = stack.enter_context(
        build_loader(val_set, plan.val_batch_size, plan.val_thread_count, progress=watch.line_of("val"), **way)
    )
    metric = CocoMetric(
        val_set.index,
        annotation_reader(config, val_set, "val"),
        ranks=ranks,
        slots=lambda: val_set.plan(plan.val_batch_size).slots(Shard(ranks.rank)),
    )
    return _Parts(ranks, plan, places, model, train_loader, val_loader, metric)


def _device() -> str | None:
    """Where batches go: to the GPU that mmengine gives to the model, on a stream of their own. None: they stay."""
    return "cuda" if get_device() == "cuda" else None


def _build_runner(config: Config, parts: _Parts, hooks: Sequence[Hook], console: TextIO | None) -> Runner:
    ranks, plan, places = parts.ranks, parts.plan, parts.places
    schedule = plan.schedule
    evaluates = parts.val_loader is not None
    # mmengine's console handler keeps the stream that is standard output when it is made.
    with contextlib.redirect_stdout(console) if console else contextlib.nullcontext():
        return RankRunner(
            ranks=ranks,
            read=lambda uri: places.read(uri, plan),
            resumed_by=places.resumed_by,
            model=parts.model,
            work_dir=str(places.directory),
            train_dataloader=parts.train_loader,
            train_cfg={"type": EpochLoop if schedule.by_epoch else IterationLoop, **plan.train_cfg},
            val_dataloader=parts.val_loader,
            val_cfg={} if evaluates else None,
            val_evaluator=Evaluator([parts.metric]) if evaluates else None,
            optim_wrapper=schedule.optim_wrapper,
            param_scheduler=schedule.param_scheduler,
            default_hooks=_default_hooks(plan, places),
            custom_hooks=[*_own_hooks(parts), *hooks, *plan.custom_hooks],
            load_from=places.resumed,
            resume=places.resumed is not None,
            env_cfg={"mp_cfg": _process_settings(plan), "cudnn_benchmark": plan.benchmarks_cudnn},
            log_processor=_log_processor(plan),
            log_level=plan.log_level,
            # Every rank draws its own regions to learn from. The order of the data has the seed of the config.
            randomness={**plan.randomness, "diff_rank_seed": True},
            # mmengine keeps loggers and message hubs by this name for ever: each run has its own.
            experiment_name=f"{_stem(config)}_{uuid.uuid4().hex[:8]}",
            cfg=config,
        )


def _show(exporter: PrometheusExporter, parts: _Parts) -> None:
    exporter.add("train", parts.train_loader)
    if parts.val_loader is not None:
        exporter.add("val", parts.val_loader)


def _record(trace: TraceFile, parts: _Parts) -> None:
    parts.train_loader.trace = trace.labelled("train")
    if parts.val_loader is not None:
        parts.val_loader.trace = trace.labelled("val")


def _keep_quarantine(parts: _Parts, runner: Runner) -> None:
    """Beside the log, and copied with it; ranks of one machine write the same file."""
    for loader in (parts.train_loader, parts.val_loader):
        if loader is not None:
            keep_quarantine(loader.dataset, Path(runner.log_dir) / "quarantine.jsonl")


def _own_hooks(parts: _Parts) -> list[Hook]:
    by_epoch = [EpochHook()] if parts.plan.schedule.by_epoch else []
    return [*by_epoch, ThroughputHook(), *([BroadcastBuffers()] if parts.ranks.is_distributed else [])]


def _default_hooks(plan: RunPlan, places: Places) -> dict[str, Any]:
    checkpoints = plan.checkpoints and CheckpointHook(plan.checkpoints, places.regular, places.best, places.directory)
    # Epochs are set by a hook of ours; there is no sampler.
    return {"logger": plan.logger, "checkpoint": checkpoints, "sampler_seed": None}


def _plan_shipment(config: Config, parts: _Parts, runner: Runner) -> LogShipment:
    directory = parts.places.directory
    outputs = list(zip(parts.plan.logs, parts.places.logs, strict=True)) if parts.ranks.is_main else []
    return LogShipment(outputs, directory, Path(runner.log_dir), directory / _config_name(config, runner.timestamp))


def _process_settings(plan: RunPlan) -> dict[str, Any]:
    # There are no worker processes: the start method stays what it is, whatever `mp_start_method` says.
    return {"mp_start_method": multiprocessing.get_start_method(), "opencv_num_threads": plan.opencv_thread_count}


def _log_processor(plan: RunPlan) -> dict[str, Any]:
    return {
        "by_epoch": plan.schedule.by_epoch,
        "window_size": plan.log_window,
        "mean_pattern": r".*(loss|time|grad_norm|images_per_s|wait_share).*",
    }


def _close_log(runner: Runner) -> None:
    for handler in list(runner.logger.handlers):
        handler.close()
        runner.logger.removeHandler(handler)
