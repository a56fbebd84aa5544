"""A Runner of mmengine that trains next to nothing and notes which samples it got."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

from tests.unit.openmmlab.prefetch_case import COUNT

INSIDE = {"type": "ImagesOfCase", "count": COUNT, "pipeline": [{"type": "LoadImageOfCase"}], "root": "s3://bucket/"}


class OneWeight(BaseModel):  # type: ignore[misc]  # mmengine ships no types
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, img: Any, number: Any, mode: str = "tensor", **_: Any) -> Any:
        return {"loss": self.weight.sum()} if mode == "loss" else number


class Numbers(BaseMetric):  # type: ignore[misc]
    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += list(data_samples)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {"sum": float(sum(results))}


class Notes(Hook):  # type: ignore[misc]
    """The numbers of each batch of training."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.batches.append(data_batch["number"])


class Killed(Exception):
    """Stands for a kill: nothing of the run comes after it."""


class KillAfter(Hook):  # type: ignore[misc]
    """Ends the run after so many steps, behind everything else that happens then."""

    priority = "LOWEST"

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.steps:
            raise Killed


def make_runner(
    work_dir: Path, notes: Hook, train_cfg: dict[str, Any], workers: int = 0, *more_hooks: Hook, **options: Any
) -> Runner:
    """A Runner over a `PrefetchDataset`.

    Args:
        work_dir: its directory, whose name tells it from others.
        notes: a hook.
        train_cfg: by epochs or by iterations.
        workers: worker processes, which persist.
        *more_hooks: run after it.
        **options: of Runner; `checkpoint` is that of the default hooks, `loader` adds to the dataloader.
    """
    loader = {
        "batch_size": 3,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "sampler": None,
        "dataset": {"type": "PrefetchDataset", "dataset": INSIDE},
        **options.pop("loader", {}),
    }
    checkpoint = options.pop("checkpoint", None)
    return Runner(
        model=OneWeight(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=train_cfg,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        custom_hooks=[notes, *more_hooks],
        default_hooks={"checkpoint": checkpoint, "logger": None},
        experiment_name=f"{work_dir.name}-{uuid.uuid4().hex}",
        log_level="ERROR",
        **options,
    )
