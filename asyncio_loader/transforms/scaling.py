"""Sizes and resizing with mmcv's very numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from PIL import Image

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.arrays import new_image
from asyncio_loader.transforms.decoding import Pixels

__all__ = [
    "INTERPOLATIONS",
    "RESIZE_BACKENDS",
    "Scale",
    "as_scales",
    "flip_image",
    "is_pair",
    "is_planar",
    "is_positive",
    "pad_image",
    "resize_image",
    "scaled_size",
]

Scale: TypeAlias = float | tuple[float, float]
"""A factor, or the longest and the shortest edge in pixels, in any order."""

INTERPOLATIONS = {
    "nearest": (cv2.INTER_NEAREST, Image.Resampling.NEAREST),
    "bilinear": (cv2.INTER_LINEAR, Image.Resampling.BILINEAR),
    "bicubic": (cv2.INTER_CUBIC, Image.Resampling.BICUBIC),
    "area": (cv2.INTER_AREA, Image.Resampling.BOX),
    "lanczos": (cv2.INTER_LANCZOS4, Image.Resampling.LANCZOS),
}
"""Name → OpenCV's and Pillow's flag."""

RESIZE_BACKENDS = ("cv2", "pillow")

_FLIP_CODES = {"horizontal": 1, "vertical": 0, "diagonal": -1}


def is_pair(value: object) -> bool:
    """Whether it is a list or tuple of two numbers above 0."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(is_positive(v) for v in value)


def is_positive(value: object) -> bool:
    """Whether it is a number above 0; True is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def as_scales(img_scale: Any) -> list[tuple[float, float]]:
    """One scale or a list of them, as a list of tuples.

    mmdet takes tuples for scales only. YAML and JSON have none, so two bare numbers in a list are one scale here.
    """
    scales = [img_scale] if is_pair(img_scale) else img_scale
    if not isinstance(scales, list | tuple) or not scales or not all(is_pair(scale) for scale in scales):
        raise ConfigError(
            f"img_scale must be (long edge, short edge) in pixels or a list of them, not {img_scale!r:.80}"
        )
    return [(scale[0], scale[1]) for scale in scales]


def scaled_size(width: int, height: int, scale: Scale) -> tuple[int, int]:
    """Width and height after scaling with the ratio kept, rounded half up (`mmcv.rescale_size`).

    With two edges the factor is the largest that keeps the longer edge within the longer and the shorter within the
    shorter of them.
    """
    if isinstance(scale, tuple):
        factor = min(max(scale) / max(height, width), min(scale) / min(height, width))
    else:
        factor = float(scale)
    return int(width * factor + 0.5), int(height * factor + 0.5)


def resize_image(image: Pixels, size: tuple[int, int], interpolation: str = "bilinear", backend: str = "cv2") -> Pixels:
    """A copy of `size` (width, height). Pillow smooths where it shrinks; OpenCV's numbers are mmcv's."""
    for_cv2, for_pillow = INTERPOLATIONS[interpolation]
    if backend == "pillow":
        return np.array(Image.fromarray(image).resize(size, for_pillow))
    return cv2.resize(image, size, _room_like(image, size), interpolation=for_cv2)


def flip_image(image: Pixels, direction: str) -> Pixels:
    """A contiguous copy, flipped; `direction` is horizontal, vertical or diagonal (both)."""
    height, width = image.shape[:2]
    return cv2.flip(image, _FLIP_CODES[direction], _room_like(image, (width, height))).reshape(image.shape)


def is_planar(image: Pixels) -> bool:
    """Whether (h, w, c) lies in memory plane by plane, so that (c, h, w) is a view of it."""
    return image.ndim == 3 and image.shape[2] > 1 and image.transpose(2, 0, 1).flags.c_contiguous


def pad_image(image: Pixels, shape: Sequence[int], value: float | Sequence[float] = 0) -> Pixels:
    """`image` padded at the right and the bottom to `shape` (height, width); the image itself if it is as large.

    `value` is one per channel. A single number means the first channel, and 0 in the others: so OpenCV has it, and mmcv
    with it.
    """
    below, beside = max(shape[0] - image.shape[0], 0), max(shape[1] - image.shape[1], 0)
    if below == beside == 0:
        return image
    if not is_planar(image):
        return cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=value)
    height, width, channels = image.shape
    padded = new_image((channels, height + below, width + beside), image.dtype)
    fills = [value] if isinstance(value, int | float) else list(value)
    fills += [0] * (channels - len(fills))
    for plane, fill, out in zip(image.transpose(2, 0, 1), fills, padded, strict=False):
        cv2.copyMakeBorder(plane, 0, below, 0, beside, cv2.BORDER_CONSTANT, out, fill)
    return padded.transpose(1, 2, 0)


def _room_like(image: Pixels, size: tuple[int, int]) -> Pixels | None:
    """Where OpenCV is to write an image of `size` (width, height) and of the same kind; None: it finds memory itself.

    Of one channel it would make (h, w, 1) of what it else gives as (h, w).
    """
    is_usual = image.ndim == 3 and 1 < image.shape[2] <= 4 and image.dtype.type in (np.uint8, np.float32)
    return new_image((size[1], size[0], image.shape[2]), image.dtype) if is_usual else None
