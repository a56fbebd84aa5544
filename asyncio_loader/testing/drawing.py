"""Shapes and textures, the stuff of synthetic pictures. Colours are BGR, coordinates pixels from the top left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["SHAPES", "Shape", "draw_shape", "draw_texture", "place_shapes"]

Image: TypeAlias = npt.NDArray[np.uint8]
Points: TypeAlias = npt.NDArray[np.float64]

SHAPES = ("circle", "square", "triangle")

_CORNERS = {"circle": 36, "square": 4, "triangle": 3}
# cv2 draws between pixels with so many binary digits.
_SUBPIXEL_BITS = 4
_FINENESS = 4
_LEAST_CONTRAST = 60.0
_MOST_OVERLAP = 0.05
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape that lies in a picture.

    Attributes:
        label: its place in `SHAPES`.
        outline: its corners, (N, 2) float64 of x and y; a circle is a polygon of 36.
    """

    label: int
    outline: Points

    @property
    def area(self) -> float:
        """Square pixels inside (the shoelace formula)."""
        x, y = self.outline.T
        return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def place_shapes(rng: np.random.Generator, width: int, height: int, *, classes: int, count: int) -> list[Shape]:
    """Up to `count` shapes, whole inside the picture, whose boxes hardly overlap."""
    shapes: list[Shape] = []
    for _ in range(count):
        for _ in range(_TRIES):
            shape = _choose_shape(rng, width, height, classes)
            if all(_overlap(shape, other) <= _MOST_OVERLAP for other in shapes):
                shapes.append(shape)
                break
    return shapes


def draw_texture(rng: np.random.Generator, width: int, height: int, *, grain: float) -> Image:
    """Soft blotches between dark and bright with noise of standard deviation `grain`; (height, width, 3) uint8."""
    coarse = rng.uniform(40, 215, (rng.integers(2, 6), rng.integers(2, 6), 3)).astype(np.float32)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.standard_normal((height, width, 1)).astype(np.float32)
    return np.clip(soft + grain * noise, 0, 255).astype(np.uint8)


def draw_shape(rng: np.random.Generator, picture: Image, shape: Shape) -> None:
    """Fill it, in place, with a colour that differs from what lies under it."""
    centre_x, centre_y = shape.outline.mean(axis=0).astype(int)
    under = picture[centre_y, centre_x].astype(float)
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - under).mean() < _LEAST_CONTRAST:
        colour = rng.uniform(0, 255, 3)
    cover = _cover(picture, shape)
    picture[:] = np.round(picture + (colour - picture) * cover[:, :, np.newaxis]).astype(np.uint8)


def _cover(picture: Image, shape: Shape) -> npt.NDArray[np.float64]:
    """The share of each pixel that lies inside; (height, width).

    OpenCV fills every pixel that the border touches, antialiased or not: half a pixel too much on every side, which
    would make tight boxes too small. On a finer grid that is an eighth of a pixel.
    """
    height, width = picture.shape[:2]
    fine = np.zeros((height * _FINENESS, width * _FINENESS), np.uint8)
    # OpenCV counts pixel centres as whole numbers, boxes count pixel borders: half a pixel lies between them.
    corners = np.round((shape.outline * _FINENESS - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(fine, [corners], 255, shift=_SUBPIXEL_BITS)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) / 255)


def _choose_shape(rng: np.random.Generator, width: int, height: int, classes: int) -> Shape:
    label = int(rng.integers(classes))
    corners = _CORNERS[SHAPES[label]]
    side = min(width, height)
    radius = float(np.exp(rng.uniform(np.log(side * 0.08), np.log(side * 0.28))))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius
    low = -outline.min(axis=0)
    high = np.array([width, height]) - outline.max(axis=0)
    return Shape(label, outline + rng.uniform(low, high))


def _overlap(first: Shape, second: Shape) -> float:
    """Intersection over union of the two boxes."""
    low = np.maximum(first.outline.min(axis=0), second.outline.min(axis=0))
    high = np.minimum(first.outline.max(axis=0), second.outline.max(axis=0))
    inside = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(np.ptp(shape.outline, axis=0))) for shape in (first, second))
    return inside / (areas - inside)
