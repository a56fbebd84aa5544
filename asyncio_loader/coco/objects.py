"""Boxes, labels and segmentations of all images, side by side in a few arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.coco.annotations import Annotations
from asyncio_loader.coco.packed import PackedList

__all__ = ["Objects"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """What is in the images, in the order of the file within each.

    Attributes:
        boxes: x1, y1, x2, y2 of every object that is no crowd, (n, 4) float32.
        labels: (n,) int64.
        ends: where the objects of an image end in `boxes`, (images + 1,); the first is 0.
        crowds: as `boxes`, of the crowds.
        crowd_ends: as `ends`, of the crowds.
        masks: the segmentations of each image's objects, or None where they were left out.
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    crowds: npt.NDArray[np.float32]
    crowd_ends: npt.NDArray[np.int64]
    masks: PackedList | None

    @classmethod
    def of(cls, found: Annotations, is_object: npt.NDArray[np.bool_], is_kept_image: npt.NDArray[np.bool_]) -> Objects:
        """Those of `found` that are objects, grouped by the images that are kept."""
        is_kept = is_object & is_kept_image[found.image]
        objects = _by_image(found.image, is_kept & ~found.is_crowd)
        crowds = _by_image(found.image, is_kept & found.is_crowd)
        # Corners are added in float64 and rounded once, as mmdet does from Python floats.
        corners = np.concatenate((found.box[:, :2], found.box[:, :2] + found.box[:, 2:]), axis=1).astype(np.float32)
        ends = _ends(found.image[objects], is_kept_image)
        masks = None
        if found.segmentation:
            masks = PackedList(
                [found.segmentation[i] for i in objects[start:end].tolist()]
                for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
            )
        return cls(
            boxes=corners[objects],
            labels=found.label[objects],
            ends=ends,
            crowds=corners[crowds],
            crowd_ends=_ends(found.image[crowds], is_kept_image),
            masks=masks,
        )

    def of_image(self, position: int) -> dict[str, Any]:
        """`bboxes`, `labels`, `bboxes_ignore` and `masks` of one image; new arrays."""
        if not 0 <= position < len(self.ends) - 1:
            raise IndexError(f"position {position} of {len(self.ends) - 1} images")
        start, end = int(self.ends[position]), int(self.ends[position + 1])
        return {
            "bboxes": self.boxes[start:end].copy(),
            "labels": self.labels[start:end].copy(),
            "bboxes_ignore": self.crowds[self.crowd_ends[position] : self.crowd_ends[position + 1]].copy(),
            "masks": [None] * (end - start) if self.masks is None else self.masks[position],
        }


def _by_image(image: npt.NDArray[np.int64], is_chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    chosen = np.flatnonzero(is_chosen)
    # Stable: within an image the order of the file stays.
    ordered: npt.NDArray[np.int64] = chosen[np.argsort(image[chosen], kind="stable")]
    return ordered


def _ends(image: npt.NDArray[np.int64], is_kept_image: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    counts = np.bincount(image, minlength=len(is_kept_image))[is_kept_image]
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
