"""The last two layers of a box head, whose rows mmdet and torchvision order differently.

Rows of the classifier: torchvision has the background first, mmdet has it last since 2.0 and had it first before.
Rows of the regressor, four per class: torchvision has the background's, which neither training nor detection ever
reads; mmdet has had none since 2.0; and a class-agnostic regressor of mmdet's has four rows for all classes. The four
mean the same in both, x, y, width, height, each divided by a standard deviation that is the config's, not the file's.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["has_background_first", "to_background_first", "to_background_last", "with_background", "without_background"]

_BOX_ROWS = 4


def has_background_first(class_rows: int, box_rows: int | None, *, has_old_names: bool) -> bool:
    """Whether a box head of mmdet's is of the order before 2.0.

    The numbers of rows tell, and where they do not (a class-agnostic or no regressor), the names do, which changed in
    the same release. ``meta`` does not: mmdet's upgrade script leaves the old version in a file it has reordered, and
    the 1x models that 2.x publishes went through it.
    """
    if box_rows is None or box_rows == _BOX_ROWS:
        return has_old_names
    return box_rows == _BOX_ROWS * class_rows


def to_background_first(classes: Tensor) -> Tensor:
    """(C + 1, …) rows of a classifier, the last of which becomes the first."""
    return torch.cat([classes[-1:], classes[:-1]])


def to_background_last(classes: Tensor) -> Tensor:
    """The inverse of `to_background_first`."""
    return torch.cat([classes[1:], classes[:1]])


def with_background(boxes: Tensor, class_rows: int) -> Tensor:
    """Rows of a regressor for every class and, zero, for the background before them: (4 (C + 1), …).

    Takes (4 C, …), or (4, …) for all classes alike, where C + 1 is `class_rows`. Others come back as they are.
    """
    if len(boxes) == _BOX_ROWS:
        boxes = boxes.repeat(class_rows - 1, *[1] * (boxes.dim() - 1))
    if len(boxes) != _BOX_ROWS * (class_rows - 1):
        return boxes
    return torch.cat([boxes.new_zeros(_BOX_ROWS, *boxes.shape[1:]), boxes])


def without_background(boxes: Tensor) -> Tensor:
    """(4 (C + 1), …) rows of a regressor without the background's: (4 C, …)."""
    return boxes[_BOX_ROWS:].clone()
