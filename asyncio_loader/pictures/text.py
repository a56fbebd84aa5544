"""Text in pictures, with any Pillow: FreeType or not."""

from __future__ import annotations

from typing import TypeAlias

from PIL import ImageFont

__all__ = ["Font", "font_of", "height_of", "shorten", "width_of"]

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_GAP = "…"


def font_of(size_px: int) -> Font:
    """Pillow's own font."""
    try:
        return ImageFont.load_default(size_px)
    except (ImportError, TypeError):
        # Without FreeType, or before Pillow 10.1 (pillow-simd): one small size.
        return ImageFont.load_default()


def width_of(text: str, font: Font) -> float:
    """In pixels."""
    left, _, right, _ = font.getbbox(text)
    return right - left


def height_of(font: Font) -> float:
    """Of a line with letters of all kinds, in pixels, from the very top."""
    return font.getbbox("Ågp|")[3]


def shorten(text: str, width_px: float, font: Font) -> str:
    """As much of the text as fits; what is left out is from the middle, because names differ at their ends.

    Characters that the font may not have are written as escapes.
    """
    text = text.encode("ascii", "backslashreplace").decode() if not _is_latin(text) else text
    if width_of(text, font) <= width_px:
        return text
    gap = _GAP if isinstance(font, ImageFont.FreeTypeFont) else "..."
    for kept in range(len(text) - 1, 0, -1):
        head = kept // 2
        short = f"{text[:head]}{gap}{text[len(text) - (kept - head) :]}"
        if width_of(short, font) <= width_px:
            return short
    return ""


def _is_latin(text: str) -> bool:
    """Whether every font of ours has it; the small one knows no more than Latin-1."""
    return all(character.isprintable() and (ord(character) < 256 or character in "…→") for character in text)
