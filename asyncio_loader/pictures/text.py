"""Text in pictures, with any Pillow: FreeType or not."""

from __future__ import annotations

from typing import TypeAlias

from PIL import ImageFont

__all__ = ["Font", "font_of", "height_of", "shorten", "width_of", "wrap"]

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_GAP = "..."


def font_of(size_px: int) -> Font:
    """Pillow's own font."""
    try:
        return ImageFont.load_default(size_px)
    except (ImportError, TypeError):
        # Without FreeType, or before Pillow 10.1 (pillow-simd): one small size.
        return ImageFont.load_default()


def width_of(text: str, font: Font) -> float:
    """In pixels, as `shorten` writes it."""
    return _measure(_escape(text), font)


def wrap(text: str, width_px: float, font: Font) -> list[str]:
    """The text in lines that fit; a word that does not fit is shortened."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(f"{lines[-1]} {word}", font) <= width_px:
            lines[-1] = f"{lines[-1]} {shorten(word, width_px, font)}"
        else:
            lines.append(shorten(word, width_px, font))
    return lines


def _measure(text: str, font: Font) -> float:
    left, _, right, _ = font.getbbox(text)
    return right - left


def height_of(font: Font) -> float:
    """Of a line with letters of all kinds, in pixels, from the very top."""
    return font.getbbox("Ågp|")[3]


def shorten(text: str, width_px: float, font: Font) -> str:
    """As much of the text as fits; what is left out is from the middle, because names differ at their ends.

    Of Pillow's font are sure the letters of ASCII; others are written as escapes.
    """
    text = _escape(text)
    if _measure(text, font) <= width_px:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head = kept // 2
        short = f"{text[:head]}{_GAP}{text[len(text) - (kept - head) :]}"
        if _measure(short, font) <= width_px:
            return short
    return ""


def _escape(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode() for c in text)
