"""The same with torchvision: `decode_jpeg` and `torchvision.transforms.v2`, on tensors from the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat

from bench.pipelines import MEAN, SCALE, STD, Batch, Sample, Stage, padded_size

__all__ = ["STAGES", "finish"]

# Of values from 0 to 1, which is how torchvision's own recipes have them.
_MEAN = [value / 255 for value in MEAN]
_STD = [value / 255 for value in STD]


def decode(sample: Sample) -> Sample:
    """A uint8 tensor (3, h, w) in RGB; the boxes as torchvision knows them."""
    # torch warns of memory that it may not write to.
    image = decode_jpeg(torch.frombuffer(bytearray(sample.pop("jpeg")), dtype=torch.uint8), ImageReadMode.RGB)
    sample["img"] = image
    sample["boxes"] = BoundingBoxes(
        torch.from_numpy(sample["boxes"]), format=BoundingBoxFormat.XYXY, canvas_size=tuple(image.shape[1:])
    )
    return sample


def resize(sample: Sample) -> Sample:
    """To the size that the dialect rounds to; bilinear, with antialiasing, which enlarging does not need."""
    height, width = sample["img"].shape[1:]
    factor = min(max(SCALE) / max(height, width), min(SCALE) / min(height, width))
    size = [int(height * factor + 0.5), int(width * factor + 0.5)]
    sample["img"] = functional.resize(sample["img"], size, antialias=True)
    sample["boxes"] = functional.clamp_bounding_boxes(functional.resize(sample["boxes"], size))
    return sample


def flip(sample: Sample) -> Sample:
    """Horizontally."""
    if sample["flip"]:
        sample["img"] = functional.horizontal_flip(sample["img"])
        sample["boxes"] = functional.horizontal_flip(sample["boxes"])
    return sample


def normalize(sample: Sample) -> Sample:
    """To float32, in place from there."""
    image = functional.to_dtype(sample["img"], torch.float32, scale=True)
    sample["img"] = functional.normalize(image, _MEAN, _STD, inplace=True)
    return sample


def pad(sample: Sample) -> Sample:
    """At the right and the bottom."""
    height, width = sample["img"].shape[1:]
    padded = padded_size(height, width)
    sample["img"] = functional.pad(sample["img"], [0, 0, padded[1] - width, padded[0] - height])
    return sample


def format_tensors(sample: Sample) -> Sample:
    """It is (c, h, w) all along; only in memory it need not be, and a plain tensor is what a model takes."""
    sample["img"] = sample["img"].contiguous()
    sample["boxes"] = sample["boxes"].as_subclass(torch.Tensor)
    sample["labels"] = torch.from_numpy(sample["labels"])
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
    """As the models of torchvision batch images (`GeneralizedRCNNTransform.batch_images`)."""
    height, width = (max(sample["img"].shape[axis] for sample in samples) for axis in (1, 2))
    images = samples[0]["img"].new_zeros((len(samples), 3, height, width))
    for place, sample in zip(images, samples, strict=True):
        image = sample["img"]
        place[:, : image.shape[1], : image.shape[2]].copy_(image)
    return Batch(
        images=images,
        boxes=[sample["boxes"] for sample in samples],
        labels=[sample["labels"] for sample in samples],
    )
