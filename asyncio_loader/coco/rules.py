"""Which images and boxes are kept: the rules of mmdet 2.28 (`datasets/coco.py`, `_filter_imgs`, `_parse_ann_info`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["COCO_CLASSES", "has_object", "keep_image"]

# fmt: off
COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)
# fmt: on
"""The 80 names that apply where no `classes` are given."""


def keep_image(
    sizes: npt.NDArray[np.float64], is_wanted: npt.NDArray[np.bool_], *, filter_empty_gt: bool, min_size: int
) -> npt.NDArray[np.bool_]:
    """Which images a training set keeps, (n,).

    Args:
        sizes: width and height in pixels, (n, 2).
        is_wanted: whether an image has any annotation of a wanted category, be it ignored or degenerate, (n,).
        filter_empty_gt: drop the images that have none.
        min_size: the least length in pixels of the shorter side, inclusive.
    """
    is_large: npt.NDArray[np.bool_] = sizes.min(axis=1, initial=np.inf) >= min_size
    return is_large & is_wanted if filter_empty_gt else is_large


def has_object(
    box: npt.NDArray[np.float64], area: npt.NDArray[np.float64], size: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Which annotations are worth a box, (n,): those that overlap their image, have an area and are a pixel wide.

    Args:
        box: x, y, width, height, (n, 4).
        area: as the file states it, (n,).
        size: width and height of each annotation's image, (n, 2).
    """
    start, extent = box[:, :2], box[:, 2:]
    overlap = np.minimum(start + extent, size) - np.maximum(start, 0)
    is_inside = (np.maximum(overlap, 0).prod(axis=1) != 0) & (area > 0)
    is_visible: npt.NDArray[np.bool_] = is_inside & (extent >= 1).all(axis=1)
    return is_visible
