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

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.stats import LoaderStats
from asyncio_loader.training.checkpoints import CheckpointHook
from asyncio_loader.training.datasets import annotation_reader, build_dataset, build_loader, check_classes
from asyncio_loader.training.destinations import Destination, check_destinations
from asyncio_loader.training.evaluation import CocoMetric
from asyncio_loader.training.hooks import EpochHook, ThroughputHook
from asyncio_loader.training.log_files import LONGEST_LOG_NAME, LogShipment, shipped
from asyncio_loader.training.loops import EpochLoop, IterationLoop
from asyncio_loader.training.model import FasterRCNN, build_model
from asyncio_loader.training.naming import named
from asyncio_loader.training.out_dirs import check_writable
from asyncio_loader.training.resume import ResumableRunner, find_last_checkpoint, warn_of_earlier
from asyncio_loader.training.run_log import relay_log
from asyncio_loader.training.translate import RunPlan, translate
from asyncio_loader.training.weights import load_pretrained, read_checkpoint

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

__all__ = ["TrainingReport", "train"]

_LOG = logging.getLogger(__name__)

_DEFAULT_FILENAMES = {True: "epoch_{}.pth", False: "iter_{}.pth"}


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
class _Places:
    """What a run writes, and what it goes on from."""

    directory: Path
    regular: Destination
    best: Destination
    logs: list[Destination]
    resumed: str | None
    resumed_by: str

    def read(self, uri: str, plan: RunPlan) -> dict[str, Any]:
        """A checkpoint to go on from: the run's own are read by what writes them."""
        client = self.regular.client if self.regular.holds(uri) else None
        return read_checkpoint(
            uri,
            path=self.resumed_by,
            trusted=plan.trusted_checkpoints,
            client=client,
            s3_client=plan.weights_client,
        )


