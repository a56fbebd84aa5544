"""Checkpoints of a run: saved in a stream to disk or S3, the old ones removed, the best one kept."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import mmengine
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to

from asyncio_loader.checkpoint.writing import save_checkpoint, tensor_bytes
from asyncio_loader.errors import LoaderError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.progress import transferring
from asyncio_loader.training.destinations import Destination

__all__ = ["LAST_CHECKPOINT", "CheckpointHook", "CheckpointPlan", "build_checkpoint"]

_LOG = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"
"""File of the work directory with the URI or path of the last checkpoint: mmengine's tools look for it there."""

_OUTDONE = "outdone_best_ckpts"

# The text of the latest config, by its repr.
_TEXTS: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPlan:
    """Which checkpoints a run saves.

    Attributes:
        by_epoch: whether the steps of regular checkpoints are epochs or iterations. A run by epochs may save by
            iterations, too: in the middle of an epoch.
        best_by_epoch: the same for the best checkpoint.
        interval: steps between regular checkpoints; None: there are none.
        save_last: whether the last step is saved, too, if the interval does not hit it.
        save_optimizer: whether a regular checkpoint can be resumed with the optimizer's state.
        keep_items: how many regular checkpoints are kept, the newest; None: all.
        filename: of a regular checkpoint, with ``{}`` for the step.
        best_metric: the metric, greater is better, whose best checkpoint is kept; None: none is.
    """

    by_epoch: bool
    best_by_epoch: bool
    interval: int | None
    save_last: bool = True
    save_optimizer: bool = True
    keep_items: int | None = None
    filename: str
    best_metric: str | None = None

    def regular_name(self, step: int) -> str:
        """Name of a regular checkpoint."""
        return self.filename.format(step)

    def best_name(self, step: int) -> str:
        """Name of a best checkpoint."""
        return f"best_{self.best_metric}_{'epoch' if self.best_by_epoch else 'iter'}_{step}.pth"


