"""How a run goes: what a config of either dialect comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.checkpoints import CheckpointPlan
from asyncio_loader.training.dialect import Dialect
from asyncio_loader.training.log_files import LogOutput
from asyncio_loader.training.out_dirs import OutDir
from asyncio_loader.training.schedule import Schedule

__all__ = ["DataPlan", "RunPlan"]

# Of a run by epochs nobody knows how many iterations it will have before the data have been counted.
_MOST_ITERATIONS = 10**9 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """How one split of the data is taken, in a run or without one.

    Attributes:
        dialect: of the config.
        batch_size: images per step.
        thread_count: threads that decode and transform.
        seed: of the order and of what is random in the pipeline.
    """

    dialect: Dialect
    batch_size: int
    thread_count: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """How a run goes, in mmengine's terms.

    Attributes:
        dialect: of the config.
        batch_size: images per step (`data.samples_per_gpu`, `train_dataloader.batch_size`).
        thread_count: threads that decode and transform (`data.workers_per_gpu`, `num_workers`, at least 1).
        val_batch_size: images per batch of an evaluation; in 2.x `batch_size`.
        val_thread_count: threads for an evaluation; in 2.x `thread_count`.
        schedule: length, optimizer and learning rates.
        val_interval: epochs or iterations between evaluations; None: never.
        val_begin: the first epoch or iteration that is evaluated.
        checkpoints: which checkpoints are saved; None: none.
        checkpoint_dir: where they go; None: to the work directory.
        best_dir: where the best one goes; None: to the work directory.
        logs: where copies of the log go.
        logger: mmengine's `default_hooks.logger`.
        log_window: steps that the log's means are over.
        custom_hooks: mmengine's `custom_hooks`.
        load_from: checkpoint to start from, or to resume from.
        is_resumed: whether `load_from` is continued, optimizer and counters included.
        resumes_last: whether the run goes on from its last checkpoint, if it has one, as ``--resume`` has it.
        weights_client: what reads weights of ``s3://`` URIs; None: the one with endpoint and keys of the environment.
        trusted_checkpoints: places whose checkpoints may hold more than weights; see `read_checkpoint`.
        log_level: of the run's logger.
        opencv_thread_count: threads within one OpenCV call.
        benchmarks_cudnn: whether cuDNN tries its algorithms out for each new shape.
        randomness: mmengine's `randomness`. The seed is 0 unless the config has one: a run is repeatable by default.
    """

    dialect: Dialect
    batch_size: int
    thread_count: int
    val_batch_size: int
    val_thread_count: int
    schedule: Schedule
    val_interval: int | None
    val_begin: int
    checkpoints: CheckpointPlan | None
    checkpoint_dir: OutDir | None
    best_dir: OutDir | None
    logs: tuple[LogOutput, ...]
    logger: dict[str, Any]
    log_window: int
    custom_hooks: list[dict[str, Any]]
    load_from: str | None
    is_resumed: bool
    resumes_last: bool = False
    weights_client: FileClient | None
    trusted_checkpoints: tuple[str, ...]
    log_level: str
    opencv_thread_count: int
    benchmarks_cudnn: bool = False
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
