from __future__ import annotations

import numpy as np
import pytest

from asyncio_loader.testing.drawing import SHAPES, Shape, draw_shape, draw_texture, place_shapes


def test_the_area_is_that_of_the_polygon() -> None:
    triangle = Shape(SHAPES.index("triangle"), np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]]))

    assert triangle.area == 6


def test_shapes_lie_inside_and_hardly_overlap() -> None:
    shapes = place_shapes(np.random.default_rng(1), 200, 100, classes=3, count=8)
    covered = np.zeros((100, 200), np.uint8)
    for shape in shapes:
        low, high = np.floor(shape.outline.min(axis=0)).astype(int), np.ceil(shape.outline.max(axis=0)).astype(int)
        assert low.min() >= 0
        assert (high <= (200, 100)).all()
        covered[low[1] : high[1], low[0] : high[0]] += 1

    assert len(shapes) > 3
    assert (covered > 1).mean() < 0.05


def test_a_texture_is_a_colour_picture() -> None:
    picture = draw_texture(np.random.default_rng(0), 30, 20, grain=5)

    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("seed", range(5))
def test_a_shape_stands_out_from_what_lies_under_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = draw_texture(rng, 64, 64, grain=0)
    before = picture[32, 32].astype(float)
    draw_shape(rng, picture, Shape(1, np.array([[20.0, 20.0], [44.0, 20.0], [44.0, 44.0], [20.0, 44.0]])))

    assert np.abs(picture[32, 32] - before).mean() > 50


def test_the_box_of_the_outline_is_that_of_the_pixels() -> None:
    rng = np.random.default_rng(3)
    for shape in place_shapes(rng, 300, 300, classes=3, count=12):
        picture = np.full((300, 300, 3), 128, np.uint8)
        draw_shape(rng, picture, shape)
        rows, columns = np.nonzero((picture != 128).any(axis=2))

        # A corner covers a part of its pixel, which may be too little to show.
        np.testing.assert_allclose([columns.min(), rows.min()], shape.outline.min(axis=0), atol=1.25)
        np.testing.assert_allclose([columns.max() + 1, rows.max() + 1], shape.outline.max(axis=0), atol=1.25)
