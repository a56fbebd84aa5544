"""A config of mmdet 3.x as dicts, for tests of its reading."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_VALUES: dict[str, Any] = {
    "model": {"type": "FasterRCNN"},
    "train_dataloader": {
        "batch_size": 2,
        "num_workers": 2,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_sampler": {"type": "AspectRatioBatchSampler"},
        "dataset": {"type": "CocoDataset", "data_root": "data", "ann_file": "train.json"},
    },
    "val_dataloader": {
        "batch_size": 1,
        "num_workers": 3,
        "drop_last": False,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "CocoDataset", "data_root": "data/coco/", "ann_file": "val.json", "test_mode": True},
    },
    "val_evaluator": {"type": "CocoMetric", "ann_file": "data/coco/val.json", "metric": "bbox", "format_only": False},
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 12, "val_interval": 1},
    "val_cfg": {"type": "ValLoop"},
    "test_cfg": {"type": "TestLoop"},
    "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.02, "momentum": 0.9}},
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500},
        {"type": "MultiStepLR", "by_epoch": True, "milestones": [8, 11], "gamma": 0.1},
    ],
    "default_scope": "mmdet",
    "default_hooks": {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 50},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": {"type": "CheckpointHook", "interval": 1},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
        "visualization": {"type": "DetVisualizationHook"},
    },
    "env_cfg": {
        "cudnn_benchmark": False,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    },
    "vis_backends": [{"type": "LocalVisBackend"}],
    "visualizer": {"type": "DetLocalVisualizer", "vis_backends": [{"type": "LocalVisBackend"}], "name": "visualizer"},
    "log_processor": {"type": "LogProcessor", "window_size": 50, "by_epoch": True},
    "log_level": "INFO",
    "load_from": None,
    "resume": False,
}


def config_3x(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """mmdet 3.x's ``_base_`` files together, and `changes` by their dotted paths; ``...`` takes a key out."""
    values = copy.deepcopy(_VALUES)
    for path, value in (changes or {}).items():
        *outer, key = path.split(".")
        place: Any = values
        for name in outer:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return values
