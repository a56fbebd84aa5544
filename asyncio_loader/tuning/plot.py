"""Rate and 99th percentile of the latency over concurrency, as a PNG. Needs nothing but Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw

from asyncio_loader.pictures.text import font_of
from asyncio_loader.tuning.advice import knee_of
from asyncio_loader.tuning.measurement import Measurement

__all__ = ["draw_plot", "ticks_up_to"]

Point: TypeAlias = tuple[float, float]
Color: TypeAlias = tuple[int, int, int]

_WIDTH_PX, _HEIGHT_PX = 900, 660
_LEFT_PX, _RIGHT_PX = 90, 870
_TEXT_PX, _SMALL_PX = 16, 14
# Lines are drawn larger and shrunk, which smooths them; letters are smooth already.
_FINENESS = 3
_PAPER, _INK, _GRID, _KNEE = (255, 255, 255), (40, 40, 40), (225, 225, 225), (120, 120, 120)
_RATE, _LATENCY = (25, 95, 170), (205, 80, 30)
_DOT_PX, _LINE_PX = 5, 2.5
_DASH_PX = 6
_TICKS = 5
# Labels of the axis below need so much room each.
_LABEL_PX = 44


@dataclass(frozen=True, slots=True)
class _Panel:
    """A part of the picture with an axis of values.

    Attributes:
        title: what the values are, with their unit.
        top: where it begins, in pixels.
        bottom: where it ends: value 0.
        values: by concurrency, in its order.
        color: of the curve.
    """

    title: str
    top: float
    bottom: float
    values: Sequence[float]
    color: Color

    @property
    def ticks(self) -> list[float]:
        return ticks_up_to(max(self.values))

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * value / self.ticks[-1]


def draw_plot(measurements: Sequence[Measurement], title: str, subtitle: str, path: Path) -> Path:
    """Write the plot.

    Args:
        measurements: at least one, in the order of concurrency.
        title: where it was measured; cut where the picture ends.
        subtitle: what was measured, likewise.
        path: of the PNG; its directory exists.

    Returns:
        `path`.
    """
    panels = (
        _Panel("images per second", 100, 330, [each.rate for each in measurements], _RATE),
        _Panel("p99 of a GET, ms", 400, 600, [each.latency_p99_s * 1000 for each in measurements], _LATENCY),
    )
    concurrency = [each.concurrency for each in measurements]
    places = _places(concurrency)
    knee = knee_of(measurements)
    knee_x = places[concurrency.index(knee.concurrency)] if knee is not None else None
    picture = _draw_shapes(panels, places, knee_x)
    draw = ImageDraw.Draw(picture)
    draw.text((_LEFT_PX, 10), title, font=font_of(_TEXT_PX), fill=_INK)
    draw.text((_LEFT_PX, 32), subtitle, font=font_of(_SMALL_PX), fill=_KNEE)
    _write_labels(draw, panels, concurrency, places)
    if knee is not None and knee_x is not None:
        is_right = knee_x > _RIGHT_PX - 90
        place, anchor = (knee_x - 8 if is_right else knee_x + 8), "rb" if is_right else "lb"
        text = f"knee: {knee.concurrency}"
        _write(draw, (place, panels[0].bottom - 6), text, anchor=anchor, color=_KNEE)
    picture.save(path, format="PNG")
    return path


def ticks_up_to(value: float) -> list[float]:
    """Round numbers from 0 to the first one that is not below `value`, some five of them."""
    if not value > 0:
        return [0.0, 1.0]
    magnitude = 10 ** math.floor(math.log10(value / _TICKS))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude * _TICKS >= value)
    return [step * number for number in range(math.ceil(round(value / step, 9)) + 1)]


def _places(concurrency: Sequence[int]) -> list[float]:
    """Where each stands on the axis below, which is logarithmic."""
    logs = [math.log2(each) for each in concurrency]
    low, high = logs[0], logs[-1]
    inner_left, inner_right = _LEFT_PX + 30, _RIGHT_PX - 30
    if low == high:
        return [(inner_left + inner_right) / 2]
    return [inner_left + (inner_right - inner_left) * (log - low) / (high - low) for log in logs]


def _draw_shapes(panels: Sequence[_Panel], places: Sequence[float], knee_x: float | None) -> Image.Image:
    large = Image.new("RGB", (_WIDTH_PX * _FINENESS, _HEIGHT_PX * _FINENESS), _PAPER)
    draw = ImageDraw.Draw(large)
    for panel in panels:
        for tick in panel.ticks:
            _line(draw, [(_LEFT_PX, panel.y(tick)), (_RIGHT_PX, panel.y(tick))], _GRID, 1)
        _line(draw, [(_LEFT_PX, panel.top), (_LEFT_PX, panel.bottom), (_RIGHT_PX, panel.bottom)], _INK, 1)
        for x in places:
            _line(draw, [(x, panel.bottom), (x, panel.bottom + 5)], _INK, 1)
        if knee_x is not None:
            for start in range(int(panel.top), int(panel.bottom), 2 * _DASH_PX):
                _line(draw, [(knee_x, start), (knee_x, min(start + _DASH_PX, panel.bottom))], _KNEE, 1)
        points = [(x, panel.y(value)) for x, value in zip(places, panel.values, strict=True)]
        _line(draw, points, panel.color, _LINE_PX)
        for x, y in points:
            corners = [(edge * _FINENESS) for edge in (x - _DOT_PX, y - _DOT_PX, x + _DOT_PX, y + _DOT_PX)]
            draw.ellipse(corners, fill=panel.color)
    return large.resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.LANCZOS)


def _line(draw: ImageDraw.ImageDraw, points: Sequence[Point], color: Color, width_px: float) -> None:
    if len(points) > 1:
        scaled = [(x * _FINENESS, y * _FINENESS) for x, y in points]
        draw.line(scaled, fill=color, width=round(width_px * _FINENESS), joint="curve")


def _write_labels(
    draw: ImageDraw.ImageDraw, panels: Sequence[_Panel], concurrency: Sequence[int], places: Sequence[float]
) -> None:
    for panel in panels:
        _write(draw, (_LEFT_PX, panel.top - 14), panel.title, anchor="lb", color=panel.color, size_px=_TEXT_PX)
        for tick in panel.ticks:
            _write(draw, (_LEFT_PX - 8, panel.y(tick)), f"{tick:,g}", anchor="rm")
        last = -math.inf
        for each, x in zip(concurrency, places, strict=True):
            if x - last >= _LABEL_PX:
                _write(draw, (x, panel.bottom + 8), str(each), anchor="mt")
                last = x
    _write(draw, ((_LEFT_PX + _RIGHT_PX) / 2, panels[-1].bottom + 32), "GETs in flight per process", anchor="mt")


def _write(
    draw: ImageDraw.ImageDraw, place: Point, text: str, *, anchor: str, color: Color = _INK, size_px: int = _SMALL_PX
) -> None:
    """Text at a place. Anchors are two letters as Pillow's, which its built-in bitmap font cannot do."""
    font = font_of(size_px)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    across = {"l": left, "m": (left + right) / 2, "r": right}[anchor[0]]
    down = {"t": top, "m": (top + bottom) / 2, "b": bottom}[anchor[1]]
    draw.text((place[0] - across, place[1] - down), text, font=font, fill=color)
