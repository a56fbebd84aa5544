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
        boxes: x1, y1, x2, y2 of every object, crowds among them, (n, 4) float64, as Python adds the file's numbers.
        labels: (n,) int64.
        is_crowd: whether an object is a crowd, (n,).
        ends: where the objects of an image end in `boxes`, (images + 1,); the first is 0.
        masks: the segmentations of each image's objects, or None where they were left out.
    """

    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    is_crowd: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.int64]
    masks: PackedList | None

    @classmethod
    def of(cls, found: Annotations, is_object: npt.NDArray[np.bool_], is_kept_image: npt.NDArray[np.bool_]) -> Objects:
        """Those of `found` that are objects, grouped by the images that are kept."""
        objects = _by_image(found.image, is_object & is_kept_image[found.image])
        box = found.box[objects]
        ends = _ends(found.image[objects], is_kept_image)
        masks = None
        if found.segmentation:
            masks = PackedList(
                [found.segmentation[i] for i in objects[start:end].tolist()]
                for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
            )
        return cls(
            boxes=np.concatenate((box[:, :2], box[:, :2] + box[:, 2:]), axis=1),
            labels=found.label[objects],
            is_crowd=found.is_crowd[objects],
            ends=ends,
            masks=masks,
        )

    def of_image(self, position: int) -> dict[str, Any]:
        """`bboxes`, `labels`, `bboxes_ignore` (the crowds) and `masks` of one image, as 2.x has it; new arrays."""
        at = self._at(position)
        # Rounded once, after the corners were added, as mmdet does from Python floats.
        boxes, is_crowd = self.boxes[at].astype(np.float32), self.is_crowd[at]
        labels, masks = self.labels[at], self._masks_at(position)
        if not is_crowd.any():
            return {"bboxes": boxes, "labels": labels.copy(), "bboxes_ignore": _no_boxes(), "masks": masks}
        return {
            "bboxes": boxes[~is_crowd],
            "labels": labels[~is_crowd],
            "bboxes_ignore": boxes[is_crowd],
            "masks": [mask for mask, is_ignored in zip(masks, is_crowd.tolist(), strict=True) if not is_ignored],
        }

    def instances_of_image(self, position: int) -> list[dict[str, Any]]:
        """One dict per object, crowds in their places, as mmdet 3.x has it; see `CocoIndex.results_3x`."""
        at = self._at(position)
        rows = zip(
            self.is_crowd[at].tolist(),
            self.boxes[at].tolist(),
            self.labels[at].tolist(),
            self._masks_at(position),
            strict=True,
        )
        return [
            {"ignore_flag": int(is_crowd), "bbox": box, "bbox_label": label} | ({"mask": mask} if mask else {})
            for is_crowd, box, label, mask in rows
        ]

    def _at(self, position: int) -> slice:
        if not 0 <= position < len(self.ends) - 1:
            raise IndexError(f"position {position} of {len(self.ends) - 1} images")
        return slice(int(self.ends[position]), int(self.ends[position + 1]))

    def _masks_at(self, position: int) -> list[Any]:
        at = self._at(position)
        masks: list[Any] = [None] * (at.stop - at.start) if self.masks is None else self.masks[position]
        return masks


def _no_boxes() -> npt.NDArray[np.float32]:
    return np.zeros((0, 4), dtype=np.float32)


def _by_image(image: npt.NDArray[np.int64], is_chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    chosen = np.flatnonzero(is_chosen)
    # Stable: within an image the order of the file stays.
    ordered: npt.NDArray[np.int64] = chosen[np.argsort(image[chosen], kind="stable")]
    return ordered


def _ends(image: npt.NDArray[np.int64], is_kept_image: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    counts = np.bincount(image, minlength=len(is_kept_image))[is_kept_image]
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(counts, dtype=np.int64)))
