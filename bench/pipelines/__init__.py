"""The train pipeline of the tutorial's Faster R-CNN in three ways: from the bytes of a JPEG to the tensor of a batch.

`openmmlab` is the reference: what mmcv 1.x does, written down plainly. `vision` is what one writes with torchvision.
`ours` are the transforms of this package. Each module has `STAGES`, in the order in which they run on a sample,
`finish`, which makes the batch, and a batch is that of `Batch` in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

__all__ = [
    "DIVISOR",
    "MEAN",
    "SCALE",
    "SEED",
    "STD",
    "Batch",
    "Item",
    "Sample",
    "Stage",
    "largest_difference",
    "padded_size",
    "run_stages",
]

# As in the config (`pipelines/faster_rcnn/faster_rcnn_r50_fpn_1x_coco_s3.py`); a test compares them.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
SCALE = (1333, 800)
DIVISOR = 32
FLIP_RATIO = 0.5
SEED = 1

Sample: TypeAlias = dict[str, Any]
"""`img`, `boxes` and `labels`, and whatever a stage leaves for those behind it."""

Stage: TypeAlias = tuple[str, Callable[[Sample], Sample]]
"""Its name in the table, and what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What a sample is made of.

    Attributes:
        jpeg: the file.
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        labels: (n,) int64.
        flip: whether this epoch flips it.
    """

    jpeg: bytes
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    flip: bool

    def sample(self) -> Sample:
        """Where a pipeline starts."""
        return {"jpeg": self.jpeg, "boxes": self.boxes, "labels": self.labels, "flip": self.flip}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a model takes.

    Attributes:
        images: (b, 3, h, w) float32, normalized; or uint8, where normalizing is left to the device.
        boxes: per image (n, 4) float32, in pixels of the resized image.
        labels: per image (n,) int64.
    """

    images: torch.Tensor
    boxes: Sequence[torch.Tensor]
    labels: Sequence[torch.Tensor]


def run_stages(stages: Sequence[Stage], sample: Sample) -> Sample:
    """A sample through all stages."""
    for _, stage in stages:
        sample = stage(sample)
    return sample


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The next multiples of `DIVISOR`."""
    return -(-height // DIVISOR) * DIVISOR, -(-width // DIVISOR) * DIVISOR


def largest_difference(batch: Batch, reference: Batch) -> tuple[float, float]:
    """How far two batches are from each other at most: values of the images, and pixels of the boxes.

    Raises:
        ValueError: they differ in more than values: sizes, numbers of boxes, or labels.
    """
    if batch.images.shape != reference.images.shape or batch.images.dtype != reference.images.dtype:
        raise ValueError(
            f"images of {batch.images.dtype} {tuple(batch.images.shape)}, but the reference has "
            f"{reference.images.dtype} {tuple(reference.images.shape)}"
        )
    for labels, expected in zip(batch.labels, reference.labels, strict=True):
        if not torch.equal(labels, expected):
            raise ValueError(f"labels {labels.tolist()}, but the reference has {expected.tolist()}")
    pairs = zip(batch.boxes, reference.boxes, strict=True)
    return _furthest(batch.images, reference.images), max(_furthest(boxes, expected) for boxes, expected in pairs)


def _furthest(values: torch.Tensor, expected: torch.Tensor) -> float:
    return float((values.double() - expected.double()).abs().max())
