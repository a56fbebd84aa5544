from __future__ import annotations

import pytest
from PIL import ImageFont

from asyncio_loader.pictures import text
from asyncio_loader.pictures.text import font_of, shorten, width_of, wrap


@pytest.fixture(params=["freetype", "bitmap"])
def font(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> text.Font:
    """Pillow's own, and the one of a Pillow without FreeType."""
    if request.param == "bitmap":
        monkeypatch.setattr(ImageFont, "load_default", ImageFont.load_default_imagefont)
    return font_of(14)


def test_what_fits_stays(font: text.Font) -> None:
    assert shorten("000000000003.jpg", 400, font) == "000000000003.jpg"


def test_what_does_not_fit_keeps_its_ends(font: text.Font) -> None:
    short = shorten("a/very/long/way/to/" * 20 + "the-image.jpg", 300, font)

    assert short.startswith("a/very/")
    assert short.endswith("the-image.jpg")
    assert "..." in short
    assert width_of(short, font) <= 300


def test_what_can_never_fit_is_nothing(font: text.Font) -> None:
    assert shorten("word", 1, font) == ""


def test_letters_that_the_font_may_lack_are_escapes(font: text.Font) -> None:
    assert shorten("é 三\n.jpg", 400, font) == r"\xe9 \u4e09\n.jpg"
    assert width_of("三", font) == width_of(r"\u4e09", font)


def test_lines_are_no_longer_than_that(font: text.Font) -> None:
    lines = wrap("one two three four five six seven eight nine ten", 120, font)

    assert len(lines) > 1
    assert " ".join(lines) == "one two three four five six seven eight nine ten"
    assert max(width_of(line, font) for line in lines) <= 120


def test_a_word_that_is_too_long_is_shortened(font: text.Font) -> None:
    first, last = wrap("x" * 200 + " end", 120, font)

    assert "..." in first
    assert last == "end"
