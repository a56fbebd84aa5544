"""Boxes and their names on a picture. Names cover neither each other nor more of the picture than they need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from PIL import Image, ImageDraw

from asyncio_loader.pictures.sheet import Color
from asyncio_loader.pictures.text import font_of, height_of, shorten, width_of

__all__ = ["PALETTE", "Corners", "Marker", "color_of"]

Corners: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture."""

PALETTE: tuple[Color, ...] = (
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (230, 159, 0),
    (140, 86, 220),
    (130, 210, 60),
    (0, 200, 200),
)
"""Of classes, one after the other. The first seven are Okabe and Ito's, which all kinds of colour vision tell apart."""

_TEXT_PX = 12
_MOST_TEXT_PX = 140
_MARGIN_PX = 2
_SHADE = (15, 15, 15)


def color_of(label: int) -> Color:
    """Of a class; after ten classes the colours come again."""
    return PALETTE[label % len(PALETTE)]


class Marker:
    """Draws on one picture: all boxes first, and then their names, which thus stay readable.

    Args:
        image: drawn upon.
    """

    def __init__(self, image: Image.Image) -> None:
        self._width, self._height = image.size
        self._draw = ImageDraw.Draw(image)
        self._taken: list[Corners] = []
        self._font = font_of(_TEXT_PX)

    def outline(self, corners: Corners, color: Color, *, width_px: int = 2) -> None:
        """A box, with a dark edge around it that shows on any picture. One without an area is a dot."""
        x1, y1, x2, y2 = corners
        x2, y2 = max(x1, x2), max(y1, y2)
        self._draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_SHADE, width=1)
        self._draw.rectangle((x1, y1, x2, y2), outline=color, width=width_px)

    def name(self, corners: Corners, text: str, color: Color) -> bool:
        """A name at its box, above if there is room, else below, inside or beside; False: there is none at all.

        A very long one is shortened.
        """
        text = shorten(text, _MOST_TEXT_PX, self._font)
        width = width_of(text, self._font) + 2 * _MARGIN_PX
        height = height_of(self._font) + _MARGIN_PX
        for x, y in _places(corners, width, height):
            place = (x, y, x + width, y + height)
            if self._is_free(place):
                self._taken.append(place)
                self._draw.rectangle(place, fill=color)
                ink = _SHADE if _is_light(color) else (255, 255, 255)
                self._draw.text((x + _MARGIN_PX, y), text, font=self._font, fill=ink)
                return True
        return False

    def _is_free(self, place: Corners) -> bool:
        x1, y1, x2, y2 = place
        if x1 < 0 or y1 < 0 or x2 > self._width or y2 > self._height:
            return False
        return all(x2 <= a1 or a2 <= x1 or y2 <= b1 or b2 <= y1 for a1, b1, a2, b2 in self._taken)


def _places(corners: Corners, width: float, height: float) -> Iterator[tuple[float, float]]:
    x1, y1, x2, y2 = corners
    yield from ((x1, y1 - height - 1), (x1, y2 + 1), (x2 - width, y1 - height - 1), (x2 - width, y2 + 1))
    yield from ((x1, y1 + 2), (x1, y2 - height - 2), (x2 + 1, y1), (x1 - width - 1, y1))


def _is_light(color: Color) -> bool:
    """By the luma of ITU-R BT.601."""
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 120
