from __future__ import annotations

import itertools

import pytest
from PIL import Image

from asyncio_loader.pictures.marks import PALETTE, Corners, Marker, color_of

YELLOW = PALETTE[0]


def gray(width: int = 200, height: int = 100) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def test_colours_are_distinct_and_come_again() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert color_of(len(PALETTE) + 1) == PALETTE[1]


def test_a_box_is_drawn_where_it_is() -> None:
    image = gray()
    Marker(image).outline((20, 30, 80, 90), YELLOW)

    assert image.getpixel((20, 60)) == image.getpixel((80, 60)) == image.getpixel((50, 30)) == YELLOW
    assert image.getpixel((50, 60)) == image.getpixel((10, 60)) == (128, 128, 128)


@pytest.mark.parametrize("corners", [(20, 20, 20, 20), (90, 40, 500, 500), (30, 10, 20, 5), (-50, -50, -10, -10)])
def test_any_box_can_be_drawn(corners: Corners) -> None:
    marker = Marker(gray())

    marker.outline(corners, YELLOW)
    marker.name(corners, "x", YELLOW)


def test_names_cover_neither_each_other_nor_leave_the_picture() -> None:
    marker = Marker(gray(400, 400))
    boxes = [(x, y, x + 60.0, y + 60.0) for x, y in itertools.product(range(-20, 400, 25), repeat=2)]

    written = sum(marker.name(corners, "Platelets", YELLOW) for corners in boxes)

    assert written == len(marker._taken)
    # There is no room for all of them.
    assert 20 < written < len(boxes)
    for x1, y1, x2, y2 in marker._taken:
        assert min(x1, y1) >= 0
        assert max(x2, y2) <= 400
    for one, other in itertools.combinations(marker._taken, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_name_stands_above_its_box() -> None:
    marker = Marker(gray())

    assert marker.name((50, 50, 90, 90), "cell", YELLOW)

    (x1, _, _, y2) = marker._taken[0]
    assert (x1, y2) == (50, pytest.approx(49))


def test_a_long_name_is_shortened() -> None:
    marker = Marker(gray(400))

    assert marker.name((50, 50, 90, 90), "a name that goes on and on and on and on and on", YELLOW)

    x1, _, x2, _ = marker._taken[0]
    assert x2 - x1 < 150
