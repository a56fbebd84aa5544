from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks, polygon_parts, rasterise

# pycocotools 2.0.11 has not followed numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]
DRAWN = np.zeros((5, 6), dtype=np.uint8)
DRAWN[1:3, 1:4] = 1


def bitmaps() -> BitmapMasks:
    return BitmapMasks([DRAWN, 1 - DRAWN], 5, 6)


def polygons() -> PolygonMasks:
    return PolygonMasks([[np.array(SQUARE)], [np.array(SQUARE) + 0.5, np.array(SQUARE)]], 5, 6)


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        {"counts": [6, 2, 3, 2, 3, 2, 12], "size": [5, 6]},
        {"counts": "6230009", "size": [5, 6]},
    ],
    ids=["polygon", "run lengths", "compressed run lengths"],
)
def test_a_segmentation_is_drawn(segmentation: Any) -> None:
    np.testing.assert_array_equal(rasterise(segmentation, 5, 6), DRAWN)


def test_parts_are_drawn_together() -> None:
    both = rasterise([SQUARE, [4, 3, 6, 3, 6, 5, 4, 5]], 5, 6)

    assert DRAWN.sum() + 4 == both.sum()


@pytest.mark.parametrize("segmentation", [None, [], {}, "text", [[1, 2, 3, 4]], {"size": [5, 6]}])
def test_what_cannot_be_drawn_is_refused(segmentation: Any) -> None:
    with pytest.raises(ValueError, match="a segmentation"):
        rasterise(segmentation, 5, 6)


def test_drawing_without_pycocotools_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match=r"pip install 'asyncio-loader\[train\]'"):
        rasterise([SQUARE], 5, 6)


def test_malformed_parts_are_left_out() -> None:
    parts = polygon_parts([[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], SQUARE])

    assert [SQUARE] == [part.tolist() for part in parts]


@pytest.mark.parametrize("segmentation", [None, {"counts": [1], "size": [1, 1]}])
def test_only_polygons_have_parts(segmentation: Any) -> None:
    with pytest.raises(TypeError, match="poly2mask=False needs polygons"):
        polygon_parts(segmentation)


def test_bitmaps_are_resized_to_the_nearest() -> None:
    masks = bitmaps().resize((10, 12))

    np.testing.assert_array_equal(masks.masks[0], DRAWN.repeat(2, axis=0).repeat(2, axis=1))
    assert (10, 12) == (masks.height, masks.width)


def test_rescaling_keeps_the_ratio() -> None:
    for masks in (bitmaps().rescale((12, 12)), polygons().rescale((12, 12))):
        assert (10, 12) == (masks.height, masks.width)


def test_bitmaps_are_flipped_and_padded() -> None:
    masks = bitmaps().flip("diagonal").pad((7, 8), pad_val=1)

    np.testing.assert_array_equal(masks.masks[0, :5, :6], DRAWN[::-1, ::-1])
    assert 1 == masks.masks[:, 5:].min() == masks.masks[:, :, 6:].min()


def test_bitmaps_are_cropped_to_the_box_within_the_image() -> None:
    masks = bitmaps().crop(np.array([1, 1, 100, 3]))

    np.testing.assert_array_equal(masks.masks[0], DRAWN[1:3, 1:])
    assert (2, 5) == (masks.height, masks.width)


def test_a_pixel_stays_of_an_empty_crop() -> None:
    assert (2, 1, 1) == bitmaps().crop(np.array([2, 2, 2, 2])).masks.shape


def test_no_bitmaps_keep_their_size() -> None:
    masks = BitmapMasks([], 5, 6).rescale((12, 12)).flip().pad((20, 20)).crop(np.array([0, 0, 3, 4]))

    assert (0, 4, 3) == masks.masks.shape
    assert np.uint8 == masks.masks.dtype


def test_bitmaps_have_one_size() -> None:
    with pytest.raises(ValueError, match="masks of 9x9 pixels expected, not of shape"):
        BitmapMasks([DRAWN], 9, 9)


def test_areas_are_pixels_or_shoelaces() -> None:
    assert [6, 24] == bitmaps().areas.tolist()
    assert [6, 12] == polygons().areas.tolist()


@pytest.mark.parametrize("index", [0, slice(0, 1), [0], np.array([True, False])])
@pytest.mark.parametrize("masks", [bitmaps(), polygons()])
def test_masks_can_be_picked(masks: Any, index: Any) -> None:
    picked = masks[index]

    assert 1 == len(picked) == len(list(picked))
    assert masks.areas[0] == picked.areas[0]


def test_whole_polygons_stay_whole_truncated() -> None:
    masks = polygons().resize((8, 9))

    assert [1, 1, 6, 1, 6, 4, 1, 4] == masks.masks[0][0].tolist()
    assert [2.25, 2.4, 6.75, 2.4, 6.75, 5.6, 2.25, 5.6] == pytest.approx(masks.masks[1][0].tolist())


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("horizontal", [5, 1, 2, 1, 2, 3, 5, 3]),
        ("vertical", [1, 4, 4, 4, 4, 2, 1, 2]),
        ("diagonal", [5, 4, 2, 4, 2, 2, 5, 2]),
    ],
)
def test_polygons_are_flipped(direction: str, expected: list[int]) -> None:
    assert expected == polygons().flip(direction).masks[0][0].tolist()


def test_polygons_stay_where_they_are_when_padded() -> None:
    masks = polygons().pad((9, 9))

    assert (9, 9, SQUARE) == (masks.height, masks.width, masks.masks[0][0].tolist())


def test_polygons_move_to_the_corner_of_a_crop() -> None:
    masks = polygons().crop(np.array([1, 1, 4, 3]))

    assert (2, 3, [0, 0, 3, 0, 3, 2, 0, 2]) == (masks.height, masks.width, masks.masks[0][0].tolist())


def test_the_masks_before_stay_as_they_were() -> None:
    before = polygons()
    before.flip().resize((50, 60))

    assert SQUARE == before.masks[0][0].tolist()


def test_both_kinds_become_arrays() -> None:
    np.testing.assert_array_equal(polygons().to_ndarray()[0], bitmaps().to_ndarray()[0])
    assert (0, 5, 6) == PolygonMasks([], 5, 6).to_ndarray().shape


def test_their_repr_tells_their_size() -> None:
    assert "BitmapMasks(n=2, height=5, width=6)" == repr(bitmaps())
    assert "PolygonMasks(n=2, height=5, width=6)" == repr(polygons())