@dataclass(slots=True)
class _Parts:
    """What a run is made of."""

    plan: RunPlan
    places: _Places
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

    Raises:
        ConfigError: something in the config is wrong; names the config file, the dotted path and the value. So do all
            errors before the first step.
        LoaderError: data could not be had, or results not be written; see `asyncio_loader.errors`. A checkpoint whose
            upload failed lies in the work directory then, and logs stay there; the message says so.

    However it ends, an interrupt included, connections, threads and log files of the run are closed then, and the log
    has been copied to where the config wants it. It seeds the global generators of random, numpy and torch.
    """
    directory = Path(work_dir or config.get("work_dir") or Path("work_dirs", _stem(config)))
    with relay_log(logging.INFO) as relay, contextlib.ExitStack() as stack:
        with named(config.filename):
            # First of all: it would be a pity to find out after the data has been read.
            check_writable(directory, "work_dir")
            parts = _prepare(config, directory, resume, trusted, stack)
        runner = _build_runner(config, parts, hooks, console)
        stack.callback(_close_log, runner)
        relay.attach(runner.logger)
        stack.enter_context(shipped(_plan_shipment(config, parts, runner), runner.logger, before_kill))
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


def _stem(config: Config) -> str:
    return Path(config.filename).stem if config.filename else "run"


def _config_name(config: Config, timestamp: str = "20260101_000000") -> str:
    """As `Runner.dump_config` calls its file. Any time will do where only the length of the name counts."""
    return os.path.basename(config.filename) if config.filename else f"{timestamp}.py"


def _prepare(
    source: Config, directory: Path, resume: bool, trusted: Sequence[str], stack: contextlib.ExitStack
) -> _Parts:
    """Everything that can be wrong with a config is found here, before the first step. Loaders close with `stack`."""
    config: Mapping[str, Any] = source.to_dict()
    plan = translate(config)
    plan = replace(plan, trusted_checkpoints=(*plan.trusted_checkpoints, *trusted))
    if "model" not in config:
        raise ConfigError("model is missing")
    places = _find_places(plan, directory, resume, _config_name(source))
    # The Runner seeds too, but only after the model has been given its first weights.
    set_random_seed(**plan.randomness)
    trusts, client = plan.trusted_checkpoints, plan.weights_client
    model = build_model(config["model"], trusted=trusts, s3_client=client)
    if plan.load_from and not places.resumed:
        load_pretrained(model, plan.load_from, path="load_from", trusted=trusts, s3_client=client)
    seed = plan.randomness["seed"]
    train_set = build_dataset(config, "train", seed=seed, batch_size=plan.batch_size)
    check_classes(train_set, model.class_count)
    train_loader = stack.enter_context(build_loader(train_set, plan.batch_size, plan.thread_count))
    if plan.val_interval is None:
        return _Parts(plan, places, model, train_loader, None, None)
    val_set = build_dataset(config, "val", seed=seed, batch_size=plan.batch_size)
    val_loader = stack.enter_context(build_loader(val_set, plan.batch_size, plan.thread_count))
    metric = CocoMetric(val_set.index, annotation_reader(config, val_set, "val"))
    return _Parts(plan, places, model, train_loader, val_loader, metric)


def _find_places(plan: RunPlan, directory: Path, resume: bool, config_name: str) -> _Places:
    """Check where results go, clear up what a killed run left there, and find the checkpoint to go on from."""
    journal = UploadJournal(directory / "uploads.jsonl")
    regular = Destination.under(plan.checkpoint_dir, directory, journal)
    best = Destination.under(plan.best_dir, directory, journal)
    logs = [Destination.under(output.out_dir, directory, journal) for output in plan.logs]
    longest = max(LONGEST_LOG_NAME, config_name, key=lambda name: len(name.encode()))
    check_destinations([*zip((regular, best), plan.longest_names, strict=True), *((log, longest) for log in logs)])
    for upload in journal.abort_leftovers():
        _LOG.info("aborted an upload to %s that an earlier run left unfinished", upload.uri)
    places = _Places(directory, regular, best, logs, None, "resume_from")
    filename = plan.checkpoints.filename if plan.checkpoints else _DEFAULT_FILENAMES[plan.schedule.by_epoch]
    if resume:
        places.resumed = find_last_checkpoint(directory, regular, filename, plan.weights_client)
        places.resumed_by = "resume"
    if places.resumed is None and plan.is_resumed:
        places.resumed, places.resumed_by = plan.load_from, "resume_from"
    if plan.checkpoints and plan.checkpoints.interval and not resume and not regular.holds(places.resumed):
        warn_of_earlier(regular, filename)
    return places


def _build_runner(config: Config, parts: _Parts, hooks: Sequence[Hook], console: TextIO | None) -> Runner:
    plan, places = parts.plan, parts.places
    schedule = plan.schedule
    evaluates = parts.val_loader is not None
    # mmengine's console handler keeps the stream that is standard output when it is made.
    with contextlib.redirect_stdout(console) if console else contextlib.nullcontext():
        return ResumableRunner(
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
            custom_hooks=[*([EpochHook()] if schedule.by_epoch else []), ThroughputHook(), *hooks, *plan.custom_hooks],
            load_from=places.resumed,
            resume=places.resumed is not None,
            env_cfg={"mp_cfg": _process_settings(plan)},
            log_processor=_log_processor(plan),
            log_level=plan.log_level,
            randomness=plan.randomness,
            # mmengine keeps loggers and message hubs by this name for ever: each run has its own.
            experiment_name=f"{_stem(config)}_{uuid.uuid4().hex[:8]}",
            cfg=config,
        )


def _default_hooks(plan: RunPlan, places: _Places) -> dict[str, Any]:
    checkpoints = plan.checkpoints and CheckpointHook(plan.checkpoints, places.regular, places.best, places.directory)
    # Epochs are set by a hook of ours; there is no sampler.
    return {"logger": plan.logger, "checkpoint": checkpoints, "sampler_seed": None}


def _plan_shipment(config: Config, parts: _Parts, runner: Runner) -> LogShipment:
    directory = parts.places.directory
    outputs = list(zip(parts.plan.logs, parts.places.logs, strict=True))
    return LogShipment(outputs, directory, Path(runner.log_dir), directory / _config_name(config, runner.timestamp))


def _process_settings(plan: RunPlan) -> dict[str, Any]:
    # There are no worker processes: the start method stays what it is, whatever `mp_start_method` says.
    return {"mp_start_method": multiprocessing.get_start_method(), "opencv_num_threads": plan.opencv_thread_count}


def _log_processor(plan: RunPlan) -> dict[str, Any]:
    return {
        "by_epoch": plan.schedule.by_epoch,
        "window_size": plan.logger["interval"],
        "mean_pattern": r".*(loss|time|grad_norm|images_per_s|wait_share).*",
    }


def _close_log(runner: Runner) -> None:
    for handler in list(runner.logger.handlers):
        handler.close()
        runner.logger.removeHandler(handler)
