"""Instance masks of one image, as bitmaps or as polygons, that follow what happens to the image.

The numbers are those of mmdet 2.28 (`core/mask/structures.py`): nearest neighbour for bitmaps, and polygons of whole
numbers stay whole, truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.decoding import Pixels
from asyncio_loader.transforms.scaling import Scale, flip_image, pad_image, resize_image, scaled_size

__all__ = ["BitmapMasks", "PolygonMasks", "polygon_parts", "rasterise"]

Polygon: TypeAlias = npt.NDArray[Any]
"""x1, y1, x2, y2, … in pixels: an even number of values, six at least."""


def rasterise(segmentation: Any, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw a COCO segmentation (polygons or run lengths) into a bitmap (height, width) of 0 and 1, by pycocotools.

    Raises:
        ConfigError: pycocotools is not installed.
        ValueError: the segmentation is missing or malformed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise ConfigError("masks need pycocotools: pip install 'asyncio-loader[train]'") from error
    if not isinstance(segmentation, list | dict) or not segmentation:
        raise ValueError(f"a segmentation must be polygons or run lengths, not {segmentation!r:.80}")
    try:
        if isinstance(segmentation, list):
            runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            runs = coco_mask.frPyObjects(segmentation, height, width)
        else:
            runs = segmentation
        bitmap: npt.NDArray[np.uint8] = coco_mask.decode(runs)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a segmentation cannot be drawn ({error}): {segmentation!r:.80}") from error
    return bitmap


def polygon_parts(segmentation: Any) -> list[Polygon]:
    """The polygons of a COCO segmentation, without those that have fewer than three corners or half a corner.

    Raises:
        TypeError: it is missing, or made of run lengths.
    """
    if not isinstance(segmentation, list):
        raise TypeError(f"poly2mask=False needs polygons, not {segmentation!r:.80}")
    parts = [np.array(part) for part in segmentation]
    return [part for part in parts if len(part) % 2 == 0 and len(part) >= 6]


class BitmapMasks:
    """One bitmap per object.

    Attributes:
        masks: (n, height, width) uint8.
        height: in pixels.
        width: in pixels.
    """

    def __init__(self, masks: Sequence[Pixels] | Pixels, height: int, width: int) -> None:
        self.height, self.width = height, width
        stack = np.stack(tuple(masks)) if len(masks) else np.zeros((0, height, width), dtype=np.uint8)
        if stack.shape[1:] != (height, width):
            raise ValueError(f"masks of {height}x{width} pixels expected, not of shape {stack.shape[1:]}")
        self.masks: Pixels = stack

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[Pixels]:
        return iter(self.masks)

    def __getitem__(self, index: Any) -> BitmapMasks:
        """The masks that an integer, slice, mask or list of integers picks."""
        return BitmapMasks(self.masks[index].reshape(-1, self.height, self.width), self.height, self.width)

    def __repr__(self) -> str:
        return f"BitmapMasks(n={len(self)}, height={self.height}, width={self.width})"

    @property
    def areas(self) -> npt.NDArray[Any]:
        """Pixels of each object, (n,)."""
        areas: npt.NDArray[Any] = self.masks.sum((1, 2))
        return areas

    def rescale(self, scale: Scale) -> BitmapMasks:
        """Resized with the ratio kept; see `scaled_size`."""
        width, height = scaled_size(self.width, self.height, scale)
        return self.resize((height, width))

    def resize(self, out_shape: Sequence[int]) -> BitmapMasks:
        """Resized to (height, width), nearest neighbour."""
        height, width = out_shape[:2]
        return self._each(lambda mask: resize_image(mask, (width, height), "nearest"), height, width)

    def flip(self, flip_direction: str = "horizontal") -> BitmapMasks:
        """Flipped; see `flip_image`."""
        return self._each(lambda mask: flip_image(mask, flip_direction), self.height, self.width)

    def pad(self, out_shape: Sequence[int], pad_val: int = 0) -> BitmapMasks:
        """Padded at the right and the bottom to (height, width)."""
        height, width = out_shape[:2]
        return self._each(lambda mask: pad_image(mask, out_shape, pad_val), height, width)

    def crop(self, bbox: npt.NDArray[Any]) -> BitmapMasks:
        """Cut to a box x1, y1, x2, y2 in whole pixels, itself cut to the image; a pixel at least stays."""
        x1, y1, width, height = _cropped(bbox, self.height, self.width)
        cut = self.masks[:, y1 : y1 + height, x1 : x1 + width]
        return BitmapMasks(cut, *cut.shape[1:])

    def to_ndarray(self) -> Pixels:
        """(n, height, width) uint8."""
        return self.masks

    def _each(self, change: Callable[[Pixels], Pixels], height: int, width: int) -> BitmapMasks:
        return BitmapMasks([change(mask) for mask in self.masks], height, width)


class PolygonMasks:
    """Polygons, several per object.

    Attributes:
        masks: per object a list of polygons.
        height: in pixels, of the image.
        width: in pixels, of the image.
    """

    def __init__(self, masks: Sequence[Sequence[Polygon]], height: int, width: int) -> None:
        self.height, self.width = height, width
        self.masks = [list(parts) for parts in masks]

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[list[Polygon]]:
        return iter(self.masks)

    def __getitem__(self, index: Any) -> PolygonMasks:
        """The masks that an integer, slice, mask or list of integers picks."""
        picked = np.atleast_1d(np.arange(len(self))[index]).tolist()
        return PolygonMasks([self.masks[i] for i in picked], self.height, self.width)

    def __repr__(self) -> str:
        return f"PolygonMasks(n={len(self)}, height={self.height}, width={self.width})"

    @property
    def areas(self) -> npt.NDArray[np.float64]:
        """Area of each object, its parts added up, (n,)."""
        return np.array([sum(_area(part) for part in parts) for parts in self.masks], dtype=np.float64)

    def rescale(self, scale: Scale) -> PolygonMasks:
        """Scaled with the ratio kept; see `scaled_size`."""
        width, height = scaled_size(self.width, self.height, scale)
        return self.resize((height, width))

    def resize(self, out_shape: Sequence[int]) -> PolygonMasks:
        """Scaled from the image's to the given (height, width)."""
        height, width = out_shape[:2]
        return self._each(lambda p, axis: p * ((width / self.width, height / self.height)[axis]), height, width)

    def flip(self, flip_direction: str = "horizontal") -> PolygonMasks:
        """Flipped: horizontal, vertical or diagonal (both)."""
        axes = {"horizontal": (0,), "vertical": (1,), "diagonal": (0, 1)}[flip_direction]
        size = (self.width, self.height)
        return self._each(lambda p, axis: size[axis] - p if axis in axes else p, self.height, self.width)

    def pad(self, out_shape: Sequence[int], pad_val: int = 0) -> PolygonMasks:
        """As they are, in an image of (height, width)."""
        height, width = out_shape[:2]
        return PolygonMasks(self.masks, height, width)

    def crop(self, bbox: npt.NDArray[Any]) -> PolygonMasks:
        """Moved to the corner of a box x1, y1, x2, y2 in whole pixels; what sticks out is not cut off."""
        x1, y1, width, height = _cropped(bbox, self.height, self.width)
        return self._each(lambda p, axis: p - (x1, y1)[axis], height, width)

    def to_ndarray(self) -> Pixels:
        """Drawn into bitmaps, (n, height, width) uint8; needs pycocotools."""
        drawn = [rasterise([part.tolist() for part in parts], self.height, self.width) for parts in self.masks]
        return np.stack(drawn) if drawn else np.zeros((0, self.height, self.width), dtype=np.uint8)

    def _each(self, change: Callable[[Polygon, int], Polygon], height: int, width: int) -> PolygonMasks:
        """`change` applied to the x (axis 0) and the y (axis 1) of every polygon."""

        def moved(part: Polygon) -> Polygon:
            copy = part.copy()
            for axis in (0, 1):
                copy[axis::2] = change(part[axis::2], axis)
            return copy

        return PolygonMasks([[moved(part) for part in parts] for parts in self.masks], height, width)


def _cropped(bbox: npt.NDArray[Any], height: int, width: int) -> tuple[int, int, int, int]:
    x1, x2 = (int(x) for x in np.clip(bbox[0::2], 0, width))
    y1, y2 = (int(y) for y in np.clip(bbox[1::2], 0, height))
    return x1, y1, max(x2 - x1, 1), max(y2 - y1, 1)


def _area(polygon: Polygon) -> float:
    x, y = polygon[0::2], polygon[1::2]
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))
