from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.transforms.scaling import as_scales, flip_image, is_planar, pad_image, resize_image, scaled_size

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((640, 427), (1333, 800), (1199, 800)),
        ((427, 640), (1333, 800), (800, 1199)),
        ((640, 427), (800, 1333), (1199, 800)),
        ((100, 10), (1333, 800), (1333, 133)),
        ((5, 5), 0.5, (3, 3)),
        ((5, 5), 2, (10, 10)),
    ],
)
def test_the_ratio_is_kept_and_rounded_half_up(size: tuple[int, int], scale: Any, expected: tuple[int, int]) -> None:
    assert expected == scaled_size(*size, scale)


@pytest.mark.parametrize(
    ("img_scale", "expected"),
    [
        ((1333, 800), [(1333, 800)]),
        ([1333, 800], [(1333, 800)]),
        ([(1333, 640), [1333, 800]], [(1333, 640), (1333, 800)]),
    ],
)
def test_scales_may_be_tuples_or_the_lists_of_yaml(img_scale: Any, expected: list[tuple[int, int]]) -> None:
    assert expected == as_scales(img_scale)


@pytest.mark.parametrize("img_scale", [5, [], (1333,), (1333, 800, 3), (0, 5), ("a", "b"), [(1, 2), 3], [True, True]])
def test_what_is_no_scale_is_refused(img_scale: Any) -> None:
    with pytest.raises(ConfigError, match="img_scale must be"):
        as_scales(img_scale)


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area", "lanczos"])
def test_size_is_width_and_height(interpolation: str, backend: str) -> None:
    assert (5, 7, 3) == resize_image(IMAGE, (7, 5), interpolation, backend).shape


@pytest.mark.parametrize(("direction", "axes"), [("horizontal", 1), ("vertical", 0), ("diagonal", (0, 1))])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[:, :, 0], IMAGE[:, :, :1]])
def test_flipping_gives_a_contiguous_copy(image: np.ndarray, direction: str, axes: Any) -> None:
    flipped = flip_image(np.ascontiguousarray(image), direction)

    np.testing.assert_array_equal(flipped, np.flip(image, axes))
    assert flipped.flags.c_contiguous


def test_padding_goes_right_and_below() -> None:
    padded = pad_image(IMAGE, (3, 6), (1, 2, 3))

    assert (3, 6, 3) == padded.shape
    np.testing.assert_array_equal(padded[:2, :4], IMAGE)
    assert {(1, 2, 3)} == {tuple(pixel) for pixel in padded[2].tolist()}


@pytest.mark.parametrize("value", [5, (1, 2, 3), (1, 2, 3, 4)])
def test_an_image_that_lies_plane_by_plane_stays_so(value: Any) -> None:
    planar = np.ascontiguousarray(IMAGE.transpose(2, 0, 1)).transpose(1, 2, 0)
    padded = pad_image(planar, (3, 6), value)

    np.testing.assert_array_equal(padded, pad_image(IMAGE, (3, 6), value))
    assert is_planar(padded)


@pytest.mark.parametrize("shape", [(2, 4), (1, 1)])
def test_an_image_as_large_stays_itself(shape: tuple[int, int]) -> None:
    assert pad_image(IMAGE, shape) is IMAGE
