from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from asyncio_loader.pictures.sheet import CELL_PX, Cell, Chip, fit_scale, write_sheet

RED, BLUE = (200, 10, 10), (10, 10, 200)


def cell(width: int = 100, height: int = 100, color: tuple[int, int, int] = RED, captions: int = 2) -> Cell:
    return Cell(Image.new("RGB", (width, height), color), ["a caption"] * captions)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def rows_of(image: Image.Image, x: int, color: tuple[int, int, int]) -> list[int]:
    return [y for y in range(image.height) if image.getpixel((x, y)) == color]


@pytest.mark.parametrize(
    ("size", "scale"), [((800, 400), 0.5), ((100, 200), 2.0), ((10, 10), 4.0), ((CELL_PX, 10), 1.0)]
)
def test_a_picture_fills_its_cell_unless_it_is_tiny(size: tuple[int, int], scale: float) -> None:
    assert fit_scale(*size) == scale


def test_four_stand_side_by_side(tmp_path: Path) -> None:
    widths = [read(write_sheet("t", [], [cell()] * count, tmp_path / "s.png")).width for count in (1, 3, 4, 9)]

    assert widths == [12 + columns * (CELL_PX + 12) for columns in (1, 3, 4, 4)]


def test_pictures_and_their_captions_do_not_overlap(tmp_path: Path) -> None:
    cells = [cell(height=400), *[cell(height=50)] * 3, cell(height=300, color=BLUE)]
    sheet = read(write_sheet("title", [Chip("name", (0, 200, 0))], cells, tmp_path / "new" / "s.png"))

    first, second = rows_of(sheet, 20, RED), rows_of(sheet, 20, BLUE)
    assert (len(first), len(second)) == (400, 300)
    # Two lines of 14 pixels between them, and below.
    assert second[0] - first[-1] > 28
    assert sheet.height - second[-1] > 28


def test_a_long_legend_takes_several_lines(tmp_path: Path) -> None:
    few = read(write_sheet("t", [Chip("class", RED)] * 3, [cell()], tmp_path / "few.png"))
    many = read(write_sheet("t", [Chip("class", RED)] * 40, [cell()], tmp_path / "many.png"))

    assert many.width == few.width
    assert many.height > few.height + 5 * 14


def test_a_long_title_takes_several_lines(tmp_path: Path) -> None:
    short = read(write_sheet("title", [], [cell()], tmp_path / "short.png"))
    long = read(write_sheet("a long title " * 10, [], [cell()], tmp_path / "long.png"))

    assert long.height > short.height + 18


def test_what_is_hatched_is_hatched_in_the_legend(tmp_path: Path) -> None:
    plain = read(write_sheet("t", [Chip("x", BLUE)], [cell()], tmp_path / "s.png"))
    hatched = read(write_sheet("t", [Chip("x", BLUE, is_hatched=True)], [cell()], tmp_path / "h.png"))

    def count(image: Image.Image) -> int:
        return {color: number for number, color in image.getcolors(1 << 24) or []}[BLUE]

    assert 0 < count(hatched) < 0.8 * count(plain)
