"""A contact sheet: pictures in a grid, captions under them, a title and a legend above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw

from asyncio_loader.pictures.text import font_of, height_of, shorten, width_of, wrap

__all__ = ["CELL_PX", "Cell", "Chip", "Color", "fit_scale", "write_sheet"]

Color: TypeAlias = tuple[int, int, int]

CELL_PX = 400
"""Width and height that a picture may have."""

_COLUMNS = 4
_GAP_PX = 12
_TITLE_PX, _TEXT_PX = 18, 14
_CHIP_PX = 14
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (90, 90, 90)


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture of the sheet.

    Attributes:
        image: at most `CELL_PX` wide and high.
        captions: lines below it, the first one the darkest; shortened where they are too long.
    """

    image: Image.Image
    captions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Chip:
    """An entry of the legend.

    Attributes:
        name: what it stands for.
        color: how it is drawn.
        is_hatched: whether in stripes.
    """

    name: str
    color: Color
    is_hatched: bool = False


def fit_scale(width: int, height: int, *, most: float = 4.0) -> float:
    """What a picture's size is multiplied by to fill a cell; small ones grow `most` times at the most."""
    return min(CELL_PX / width, CELL_PX / height, most)


def write_sheet(title: str, legend: Sequence[Chip], cells: Sequence[Cell], path: Path) -> Path:
    """Write a PNG, with four pictures side by side.

    Args:
        title: of the sheet; in as many lines as it takes, and so is the legend.
        legend: below it.
        cells: at least one.
        path: of the PNG; its directory is made.

    Returns:
        `path`.

    Raises:
        OSError: from the system.
    """
    columns = min(len(cells), _COLUMNS)
    width = columns * (CELL_PX + _GAP_PX) + _GAP_PX
    titles = wrap(title, width - 2 * _GAP_PX, font_of(_TITLE_PX))
    places, legend_bottom = _place_chips(legend, width, _GAP_PX + len(titles) * _line_px(_TITLE_PX))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [_row_height(row) for row in rows]
    sheet = Image.new("RGB", (width, round(legend_bottom) + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(titles):
        draw.text((_GAP_PX, _GAP_PX + number * _line_px(_TITLE_PX)), line, font=font_of(_TITLE_PX), fill=_INK)
    for chip, (x, y) in zip(legend, places, strict=True):
        _draw_chip(draw, chip, x, y, width)
    top = round(legend_bottom)
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            _draw_cell(sheet, draw, cell, _GAP_PX + column * (CELL_PX + _GAP_PX), top)
        top += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")
    return path


def _line_px(size_px: int = _TEXT_PX) -> int:
    return round(height_of(font_of(size_px))) + 4


def _row_height(row: Sequence[Cell]) -> int:
    return max(cell.image.height + len(cell.captions) * _line_px() for cell in row) + 2 * _GAP_PX


def _place_chips(legend: Sequence[Chip], width: int, top: float) -> tuple[list[tuple[float, float]], float]:
    """Where each begins, and where the last line of them ends."""
    font = font_of(_TEXT_PX)
    x: float = _GAP_PX
    y = top + _GAP_PX / 2
    places = []
    for chip in legend:
        needed = _CHIP_PX + 6 + width_of(chip.name, font) + _GAP_PX
        if x > _GAP_PX and x + needed > width:
            x, y = _GAP_PX, y + _line_px() + 2
        places.append((x, y))
        x += needed
    return places, y + (_line_px() + _GAP_PX if legend else _GAP_PX / 2)


def _draw_chip(draw: ImageDraw.ImageDraw, chip: Chip, x: float, y: float, width: int) -> None:
    font = font_of(_TEXT_PX)
    corners = (x, y + 1, x + _CHIP_PX, y + 1 + _CHIP_PX)
    if chip.is_hatched:
        for offset in range(-_CHIP_PX, _CHIP_PX, 4):
            begin, end = max(0, offset), min(_CHIP_PX, _CHIP_PX + offset)
            draw.line((x + begin, y + 1 + begin - offset, x + end, y + 1 + end - offset), fill=chip.color, width=1)
        draw.rectangle(corners, outline=chip.color)
    else:
        draw.rectangle(corners, fill=chip.color)
    left = x + _CHIP_PX + 6
    draw.text((left, y), shorten(chip.name, width - left, font), font=font, fill=_INK)


def _draw_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, left: int, top: int) -> None:
    sheet.paste(cell.image, (left, top))
    font = font_of(_TEXT_PX)
    for number, caption in enumerate(cell.captions):
        place = left, top + cell.image.height + 4 + number * _line_px()
        draw.text(place, shorten(caption, CELL_PX, font), font=font, fill=_FAINT if number else _INK)
