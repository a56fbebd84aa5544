"""Transforms that move pixels, and boxes and masks with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms import three
from asyncio_loader.transforms.base import rng_of
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.scaling import (
    INTERPOLATIONS,
    RESIZE_BACKENDS,
    Scale,
    as_scales,
    flip_image,
    is_pair,
    is_positive,
    pad_image,
    resize_image,
    scaled_size,
)

__all__ = ["DIRECTIONS", "Pad", "RandomFlip", "Resize"]

DIRECTIONS = ("horizontal", "vertical", "diagonal")
"""Where a flip may go; the last is both at once."""


@TRANSFORMS.register
@dataclass(eq=False)
class Resize:
    """Resize image, boxes, masks and semantic map; boxes are scaled by the rounded size and then clipped to it.

    Reads `scale` (a tuple) or `scale_factor` (a float) where `MultiScaleFlipAug` or a user set them. Writes `scale`,
    `scale_idx`, `img`, `img_shape`, `pad_shape`, `scale_factor` (width, height, width, height ratio, float32),
    `keep_ratio`.

    With `scale` or `scale_factor` it is that of mmdet 3.x, for a sample of 3.x: see `three.resize` for what it writes.

    Attributes:
        img_scale: (long edge, short edge) in pixels in any order, or a list of them. With `keep_ratio` the image just
            fits into them, without it they are width and height.
        multiscale_mode: which scale of several: ``value`` draws one of them, ``range`` draws the long and the short
            edge evenly, and each on its own, between the least and the greatest, both inclusive.
        ratio_range: (least, greatest): the one scale times a ratio drawn evenly from between them.
        keep_ratio: keep width : height. None: in the form of 2.x True, in that of 3.x False, as mmdet has it.
        bbox_clip_border: clip boxes to the image.
        backend: ``cv2`` or ``pillow``.
        interpolation: of the image; masks and semantic maps take the nearest pixel.
        override: resize a sample that has been resized before, from where it is now.
        scale: (width, height) in pixels, or one number for both; with `keep_ratio` the edges, in any order, that the
            image just fits into.
        scale_factor: a factor, or one for the width and one for the height, instead of `scale`.
        clip_object_border: as `bbox_clip_border`, which is its name in 2.x.
    """

    img_scale: Any = None
    multiscale_mode: str = "range"
    ratio_range: Sequence[float] | None = None
    keep_ratio: bool | None = None
    bbox_clip_border: bool = True
    backend: str = "cv2"
    interpolation: str = "bilinear"
    override: bool = False
    scale: Any = None
    scale_factor: float | Sequence[float] | None = None
    clip_object_border: bool = True

    def __post_init__(self) -> None:
        self._is_3x_form = self.scale is not None or self.scale_factor is not None
        if self._is_3x_form:
            self._check_3x_form()
        if self.keep_ratio is None:
            self.keep_ratio = not self._is_3x_form
        self._scales = [] if self.img_scale is None else as_scales(self.img_scale)
        choices = (
            ("multiscale_mode", ("range", "value")),
            ("backend", RESIZE_BACKENDS),
            ("interpolation", tuple(INTERPOLATIONS)),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r:.80}")
        if self.ratio_range is not None:
            if not is_pair(self.ratio_range) or self.ratio_range[0] > self.ratio_range[1]:
                raise ConfigError(f"ratio_range must be (least, greatest), not {self.ratio_range!r:.80}")
            if len(self._scales) != 1:
                raise ConfigError(f"ratio_range needs exactly one img_scale, not {self.img_scale!r:.80}")

    def _check_3x_form(self) -> None:
        for name in ("img_scale", "ratio_range"):
            if getattr(self, name) is not None:
                raise ConfigError(f"{name} is mmdet 2.x's, scale and scale_factor are 3.x's: write one dialect")
        if (self.scale is None) == (self.scale_factor is None):
            raise ConfigError(f"give scale or scale_factor, not {self.scale!r:.80} and {self.scale_factor!r:.80}")
        if is_positive(self.scale):
            self.scale = (self.scale, self.scale)
        if self.scale is not None and not is_pair(self.scale):
            raise ConfigError(f"scale must be (width, height) in pixels, or one for both, not {self.scale!r:.80}")
        if self.scale_factor is not None and not (is_positive(self.scale_factor) or is_pair(self.scale_factor)):
            raise ConfigError(f"scale_factor must be a number above 0 or two, not {self.scale_factor!r:.80}")

    def __call__(self, results: Sample) -> Sample:
        """Resize the sample.

        Raises:
            ConfigError: there is no scale, or the sample has been resized before and `override` is off; or the sample
                is one of the other dialect.
        """
        given = "scale or scale_factor" if self._is_3x_form else "a Resize without scale and scale_factor"
        three.check_form("Resize", results, is_3x_form=self._is_3x_form, arguments=given)
        if self._is_3x_form:
            self.to_scale(results, self.scale or three.size_by_factor(results["img"], self.scale_factor or 1))
            return results
        self._choose_scale(results)
        self._resize_images(results)
        height, width = results["img_shape"][:2]
        for name in results.get("bbox_fields", []):
            boxes = results[name] * results["scale_factor"]
            if self.bbox_clip_border:
                np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
                np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
            results[name] = boxes
        for name in results.get("mask_fields", []):
            masks = results[name]
            results[name] = masks.rescale(results["scale"]) if self.keep_ratio else masks.resize((height, width))
        for name in results.get("seg_fields", []):
            results[name] = resize_image(results[name], self._size_of(results[name], results["scale"]), "nearest")
        return results

    def to_scale(self, results: Sample, scale: Sequence[float]) -> None:
        """Resize a sample of mmdet 3.x to another scale than `scale`."""
        three.resize(
            results,
            (scale[0], scale[1]),
            keep_ratio=bool(self.keep_ratio),
            should_clip=self.bbox_clip_border and self.clip_object_border,
            interpolation=self.interpolation,
            backend=self.backend,
        )

    def _choose_scale(self, results: Sample) -> None:
        if "scale" in results and not self.override:
            if "scale_factor" in results:
                raise ConfigError("Resize: the sample has been resized before; override=True resizes it again")
            return
        if "scale" not in results and "scale_factor" in results:
            factor = results["scale_factor"]
            if not isinstance(factor, int | float):
                raise ConfigError(f"Resize: 'scale_factor' without 'scale' must be one number, not {factor!r:.80}")
            height, width = results["img"].shape[:2]
            results["scale"] = (int(width * factor), int(height * factor))
            return
        # Taken out first, so that the keys stand where mmdet has them.
        results.pop("scale", None)
        results.pop("scale_factor", None)
        results["scale"], results["scale_idx"] = self._draw_scale(rng_of(results))

    def _draw_scale(self, rng: np.random.Generator) -> tuple[tuple[float, float], int | None]:
        if not self._scales:
            raise ConfigError("Resize: neither img_scale nor a 'scale' or 'scale_factor' in the sample")
        if self.ratio_range is not None:
            ratio = rng.uniform(self.ratio_range[0], self.ratio_range[1])
            return (int(self._scales[0][0] * ratio), int(self._scales[0][1] * ratio)), None
        if len(self._scales) == 1:
            return self._scales[0], 0
        if self.multiscale_mode == "value":
            index = int(rng.integers(len(self._scales)))
            return self._scales[index], index
        long_edge = _draw_between(rng, [max(scale) for scale in self._scales])
        return (long_edge, _draw_between(rng, [min(scale) for scale in self._scales])), None

    def _size_of(self, image: npt.NDArray[Any], scale: Scale) -> tuple[int, int]:
        if self.keep_ratio or not isinstance(scale, tuple):
            return scaled_size(image.shape[1], image.shape[0], scale)
        return int(scale[0]), int(scale[1])

    def _resize_images(self, results: Sample) -> None:
        for name in results.get("img_fields", ["img"]):
            before = results[name]
            img = resize_image(before, self._size_of(before, results["scale"]), self.interpolation, self.backend)
            ratios = (img.shape[1] / before.shape[1], img.shape[0] / before.shape[0])
            results[name] = img
            results["img_shape"] = results["pad_shape"] = img.shape
            results["scale_factor"] = np.array(ratios * 2, dtype=np.float32)
            results["keep_ratio"] = self.keep_ratio


def _draw_between(rng: np.random.Generator, edges: Sequence[float]) -> int:
    return int(rng.integers(int(min(edges)), int(max(edges)), endpoint=True))


@TRANSFORMS.register
@dataclass(eq=False)
class RandomFlip:
    """Flip image, boxes, masks and semantic map, or don't.

    Reads `flip` and `flip_direction` where `MultiScaleFlipAug` set them; else draws and writes them. `flip_direction`
    is None where nothing was flipped.

    With `prob` it is that of mmdet 3.x, for a sample of 3.x: it draws in any case, and also writes `homography_matrix`.

    Attributes:
        flip_ratio: probability of flipping, 0 to 1, shared evenly by the directions; or one for each direction.
        direction: ``horizontal``, ``vertical``, ``diagonal`` (both at once), or a list of them.
        prob: as `flip_ratio`, which is its name in 2.x.
    """

    flip_ratio: float | Sequence[float] | None = None
    direction: str | Sequence[str] = "horizontal"
    prob: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._directions = [self.direction] if isinstance(self.direction, str) else list(self.direction)
        for direction in self._directions:
            if direction not in DIRECTIONS:
                raise ConfigError(f"direction must be one of {', '.join(DIRECTIONS)}, not {direction!r:.80}")
        if self.flip_ratio is not None and self.prob is not None:
            raise ConfigError("flip_ratio is mmdet 2.x's, prob is 3.x's: write one dialect")
        name = "flip_ratio" if self.prob is None else "prob"
        given = getattr(self, name)
        # Where in [0, 1) each direction ends.
        self._ends = None if given is None else np.cumsum(self._as_ratios(name, given)).tolist()

    def _as_ratios(self, name: str, flip_ratio: Any) -> list[float]:
        count = len(self._directions)
        ratios = list(flip_ratio) if isinstance(flip_ratio, list | tuple) else [flip_ratio]
        # With a small tolerance: 0.1 + 0.2 + 0.7 is more than 1 in floating point.
        if not all(is_positive(r) or r == 0 for r in ratios) or not 0 <= sum(ratios) <= 1 + 1e-9:
            raise ConfigError(
                f"{name} must be a probability between 0 and 1, or a list of them, not {flip_ratio!r:.80}"
            )
        if not isinstance(flip_ratio, list | tuple):
            return [float(ratios[0]) / count] * count
        if len(ratios) != count:
            raise ConfigError(f"{name} has {len(ratios)} probabilities for {count} directions")
        return [float(r) for r in ratios]

    def __call__(self, results: Sample) -> Sample:
        """Flip the sample, or don't.

        Raises:
            ConfigError: there is neither a `flip_ratio` nor `flip` in the sample, or the sample is one of the other
                dialect.
        """
        given = "a RandomFlip without prob" if self.prob is None else "prob"
        three.check_form("RandomFlip", results, is_3x_form=self.prob is not None, arguments=given)
        if self.prob is not None:
            self._flip_3x(results)
            return results
        drawn = None
        if "flip" not in results:
            drawn = self._draw_direction(rng_of(results))
            results["flip"] = drawn is not None
        results.setdefault("flip_direction", drawn)
        if not results["flip"]:
            return results
        direction = results["flip_direction"]
        for name in results.get("img_fields", ["img"]):
            results[name] = flip_image(results[name], direction)
        for name in results.get("bbox_fields", []):
            results[name] = _flip_boxes(results[name], results["img_shape"], direction)
        for name in results.get("mask_fields", []):
            results[name] = results[name].flip(direction)
        for name in results.get("seg_fields", []):
            results[name] = flip_image(results[name], direction)
        return results

    def _flip_3x(self, results: Sample) -> None:
        direction = self._draw_direction(rng_of(results))
        results["flip"], results["flip_direction"] = direction is not None, direction
        if direction is not None:
            three.flip(results, direction)

    def _draw_direction(self, rng: np.random.Generator) -> str | None:
        if self._ends is None:
            raise ConfigError("RandomFlip: neither flip_ratio nor 'flip' in the sample")
        at = rng.random()
        for direction, end in zip(self._directions, self._ends, strict=True):
            if at < end:
                return direction
        return None


def _flip_boxes(boxes: npt.NDArray[Any], shape: Sequence[int], direction: str) -> npt.NDArray[Any]:
    flipped = boxes.copy()
    if direction in ("horizontal", "diagonal"):
        flipped[..., 0::4] = shape[1] - boxes[..., 2::4]
        flipped[..., 2::4] = shape[1] - boxes[..., 0::4]
    if direction in ("vertical", "diagonal"):
        flipped[..., 1::4] = shape[0] - boxes[..., 3::4]
        flipped[..., 3::4] = shape[0] - boxes[..., 1::4]
    return flipped


def _pad_values() -> dict[str, Any]:
    return {"img": 0, "masks": 0, "seg": 255}


@TRANSFORMS.register
@dataclass(eq=False)
class Pad:
    """Pad image, masks and semantic map at the right and the bottom. Boxes stay where they are.

    Writes `img`, `pad_shape`, `pad_fixed_size`, `pad_size_divisor`; `img_shape` stays that of the image inside. A
    sample of mmdet 3.x is padded by its rules: see `three.pad`.

    Attributes:
        size: (height, width) in pixels to pad to, with a sample of 3.x (width, height); an image that is larger stays
            as it is.
        size_divisor: pad height and width to multiples of it.
        pad_to_square: pad to the longer edge.
        pad_val: values for ``img`` (see `pad_image`), ``masks`` and ``seg``; or one number for the first two.
    """

    size: Sequence[int] | None = None
    size_divisor: int | None = None
    pad_to_square: bool = False
    pad_val: Mapping[str, Any] | float = field(default_factory=_pad_values)

    def __post_init__(self) -> None:
        given = [name for name in ("size", "size_divisor") if getattr(self, name) is not None]
        if len(given) + bool(self.pad_to_square) != 1:
            raise ConfigError(
                f"exactly one of size, size_divisor and pad_to_square is needed, not "
                f"size={self.size!r}, size_divisor={self.size_divisor!r}, pad_to_square={self.pad_to_square!r}"
            )
        if self.size is not None and not is_pair(self.size):
            raise ConfigError(f"size must be (height, width) in pixels, not {self.size!r:.80}")
        if self.size_divisor is not None and not (isinstance(self.size_divisor, int) and self.size_divisor > 0):
            raise ConfigError(f"size_divisor must be a whole number above 0, not {self.size_divisor!r:.80}")
        if isinstance(self.pad_val, int | float):
            self.pad_val = {"img": self.pad_val, "masks": self.pad_val, "seg": 255}
        if not isinstance(self.pad_val, Mapping):
            raise ConfigError(f"pad_val must be a number or a dict of img, masks and seg, not {self.pad_val!r:.80}")
        self.values: Mapping[str, Any] = {**_pad_values(), **self.pad_val}

    def __call__(self, results: Sample) -> Sample:
        """Pad the sample."""
        if three.is_3x(results):
            three.pad(
                results,
                size=self.size,
                size_divisor=self.size_divisor,
                is_square=self.pad_to_square,
                values=self.values,
            )
            return results
        for name in results.get("img_fields", ["img"]):
            fixed_size = self.fixed_size(results[name])
            img = pad_image(results[name], fixed_size or self.multiple_of(results[name]), self.values["img"])
            results[name] = img
            results["pad_shape"] = img.shape
            results["pad_fixed_size"] = fixed_size
            results["pad_size_divisor"] = self.size_divisor
        shape = results["pad_shape"][:2]
        for name in results.get("mask_fields", []):
            results[name] = results[name].pad(shape, pad_val=self.values["masks"])
        for name in results.get("seg_fields", []):
            results[name] = pad_image(results[name], shape, self.values["seg"])
        return results

    def fixed_size(self, image: npt.NDArray[Any]) -> tuple[int, int] | None:
        """(height, width) to pad the image to; None: to multiples of `size_divisor`."""
        if self.pad_to_square:
            edge = max(image.shape[:2])
            return edge, edge
        return None if self.size is None else (self.size[0], self.size[1])

    def multiple_of(self, image: npt.NDArray[Any]) -> tuple[int, int]:
        """(height, width) of the image, rounded up to multiples of `size_divisor`."""
        divisor = self.size_divisor or 1
        return -(-image.shape[0] // divisor) * divisor, -(-image.shape[1] // divisor) * divisor
