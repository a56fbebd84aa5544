"""Transforms that change values of pixels and move nothing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.arrays import new_image
from asyncio_loader.transforms.decoding import Pixels
from asyncio_loader.transforms.registry import TRANSFORMS

__all__ = ["Normalize"]


@TRANSFORMS.register
class Normalize:
    """Subtract the mean and divide by the standard deviation, channel by channel; gives float32.

    Each step is computed with a float64 scalar and rounded to float32, which gives mmcv's values to the last bit. A
    uint8 image takes a table of 256 values per channel instead, the same values in half the time, and its result is
    laid out plane by plane: still (h, w, c), but no copy stands between it and a (c, h, w) tensor. Normalize, Pad and
    DefaultFormatBundle together take 6.7 ms so, and 9.2 without (1067x800, one core).

    Reads and writes the images in `img_fields`; writes `img_norm_cfg`.

    Args:
        mean: one per channel, in the order of the channels after `to_rgb`.
        std: as `mean`.
        to_rgb: swap BGR to RGB first.

    Raises:
        ConfigError: `mean` and `std` differ in length, a deviation is 0, or `to_rgb` meets other than three channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], to_rgb: bool = True) -> None:
        self.mean, self.std = _as_channels("mean", mean), _as_channels("std", std)
        self.to_rgb = to_rgb
        if len(self.mean) != len(self.std):
            raise ConfigError(f"mean and std must be of one length, not {len(self.mean)} and {len(self.std)}")
        if to_rgb and len(self.mean) != 3:
            raise ConfigError(f"to_rgb needs three channels, but mean and std have {len(self.mean)}")
        if not self.std.all():
            raise ConfigError(f"std must not be 0, as in {std!r:.80}")
        ramp = np.arange(256, dtype=np.float32).reshape(256, 1, 1)
        table = self._shift_and_scale(np.repeat(ramp, len(self.mean), axis=2)).reshape(256, -1)
        self._tables = [np.ascontiguousarray(column).reshape(256, 1) for column in table.T]

    def __call__(self, results: Sample) -> Sample:
        """Normalize the images."""
        for name in results.get("img_fields", ["img"]):
            results[name] = self._normalize(results[name])
        results["img_norm_cfg"] = {"mean": self.mean, "std": self.std, "to_rgb": self.to_rgb}
        return results

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean.tolist()}, std={self.std.tolist()}, to_rgb={self.to_rgb})"

    def write_planes(self, image: npt.NDArray[np.uint8], planes: npt.NDArray[np.float32]) -> None:
        """The values of an image (h, w, c), plane by plane, into an array (c, h, w), be it a view of a larger one."""
        self.look_up(self.take_apart(image), planes)

    def take_apart(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The planes (c, h, w) of an image (h, w, c), for `look_up`; in memory of their own."""
        # Into memory of ours: of what OpenCV allocates, the binding makes a copy, and it holds the GIL meanwhile.
        planes = new_image((image.shape[2], *image.shape[:2]), np.uint8)
        cv2.split(image, list(planes))
        return planes

    def look_up(self, before: npt.NDArray[np.uint8], planes: npt.NDArray[np.float32]) -> None:
        """The values for what `take_apart` gave, into an array of the same shape, be it a view of a larger one."""
        for plane, table, out in zip(before[::-1] if self.to_rgb else before, self._tables, planes, strict=True):
            cv2.LUT(plane, table, out)

    def _normalize(self, image: Pixels) -> Pixels:
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels != len(self.mean):
            raise ValueError(f"an image of {channels} channels, but mean and std have {len(self.mean)}")
        if image.dtype == np.uint8 and image.ndim == 3:
            return self._look_up(image)
        ordered = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if self.to_rgb else image
        return self._shift_and_scale(ordered.astype(np.float32)).reshape(image.shape)

    def _look_up(self, image: npt.NDArray[np.uint8]) -> Pixels:
        planes = new_image((image.shape[2], *image.shape[:2]), np.float32)
        self.write_planes(image, planes)
        return planes.transpose(1, 2, 0)

    def _shift_and_scale(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        cv2.subtract(image, self.mean.astype(np.float64).reshape(1, -1), image)
        cv2.multiply(image, 1 / self.std.astype(np.float64).reshape(1, -1), image)
        return image


def _as_channels(name: str, values: Sequence[float]) -> npt.NDArray[np.float32]:
    try:
        channels = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        channels = np.empty(0, dtype=np.float32)
    if channels.ndim != 1 or not 1 <= len(channels) <= 4:
        raise ConfigError(f"{name} must be one to four numbers, one per channel, not {values!r:.80}")
    return channels
