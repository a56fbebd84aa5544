"""The transforms of this package, from a config of the dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from asyncio_loader import CocoDataset, Compose
from asyncio_loader.datasets.collate import collate
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.transforms.base import apply
from asyncio_loader.transforms.fused import Fused
from asyncio_loader.transforms.geometric import RandomFlip
from asyncio_loader.transforms.registry import Transform
from bench.images import DetectionData
from bench.pipelines import DIVISOR, FLIP_RATIO, MEAN, SCALE, SEED, STD, Batch, Item, Sample, Stage, padded_size

__all__ = [
    "LEAN_PIPELINE",
    "PIPELINE",
    "as_batch",
    "as_on_the_device",
    "dataset_of",
    "finish",
    "items_of",
    "stages_of",
    "start",
]

PIPELINE: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "Resize", "img_scale": SCALE, "keep_ratio": True},
    {"type": "RandomFlip", "flip_ratio": FLIP_RATIO},
    {"type": "Normalize", "mean": list(MEAN), "std": list(STD), "to_rgb": True},
    {"type": "Pad", "size_divisor": DIVISOR},
    {"type": "DefaultFormatBundle"},
    {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_labels"]},
]

# For `uint8` hand-over: what is left to the device is normalizing, and padding to a multiple.
LEAN_PIPELINE: list[dict[str, Any]] = [
    {**entry, "img_to_float": False} if entry["type"] == "DefaultFormatBundle" else entry
    for entry in PIPELINE
    if entry["type"] not in ("Normalize", "Pad")
]

# One more than are gone through, so that the one that is timed ends like one in the middle of a run.
EPOCHS = 3

_NAMES = {
    "LoadImageFromFile": "decode",
    "LoadAnnotations": "decode",
    "Resize": "resize",
    "RandomFlip": "flip",
    "Normalize": "normalize",
    "Pad": "pad",
    "DefaultFormatBundle": "HWC→CHW",
    "Collect": "collate",
}


def dataset_of(
    data: DetectionData,
    *,
    fuse: bool,
    is_lean: bool = False,
    batch_size: int = 1,
    endpoint_url: str | None = None,
) -> CocoDataset:
    """The data set with its images in RAM, or in the bucket of a server; in the order of the file.

    The annotations are read from RAM in any case, and all of it from the store of this process.
    """
    asyncio.run(_fill(MemoryStore.process_wide(), data))
    place: dict[str, Any] = {"img_prefix": "memory://bccd/train2017/"}
    if endpoint_url is not None:
        arguments = {"backend": "aws", "endpoint_url": endpoint_url, "region_name": "us-east-1"}
        place = {"img_prefix": "s3://bucket/train2017/", "file_client_args": arguments}
    return CocoDataset(
        "memory://bccd/annotations.json",
        pipeline=Compose(LEAN_PIPELINE if is_lean else PIPELINE, fuse=fuse),
        classes=data.classes,
        shuffle=False,
        seed=SEED,
        batch_size=batch_size,
        epochs=EPOCHS,
        **place,
    )


def items_of(data: DetectionData, dataset: CocoDataset, epoch: int) -> list[Item]:
    """What the other ways make samples of: the same annotations, and flipped where ours will flip."""
    flip = RandomFlip(flip_ratio=FLIP_RATIO)
    items = []
    for position, jpeg in enumerate(data.objects.values()):
        # The first number that a sample draws is that of its flip: one scale needs none.
        drawn = flip({"img_fields": [], "rng": np.random.default_rng((SEED, epoch, position))})
        found = dataset.index.ann_info(position)
        items.append(Item(jpeg=jpeg, boxes=found["bboxes"], labels=found["labels"], flip=drawn["flip"]))
    return items


def stages_of(*, fuse: bool) -> list[Stage]:
    """The stages of the pipeline, each with the name of those that it stands for."""
    return [(_name_of(transform), partial(_run, transform)) for transform in Compose(PIPELINE, fuse=fuse).stages]


def start(item: Item) -> Sample:
    """Where our pipeline starts with an item."""
    flip = {"flip": True, "flip_direction": "horizontal"} if item.flip else {"flip": False, "flip_direction": None}
    return {
        "img_info": {"filename": "image.jpg"},
        "ann_info": {"bboxes": item.boxes, "labels": item.labels},
        "img_prefix": None,
        "img_bytes": item.jpeg,
        "bbox_fields": [],
        "mask_fields": [],
        "seg_fields": [],
        **flip,
    }


def finish(samples: Sequence[Sample]) -> Batch:
    """The package's `collate`, for one device."""
    return as_batch(collate(samples, samples_per_gpu=len(samples)))


def as_batch(collated: Any) -> Batch:
    """What `collate` made, by the names of the bench."""
    return Batch(
        images=collated["img"].data[0],
        boxes=collated["gt_bboxes"].data[0],
        labels=collated["gt_labels"].data[0],
    )


def as_on_the_device(batch: Batch) -> Batch:
    """What the device makes of a uint8 batch: in RGB, normalized, padded."""
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    images = (batch.images.flip(1).float() - mean) / std
    height, width = images.shape[2:]
    padded = padded_size(height, width)
    images = torch.nn.functional.pad(images, (0, padded[1] - width, 0, padded[0] - height))
    return Batch(images=images, boxes=batch.boxes, labels=batch.labels)


async def _fill(store: MemoryStore, data: DetectionData) -> None:
    await store.put("memory://bccd/annotations.json", data.annotations)
    for key, jpeg in data.objects.items():
        await store.put(f"memory://bccd/{key}", jpeg)


def _run(transform: Transform, sample: Sample) -> Sample:
    done = apply(transform, sample)
    assert done is not None
    return done


def _name_of(transform: Transform) -> str:
    parts = transform.transforms if isinstance(transform, Fused) else (transform,)
    return " + ".join(_NAMES[type(part).__name__] for part in parts)
