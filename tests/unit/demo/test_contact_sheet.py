from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from asyncio_loader.demo.contact_sheet import Box, Picture, draw_contact_sheet
from asyncio_loader.pictures.sheet import CELL_PX

GREEN, PINK = (40, 220, 60), (255, 60, 160)


@pytest.fixture
def gray(tmp_path: Path) -> Path:
    path = tmp_path / "gray.png"
    Image.new("RGB", (100, 50), (128, 128, 128)).save(path)
    return path


def colors(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return {color for _, color in image.getcolors(maxcolors=1 << 24) or [] if isinstance(color, tuple)}


def test_pictures_stand_four_in_a_row(gray: Path, tmp_path: Path) -> None:
    sheet = draw_contact_sheet([Picture(gray, [])] * 5, tmp_path / "new" / "sheet.png")

    with Image.open(sheet) as image:
        assert image.width == 4 * (CELL_PX + 12) + 12
        # Each is twice as wide as high, and fills its cell.
        assert CELL_PX < image.height < 2 * CELL_PX


def test_true_and_predicted_boxes_differ_in_color(gray: Path, tmp_path: Path) -> None:
    box = (10.0, 5.0, 60.0, 40.0)
    boxes = [Box(box, "circle"), Box(box, "square", 0.9)]

    assert {GREEN, PINK} <= colors(draw_contact_sheet([Picture(gray, boxes)], tmp_path / "sheet.png"))


def test_a_box_without_an_area_or_past_the_border_is_drawn(gray: Path, tmp_path: Path) -> None:
    boxes = [Box((20, 20, 20, 20), "a", 0.5), Box((90, 40, 500, 500), "b", 0.5), Box((30, 10, 20, 5), "c", 0.1)]

    assert draw_contact_sheet([Picture(gray, boxes)], tmp_path / "sheet.png").is_file()
