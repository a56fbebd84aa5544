from __future__ import annotations

import numpy as np
import pytest

from asyncio_loader.coco.annotations import Annotations
from asyncio_loader.coco.objects import Objects


def found(images: list[int], *, crowds: tuple[int, ...] = (), masks: bool = True) -> Annotations:
    count = len(images)
    return Annotations(
        image=np.array(images, dtype=np.int64),
        label=np.arange(count, dtype=np.int64),
        box=np.array([(i, i, 10, 20) for i in range(count)], dtype=np.float64).reshape(-1, 4),
        area=np.full(count, 200.0),
        is_crowd=np.array([i in crowds for i in range(count)], dtype=bool),
        segmentation=[[[i] * 6] for i in range(count)] if masks else [],
    )


def every(count: int) -> np.ndarray:
    return np.ones(count, dtype=bool)


def test_objects_are_grouped_by_image_in_the_order_of_the_file() -> None:
    objects = Objects.of(found([1, 0, 1, 0]), every(4), every(2))

    assert [1, 3] == objects.of_image(0)["labels"].tolist()
    assert [0, 2] == objects.of_image(1)["labels"].tolist()


def test_boxes_are_corners_in_float32() -> None:
    boxes = Objects.of(found([0, 0]), every(2), every(1)).of_image(0)["bboxes"]

    assert np.float32 == boxes.dtype
    assert [[0, 0, 10, 20], [1, 1, 11, 21]] == boxes.tolist()


def test_crowds_are_ignored_boxes_without_label_or_mask() -> None:
    info = Objects.of(found([0, 0, 0], crowds=(1,)), every(3), every(1)).of_image(0)

    assert [[1, 1, 11, 21]] == info["bboxes_ignore"].tolist()
    assert [0, 2] == info["labels"].tolist()
    assert [[[0] * 6], [[2] * 6]] == info["masks"]


def test_images_that_are_dropped_leave_no_gap() -> None:
    objects = Objects.of(found([0, 1, 2]), every(3), np.array([True, False, True]))

    assert [2] == objects.of_image(1)["labels"].tolist()


def test_an_image_without_objects_has_arrays_of_no_rows() -> None:
    info = Objects.of(found([], masks=False), every(0), every(1)).of_image(0)

    assert ((0, 4), (0,), (0, 4)) == tuple(info[key].shape for key in ("bboxes", "labels", "bboxes_ignore"))
    assert (np.float32, np.int64) == (info["bboxes"].dtype, info["labels"].dtype)


def test_masks_that_were_left_out_are_none() -> None:
    assert [None, None] == Objects.of(found([0, 0], masks=False), every(2), every(1)).of_image(0)["masks"]


def test_what_is_given_out_may_be_changed() -> None:
    objects = Objects.of(found([0]), every(1), every(1))
    objects.of_image(0)["bboxes"][:] = -1

    assert [[0, 0, 10, 20]] == objects.of_image(0)["bboxes"].tolist()


@pytest.mark.parametrize("position", [-1, 1])
def test_positions_outside_are_refused(position: int) -> None:
    with pytest.raises(IndexError, match="of 1 images"):
        Objects.of(found([0]), every(1), every(1)).of_image(position)


def test_instances_have_crowds_in_their_places_and_exact_corners() -> None:
    instances = Objects.of(found([0, 1, 0], crowds=(0,)), every(3), every(2)).instances_of_image(0)

    assert [
        {"ignore_flag": 1, "bbox": [0.0, 0.0, 10.0, 20.0], "bbox_label": 0, "mask": [[0] * 6]},
        {"ignore_flag": 0, "bbox": [2.0, 2.0, 12.0, 22.0], "bbox_label": 2, "mask": [[2] * 6]},
    ] == instances


def test_instances_without_segmentations_have_no_mask() -> None:
    instances = Objects.of(found([0], masks=False), every(1), every(1)).instances_of_image(0)

    assert ["ignore_flag", "bbox", "bbox_label"] == list(instances[0])
