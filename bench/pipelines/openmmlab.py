"""The reference: what mmdet 2.28 on mmcv 1.x does to an image, call by call.

Left out are its dicts of meta data, which cost microseconds. (mmcv/image/io.py, geometric.py, photometric.py;
mmcv/parallel/collate.py; mmdet/datasets/pipelines/transforms.py, formatting.py.)
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch.utils.data import default_collate

from bench.pipelines import MEAN, SCALE, STD, Batch, Sample, Stage, padded_size

__all__ = ["STAGES", "finish"]

_MEAN = np.float64(np.array(MEAN, dtype=np.float32).reshape(1, -1))
_STD_INVERSE = 1 / np.float64(np.array(STD, dtype=np.float32).reshape(1, -1))


def decode(sample: Sample) -> Sample:
    """`mmcv.imfrombytes`."""
    sample["img"] = cv2.imdecode(np.frombuffer(sample.pop("jpeg"), np.uint8), cv2.IMREAD_COLOR)
    return sample


def resize(sample: Sample) -> Sample:
    """`mmcv.imrescale`, and the boxes."""
    height, width = sample["img"].shape[:2]
    factor = min(max(SCALE) / max(height, width), min(SCALE) / min(height, width))
    size = int(width * factor + 0.5), int(height * factor + 0.5)
    sample["img"] = cv2.resize(sample["img"], size, interpolation=cv2.INTER_LINEAR)
    boxes = sample["boxes"] * np.array([size[0] / width, size[1] / height] * 2, dtype=np.float32)
    boxes[:, 0::2] = np.clip(boxes[:, 0::2], 0, size[0])
    boxes[:, 1::2] = np.clip(boxes[:, 1::2], 0, size[1])
    sample["boxes"] = boxes
    return sample


def flip(sample: Sample) -> Sample:
    """`mmcv.imflip`, which gives a view, and the boxes."""
    if sample["flip"]:
        sample["img"] = np.flip(sample["img"], axis=1)
        boxes, width = sample["boxes"], sample["img"].shape[1]
        flipped = boxes.copy()
        flipped[:, 0] = width - boxes[:, 2]
        flipped[:, 2] = width - boxes[:, 0]
        sample["boxes"] = flipped
    return sample


def normalize(sample: Sample) -> Sample:
    """`mmcv.imnormalize`."""
    image = sample["img"].copy().astype(np.float32)
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)
    cv2.subtract(image, _MEAN, image)
    cv2.multiply(image, _STD_INVERSE, image)
    sample["img"] = image
    return sample


def pad(sample: Sample) -> Sample:
    """`mmcv.impad_to_multiple`."""
    height, width = sample["img"].shape[:2]
    padded = padded_size(height, width)
    sample["img"] = cv2.copyMakeBorder(
        sample["img"], 0, padded[0] - height, 0, padded[1] - width, cv2.BORDER_CONSTANT, value=0
    )
    return sample


def format_tensors(sample: Sample) -> Sample:
    """`DefaultFormatBundle`."""
    sample["img"] = torch.from_numpy(np.ascontiguousarray(sample["img"].transpose(2, 0, 1)))
    sample["boxes"], sample["labels"] = torch.from_numpy(sample["boxes"]), torch.from_numpy(sample["labels"])
    return sample


STAGES: tuple[Stage, ...] = (
    ("decode", decode),
    ("resize", resize),
    ("flip", flip),
    ("normalize", normalize),
    ("pad", pad),
    ("HWC→CHW", format_tensors),
)


def finish(samples: Sequence[Sample]) -> Batch:
    """`mmcv.parallel.collate` of images that are stacked: each is padded to the largest, then all are copied."""
    height, width = (max(sample["img"].shape[axis] for sample in samples) for axis in (1, 2))
    padded = [F.pad(s["img"], (0, width - s["img"].shape[2], 0, height - s["img"].shape[1])) for s in samples]
    return Batch(
        images=default_collate(padded),
        boxes=[sample["boxes"] for sample in samples],
        labels=[sample["labels"] for sample in samples],
    )