class CheckpointHook(Hook):  # type: ignore[misc]
    """Saves checkpoints of mmengine's format.

    mmengine's own hook builds each file twice in memory, and removes the old one before it has the new one. Here the
    file goes out in a stream, and only when it is complete and in its place the older ones are removed. Where an upload
    fails, the checkpoint is saved to the work directory instead, and training ends with an error that names it.

    What there is, is kept under mmengine's names in the message hub, so each can resume what the other saved:
    ``last_ckpt``, ``keep_ckpt_ids``, ``best_score``, ``best_ckpt``. A best checkpoint that was outdone stays until a
    regular one is saved that names the new one, because the run may have to go on from one that names the old;
    ``outdone_best_ckpts`` lists those that wait. A run removes only what its hub names and what lies in its own
    directories: one that was resumed from another run's checkpoints leaves those alone, and a best checkpoint that was
    saved after the one a run goes on from stays.

    In a distributed run every rank has the hook, and they decide alike; the main process alone writes and removes.

    Args:
        plan: what is saved.
        regular: where it goes.
        best: where the best goes.
        work_dir: for `LAST_CHECKPOINT`, and for what could not be uploaded.
    """

    # After all that a checkpoint should know of.
    priority = "VERY_LOW"

    def __init__(self, plan: CheckpointPlan, regular: Destination, best: Destination, work_dir: Path) -> None:
        self._plan = plan
        self._regular = regular
        self._best = best
        self._work_dir = work_dir
        self._kept: list[int] = []
        self._last_step: int | None = None

    def before_train(self, runner: Any) -> None:
        """Take up what a resumed checkpoint knows."""
        hub = runner.message_hub
        if self._plan.interval:
            runner.logger.info("checkpoints go to %s", self._regular.directory)
        if self._plan.best_metric:
            runner.logger.info("the best checkpoint goes to %s", self._best.directory)
        kept = [int(step) for step in hub.get_info("keep_ckpt_ids", [])]
        # Not another run's, nor those of a time when this one saved by another unit.
        if kept and hub.get_info("last_ckpt") == self._regular.at(self._plan.regular_name(kept[-1])):
            self._kept = kept
        self._remove_surplus()
        self._remove_outdone(hub)

    def after_train_epoch(self, runner: Any) -> None:
        """Save a regular checkpoint if it is time. It raises LoaderError, see the class, and OSError."""
        plan = self._plan
        if plan.by_epoch and plan.interval:
            is_last = plan.save_last and self.is_last_train_epoch(runner)
            if is_last or self.every_n_epochs(runner, plan.interval):
                self._save_regular(runner, runner.epoch + 1, {"epoch": runner.epoch + 1, "iter": runner.iter})

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """As `after_train_epoch`. Behind the last step of an epoch it is still that epoch that is gone on with."""
        plan = self._plan
        if not plan.by_epoch and plan.interval:
            is_last = plan.save_last and self.is_last_train_iter(runner)
            if is_last or self.every_n_train_iters(runner, plan.interval):
                self._save_regular(runner, runner.iter + 1, {"epoch": runner.epoch, "iter": runner.iter + 1})

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint if this is it. Raises as `after_train_epoch`."""
        hub = runner.message_hub
        score = (metrics or {}).get(self._plan.best_metric or "")
        # Not "if not score": a first score of 0.0 is the best so far.
        if score is None or not score > hub.get_info("best_score", -math.inf):
            return
        name = self._plan.best_name(runner.epoch if self._plan.best_by_epoch else runner.iter)
        previous = hub.get_info("best_ckpt")
        hub.update_info("best_score", score)
        hub.update_info("best_ckpt", self._best.at(name))
        if previous and previous != self._best.at(name):
            hub.update_info(_OUTDONE, [*hub.get_info(_OUTDONE, []), previous])
        meta = {"epoch": runner.epoch, "iter": runner.iter}
        self._save(runner, self._best, name, dict(meta), is_last=False)
        runner.logger.info("best checkpoint, %s %.4f: %s", self._plan.best_metric, score, self._best.at(name))
        step = runner.epoch if self._plan.by_epoch else runner.iter
        if self._last_step == step:
            # The evaluation came after it was saved. What is resumed from it has to know the best one.
            self._save_regular(runner, step, meta)
        elif not self._plan.interval:
            # No checkpoint to go on from names the old one.
            self._remove_outdone(hub)

    def _save_regular(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        name = self._plan.regular_name(step)
        if self._kept[-1:] != [step]:
            self._kept.append(step)
        # With those about to be removed: should the run end before that, the resumed one does it.
        runner.message_hub.update_info("keep_ckpt_ids", list(self._kept))
        runner.message_hub.update_info("last_ckpt", self._regular.at(name))
        self._save(runner, self._regular, name, meta, is_last=True)
        runner.logger.info("checkpoint: %s", self._regular.at(name))
        self._last_step = step
        self._remove_surplus()
        self._remove_outdone(runner.message_hub)

    def _save(self, runner: Any, place: Destination, name: str, meta: dict[str, Any], *, is_last: bool) -> None:
        """Save a checkpoint; `is_last`: it is one to resume from, and noted as such."""
        if is_main_process():
            has_optimizer = self._plan.save_optimizer
            checkpoint = build_checkpoint(runner, meta, is_resumable=is_last, has_optimizer=has_optimizer)
            self._write(place, name, checkpoint, is_last=is_last)

    def _write(self, destination: Destination, name: str, checkpoint: dict[str, Any], *, is_last: bool) -> None:
        uri = destination.at(name)
        try:
            with _uploading(destination, name, checkpoint) as counted, destination.open(name) as file:
                save_checkpoint(checkpoint, counted(file))
        except (LoaderError, OSError) as error:
            if destination.is_local:
                raise
            path = self._rescue(name, checkpoint, f"{uri}: the upload failed ({error})")
            if is_last:
                self._note_last(path)
            raise LoaderError(f"{uri}: the upload failed; the checkpoint is saved as {path}: {error}") from error
        if is_last:
            self._note_last(uri)

    def _rescue(self, name: str, checkpoint: dict[str, Any], failure: str) -> str:
        """Save what could not be uploaded to the work directory. Its path."""
        # Absolute: the note of it may be read from another directory.
        path = os.path.abspath(self._work_dir / name)
        try:
            with FileClient("disk").open(path, "wb") as file:
                save_checkpoint(checkpoint, file)
        except (LoaderError, OSError) as error:
            raise LoaderError(f"{failure}, and the checkpoint could not be saved as {path} either: {error}") from error
        return path

    def _note_last(self, uri: str) -> None:
        FileClient("disk").put_text(uri, self._work_dir / LAST_CHECKPOINT)

    def _remove_outdone(self, hub: Any) -> None:
        for uri in hub.get_info(_OUTDONE, []):
            if self._best.holds(uri) and uri != hub.get_info("best_ckpt"):
                _remove(self._best, uri)
        if hub.get_info(_OUTDONE):
            hub.update_info(_OUTDONE, [])

    def _remove_surplus(self) -> None:
        surplus = len(self._kept) - (self._plan.keep_items or len(self._kept))
        for step in self._kept[: max(0, surplus)]:
            _remove(self._regular, self._regular.at(self._plan.regular_name(step)))
        self._kept = self._kept[max(0, surplus) :]


def _uploading(
    destination: Destination, name: str, checkpoint: dict[str, Any]
) -> AbstractContextManager[Callable[[BinaryIO], BinaryIO]]:
    if destination.is_local:
        return nullcontext(lambda file: file)
    return transferring("upload", name, tensor_bytes(checkpoint))


def build_checkpoint(
    runner: Any, meta: dict[str, Any], *, is_resumable: bool, has_optimizer: bool = True
) -> dict[str, Any]:
    """A checkpoint as mmengine's `Runner.save_checkpoint` makes it, short of saving it.

    One to resume from has the position in the data, too, under ``data``: `Loader.state_dict`, behind the last batch
    that was trained. Weights have the names that the model itself gives them, also where it is wrapped for several
    ranks.

    Tensors that are on the CPU are not copied: save it before the next step.

    Args:
        runner: mmengine's.
        meta: ``epoch`` and ``iter``, of steps done; the rest is added.
        is_resumable: whether it gets the states of the data, the schedulers and, with `has_optimizer`, the optimizer.
        has_optimizer: see there.
    """
    meta |= {
        "cfg": _text_of(runner.cfg),
        "seed": runner.seed,
        "experiment_name": runner.experiment_name,
        "time": time.strftime("%Y%m%d_%H%M%S"),
        "mmengine_version": mmengine.__version__,
        "dataset_meta": runner.train_dataloader.dataset.metainfo,
        "steps_per_epoch": len(runner.train_dataloader),
    }
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    checkpoint = {
        "meta": meta,
        "state_dict": weights_to_cpu(model.state_dict()),
        "message_hub": _on_cpu(runner.message_hub.state_dict()),
    }
    if is_resumable:
        if has_optimizer:
            checkpoint["optimizer"] = _on_cpu(runner.optim_wrapper.state_dict())
        checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in runner.param_schedulers or ()]
        checkpoint["data"] = runner.train_dataloader.state_dict()
    runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
    return checkpoint


def _text_of(config: Any) -> str:
    """`Config.pretty_text`, which lays the config out with yapf: most of a second each time, and it hardly changes."""
    known = repr(config)
    text = _TEXTS.get(known)
    if text is None:
        _TEXTS.clear()
        text = _TEXTS[known] = config.pretty_text
    return text


def _on_cpu(state: dict[str, Any]) -> Any:
    return apply_to(state, lambda value: hasattr(value, "cpu"), lambda value: value.cpu())


def _remove(destination: Destination, uri: str) -> None:
    """Remove a file that is no longer wanted. If that cannot be, it stays: no reason to stop training."""
    if not is_main_process():
        return
    try:
        destination.client.remove(uri)
    except (LoaderError, OSError) as error:
        _LOG.warning("%s could not be removed and stays: %s", uri, error)
