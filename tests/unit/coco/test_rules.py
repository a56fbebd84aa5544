from __future__ import annotations

import numpy as np
import pytest

from asyncio_loader.coco.rules import COCO_CLASSES, has_object, keep_image


def test_coco_has_eighty_classes() -> None:
    assert len(set(COCO_CLASSES)) == 80
    assert (COCO_CLASSES[0], COCO_CLASSES[-1]) == ("person", "toothbrush")


@pytest.mark.parametrize(
    ("box", "area", "expected"),
    [
        ((0, 0, 10, 10), 100, True),
        ((-5, -5, 10, 10), 100, True),
        ((100, 0, 10, 10), 100, False),
        ((-10, 0, 10, 10), 100, False),
        ((0, 0, 10, 10), 0, False),
        ((0, 0, 10, 10), -1, False),
        ((0, 0, 0.99, 10), 9.9, False),
        ((0, 0, 10, 0.99), 9.9, False),
        ((0, 0, 1, 1), 1, True),
    ],
)
def test_a_box_overlaps_has_an_area_and_is_a_pixel_wide(box: tuple[float, ...], area: float, expected: bool) -> None:
    is_object = has_object(np.array([box], float), np.array([area], float), np.array([(100, 50)], float))

    assert [expected] == is_object.tolist()


def test_the_shorter_side_decides_about_an_image() -> None:
    sizes = np.array([(32, 100), (100, 31), (32, 32)], float)

    assert [True, False, True] == keep_image(sizes, np.ones(3, bool), filter_empty_gt=True, min_size=32).tolist()


@pytest.mark.parametrize(("filter_empty_gt", "expected"), [(True, [True, False]), (False, [True, True])])
def test_images_without_a_wanted_annotation_are_dropped_if_asked(filter_empty_gt: bool, expected: list[bool]) -> None:
    sizes, is_wanted = np.full((2, 2), 100.0), np.array([True, False])

    assert expected == keep_image(sizes, is_wanted, filter_empty_gt=filter_empty_gt, min_size=32).tolist()


def test_no_images_are_no_error() -> None:
    assert [] == keep_image(np.empty((0, 2)), np.empty(0, bool), filter_empty_gt=True, min_size=32).tolist()
