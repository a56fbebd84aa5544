"""A picture that shows at a glance whether a detector works: true boxes and predicted ones, side by side in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

__all__ = ["Box", "Picture", "draw_contact_sheet"]

_CELL_PX = 320
_CAPTION_PX = 18
_COLUMNS = 4
_PAPER, _INK = (250, 250, 250), (20, 20, 20)
_TRUE, _PREDICTED = (40, 220, 60), (255, 60, 160)


@dataclass(frozen=True, slots=True)
class Box:
    """A box to draw.

    Attributes:
        xyxy: corners in pixels of the picture's file.
        name: class.
        score: 0 to 1 of a prediction; None for the truth.
    """

    xyxy: tuple[float, float, float, float]
    name: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and what is, and what was found, in it.

    Attributes:
        path: image file.
        boxes: drawn in this order.
    """

    path: Path
    boxes: Sequence[Box]


def draw_contact_sheet(pictures: Sequence[Picture], path: Path) -> Path:
    """Write a PNG with the pictures in a grid of four columns, under a legend.

    Args:
        pictures: at least one; each is scaled to fit its cell.
        path: of the PNG; its directory is made.

    Returns:
        `path`.
    """
    rows = -(-len(pictures) // _COLUMNS)
    columns = min(len(pictures), _COLUMNS)
    sheet = Image.new("RGB", (columns * _CELL_PX, _CAPTION_PX + rows * (_CELL_PX + _CAPTION_PX)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((4, 3), "true", fill=_TRUE)
    draw.text((40, 3), "predicted, with score", fill=_PREDICTED)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, _COLUMNS)
        corner = column * _CELL_PX, _CAPTION_PX + row * (_CELL_PX + _CAPTION_PX)
        draw.text((corner[0] + 4, corner[1] + 3), picture.path.name, fill=_INK)
        sheet.paste(_draw_cell(picture), (corner[0], corner[1] + _CAPTION_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG")
    return path


def _draw_cell(picture: Picture) -> Image.Image:
    with Image.open(picture.path) as file:
        image = file.convert("RGB")
    scale = (_CELL_PX - 4) / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for box in picture.boxes:
        _draw_box(draw, box, scale)
    return image


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, scale: float) -> None:
    x1, y1, x2, y2 = (corner * scale for corner in box.xyxy)
    is_true = box.score is None
    color = _TRUE if is_true else _PREDICTED
    # A degenerate prediction still shows as a dot.
    draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=3 if is_true else 2)
    text = box.name if box.score is None else f"{box.name} {box.score:.2f}"
    # The truth is written at the top, the prediction at the bottom: they don't cover each other.
    place = (x1 + 3, max(0.0, y1 - 13)) if is_true else (x1 + 3, min(y2 + 1, _CELL_PX - 14))
    left, top, right, bottom = draw.textbbox(place, text)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=color)
    draw.text(place, text, fill=_INK)
