"""A picture that shows at a glance whether a detector works: true boxes and predicted ones, side by side in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from asyncio_loader.pictures.marks import Marker
from asyncio_loader.pictures.sheet import Cell, Chip, fit_scale, write_sheet

__all__ = ["Box", "Picture", "draw_contact_sheet"]

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
    legend = [Chip("true", _TRUE), Chip("predicted, with score", _PREDICTED)]
    return write_sheet("What is there, and what was found", legend, [_draw_cell(picture) for picture in pictures], path)


def _draw_cell(picture: Picture) -> Cell:
    with Image.open(picture.path) as file:
        image = file.convert("RGB")
    scale = fit_scale(*image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    marker = Marker(image)
    placed = []
    for box in picture.boxes:
        x1, y1, x2, y2 = (corner * scale for corner in box.xyxy)
        color = _TRUE if box.score is None else _PREDICTED
        marker.outline((x1, y1, x2, y2), color, width_px=3 if box.score is None else 2)
        placed.append(((x1, y1, x2, y2), box.name if box.score is None else f"{box.name} {box.score:.2f}", color))
    for corners, text, color in placed:
        marker.name(corners, text, color)
    return Cell(image, [picture.path.name])
