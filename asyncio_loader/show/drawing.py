"""Samples as pictures of a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from asyncio_loader.pictures.marks import Corners, Marker, color_of
from asyncio_loader.pictures.sheet import Cell, Chip, Color, fit_scale
from asyncio_loader.show.sample import ShownSample

__all__ = ["draw_sample", "legend_of"]

_PADDING: Color = (255, 0, 200)
_IGNORED: Color = (150, 150, 150)
_STRIPE_PX = 10
_STRIPE_SHARE = 0.35
_MASK_SHARE = 0.45
_MOST_CHIPS = 40


def draw_sample(sample: ShownSample) -> Cell:
    """The image at the size of a cell with its boxes, masks, ignored regions and padding, and captions."""
    height, width = sample.pixels.shape[:2]
    scale = fit_scale(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = np.asarray(Image.fromarray(sample.pixels).resize(size, _filter(scale))).copy()
    _tint_masks(picture, sample)
    _stripe_padding(picture, sample, scale)
    ignored = [_scaled(corners, scale) for corners in sample.ignored]
    for corners in ignored:
        _stripe(picture, _inside(corners, picture), _IGNORED)
    image = Image.fromarray(picture)
    _mark(image, sample, ignored, scale)
    return Cell(image, [sample.key, sample.notes])


def legend_of(samples: Sequence[ShownSample]) -> list[Chip]:
    """The classes that are to be seen, by their label, and what else is drawn."""
    seen = {label: name for sample in samples for label, name in zip(sample.labels, sample.names, strict=True)}
    chips = [Chip(seen[label], color_of(label)) for label in sorted(seen)[:_MOST_CHIPS]]
    if len(seen) > _MOST_CHIPS:
        chips.append(Chip(f"and {len(seen) - _MOST_CHIPS} classes more", _IGNORED))
    if any(len(sample.ignored) for sample in samples):
        chips.append(Chip("ignored", _IGNORED, is_hatched=True))
    if any(sample.content != sample.pixels.shape[:2] for sample in samples):
        chips.append(Chip("padding", _PADDING, is_hatched=True))
    return chips


def _mark(image: Image.Image, sample: ShownSample, ignored: Sequence[Corners], scale: float) -> None:
    marker = Marker(image)
    for corners in ignored:
        marker.outline(corners, _IGNORED, width_px=1)
    boxes = [] if sample.boxes is None else [_scaled(corners, scale) for corners in sample.boxes]
    for corners, label in zip(boxes, sample.labels, strict=True):
        marker.outline(corners, color_of(label))
    for corners, label, name in zip(boxes, sample.labels, sample.names, strict=True):
        marker.name(corners, name, color_of(label))
    for corners in ignored:
        marker.name(corners, "ignored", _IGNORED)


def _tint_masks(picture: npt.NDArray[np.uint8], sample: ShownSample) -> None:
    height, width = picture.shape[:2]
    labels = sample.labels
    for number, mask in enumerate(sample.masks if sample.masks is not None else ()):
        color = color_of(labels[number] if number < len(labels) else number)
        large = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
        inside = large > 0
        _blend(picture, inside, color, _MASK_SHARE)
        picture[inside & ~_core(inside)] = color


def _core(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What is left without the pixels at the edge."""
    framed = np.pad(inside, 1)
    return framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]


def _stripe_padding(picture: npt.NDArray[np.uint8], sample: ShownSample, scale: float) -> None:
    if sample.content == sample.pixels.shape[:2]:
        return
    outside = np.ones(picture.shape[:2], bool)
    outside[: round(sample.content[0] * scale), : round(sample.content[1] * scale)] = False
    _stripe(picture, outside, _PADDING)


def _stripe(picture: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], color: Color) -> None:
    """Diagonal stripes, through which the picture shows."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    _blend(picture, where & ((rows + columns) % _STRIPE_PX < _STRIPE_PX // 2), color, _STRIPE_SHARE)


def _blend(picture: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], color: Color, share: float) -> None:
    picture[where] = np.rint(picture[where] * (1 - share) + np.asarray(color) * share).astype(np.uint8)


def _inside(corners: Corners, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    inside = np.zeros(picture.shape[:2], bool)
    x1, y1, x2, y2 = (max(0, round(value)) for value in corners)
    inside[y1:y2, x1:x2] = True
    return inside


def _scaled(corners: npt.NDArray[np.float32], scale: float) -> Corners:
    x1, y1, x2, y2 = (float(value) * scale for value in corners)
    return x1, y1, x2, y2


def _filter(scale: float) -> Image.Resampling:
    return Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
