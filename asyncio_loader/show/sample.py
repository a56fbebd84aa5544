"""From what the model gets, tensors, back to what a person can look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asyncio_loader.errors import ConfigError

__all__ = ["Pixels", "ShownSample", "read_sample"]

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3) RGB."""

# What DefaultFormatBundle notes where nothing normalizes.
_PLAIN = {"mean": 0.0, "std": 1.0, "to_rgb": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSample:
    """A sample as it is drawn.

    Attributes:
        key: name of the image, as the annotation file has it.
        notes: what the pipeline did to it, a line.
        pixels: the image as the model gets it, its normalization undone.
        content: height and width of what is not padding.
        boxes: (n, 4) x1, y1, x2, y2 in pixels; None where the pipeline gives none.
        labels: place of each box's class in the names of the dataset.
        names: of the classes of the boxes.
        ignored: (k, 4) regions that count neither way.
        masks: (n, height, width), or None.
    """

    key: str
    notes: str
    pixels: Pixels
    content: tuple[int, int]
    boxes: npt.NDArray[np.float32] | None
    labels: Sequence[int]
    names: Sequence[str]
    ignored: npt.NDArray[np.float32]
    masks: npt.NDArray[np.uint8] | None


def read_sample(image: Tensor, target: Mapping[str, Any], classes: Sequence[str]) -> ShownSample:
    """Undo for the eye what the pipeline did for the model.

    Args:
        image: (c, h, w), of floats or bytes, as `collate_detection` gives it.
        target: likewise.
        classes: names by label, from 0.

    Raises:
        ConfigError: the image has neither one nor three channels.
    """
    pixels = _undo_normalization(image.numpy(), target)
    height, width = pixels.shape[:2]
    shape = target.get("img_shape", (height, width))
    boxes = _corners(target.get("boxes"))
    labels = [int(label) - 1 for label in target["labels"]] if "labels" in target else [-1] * _count(boxes)
    ignored = _corners(target.get("boxes_ignore"))
    masks = target.get("masks")
    return ShownSample(
        key=str(target.get("ori_filename") or target.get("filename") or "no name in img_metas"),
        notes=_notes(target, (height, width), shape, are_bytes=image.dtype == torch.uint8),
        pixels=pixels,
        content=(min(int(shape[0]), height), min(int(shape[1]), width)),
        boxes=boxes,
        labels=labels,
        names=[_name(label, classes) for label in labels],
        ignored=ignored if ignored is not None else np.zeros((0, 4), np.float32),
        masks=None if masks is None else masks.numpy(),
    )


def _undo_normalization(image: npt.NDArray[Any], target: Mapping[str, Any]) -> Pixels:
    channels = image.shape[0]
    if channels not in (1, 3):
        key = target.get("filename", "the image")
        raise ConfigError(f"{key}: the pipeline makes an image of {channels} channels; only 1 or 3 can be shown")
    norm = {**_PLAIN, **(target.get("img_norm_cfg") or {})}
    mean, std = (np.asarray(norm[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "std"))
    values = np.nan_to_num(image.astype(np.float32) * std + mean)
    pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels if norm["to_rgb"] else pixels[:, :, ::-1])


def _notes(target: Mapping[str, Any], size: tuple[int, int], shape: Sequence[int], *, are_bytes: bool) -> str:
    """``640x480 to 320x240, flipped, padded to 320x256``."""
    height, width = int(shape[0]), int(shape[1])
    parts = []
    original = target.get("ori_shape")
    if original is not None and (int(original[0]), int(original[1])) != (height, width):
        parts.append(f"{int(original[1])}x{int(original[0])} to {width}x{height}")
    else:
        parts.append(f"{width}x{height}")
    if target.get("flip"):
        direction = target.get("flip_direction")
        parts.append("flipped" if direction in (None, "horizontal") else f"flipped: {direction}")
    if size != (height, width):
        parts.append(f"padded to {size[1]}x{size[0]}")
    # Of bytes nobody would ask: the model normalizes.
    if not target.get("img_norm_cfg") and not are_bytes:
        parts.append("colours as they are (no img_norm_cfg)")
    return ", ".join(parts)


def _name(label: int, classes: Sequence[str]) -> str:
    if label < 0:
        return "no label"
    return classes[label] if label < len(classes) else f"label {label}"


def _corners(boxes: Tensor | None) -> npt.NDArray[np.float32] | None:
    return None if boxes is None else boxes.numpy().astype(np.float32).reshape(-1, 4)


def _count(boxes: npt.NDArray[np.float32] | None) -> int:
    return 0 if boxes is None else len(boxes)
