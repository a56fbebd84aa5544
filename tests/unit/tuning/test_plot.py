from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFont

from asyncio_loader.tuning import plot
from asyncio_loader.tuning.plot import draw_plot, ticks_up_to
from tests.unit.tuning.conftest import Measured


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (7.3, [0, 2, 4, 6, 8]),
        (1000, [0, 200, 400, 600, 800, 1000]),
        (1001, [0, 250, 500, 750, 1000, 1250]),
        (2600, [0, 1000, 2000, 3000]),
        (9999, [0, 2000, 4000, 6000, 8000, 10000]),
    ],
)
def test_ticks_are_round_and_reach_the_value(value: float, expected: list[float]) -> None:
    assert ticks_up_to(value) == pytest.approx(expected)


def colors(path: Path) -> set[tuple[int, int, int]]:
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (900, 660))
        counted = picture.convert("RGB").getcolors(1 << 20)
    assert counted is not None
    return {color for count, color in counted if count > 50}  # type: ignore[misc]


def test_both_curves_are_there(tmp_path: Path, measured: Measured) -> None:
    measurements = [measured(16, 400), measured(64, 970), measured(256, 1000, latency_p99_s=0.3)]
    path = draw_plot(measurements, "s3://bucket/ü", "2 objects", tmp_path / "plot.png")

    assert {plot._RATE, plot._LATENCY, plot._PAPER} <= colors(path)


@pytest.mark.parametrize("samples", [0, 400])
def test_one_setting_or_no_rate_is_drawn_too(tmp_path: Path, measured: Measured, samples: int) -> None:
    path = draw_plot([measured(16, samples, latency_p99_s=0.0)], "x" * 1000, "", tmp_path / "plot.png")

    assert {plot._RATE, plot._LATENCY} <= colors(path)


def test_a_pillow_of_one_small_font_will_do(
    tmp_path: Path, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFont, "load_default", ImageFont.load_default_imagefont)
    path = draw_plot([measured(16, 400), measured(64, 970)], "s3://bucket/", "2 objects", tmp_path / "plot.png")

    assert plot._RATE in colors(path)
