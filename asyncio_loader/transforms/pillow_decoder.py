"""What Pillow, or pillow-simd in its place, makes of the bytes of an image file: OpenCV's pixels as far as it can."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from asyncio_loader.records import Buffer
from asyncio_loader.transforms.orientation import read_exif_orientation, read_jpeg_orientation

__all__ = ["decode_by_pillow"]

_Pixels: TypeAlias = npt.NDArray[Any]

# Rasters whose bytes are all there is. Left out is what Pillow gives to another program (EPS to Ghostscript), what is
# text, what tells of an image without having one, and DDS: of one that was cut Pillow before 13 makes wrong pixels.
_FORMATS = (
    *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "MPO", "PPM"),
    *("DIB", "ICO", "ICNS", "PCX", "PSD", "QOI", "SGI", "SUN", "TGA"),
)
# OpenCV turns these, and no others, as their EXIF has it. (TIFF is turned by libtiff, in Pillow as in OpenCV.)
_TURNED = ("PNG", "WEBP")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's readers are Python: on damaged files they raise whatever a wrong number leads to. A warning is among them
# where the interpreter makes errors of warnings; a MemoryError where a damaged header asks for terabytes.
_REFUSALS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError),
    *(struct.error, Image.DecompressionBombError, Warning),
)
_MAX_16_BITS = 0xFFFF


def decode_by_pillow(data: Buffer, color_type: str, channel_order: str) -> _Pixels | None:
    """The pixels as `decode_image` promises them, or None where Pillow cannot read them or they would be wrong.

    A PNG must have all its chunks, with the right checksums, as OpenCV demands it; Pillow does not look by itself.
    Of files with several images, the first.
    """
    try:
        image = _load(data, color_type)
    except _REFUSALS:
        return None
    with image:
        if color_type in ("color", "grayscale"):
            image = _turn(image, data)
        if color_type == "unchanged":
            return _unchanged_pixels(image)
        if color_type.startswith("grayscale"):
            return _gray_pixels(image)
        return _color_pixels(image, channel_order)


@cache
def _known_formats() -> tuple[str, ...]:
    """Those that this Pillow was built with; it learns its own formats at the first call, which costs 50 ms."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _load(data: Buffer, color_type: str) -> Image.Image:
    image = _open(data)
    if image.format == "PNG":
        image.verify()
        image = _open(data)
    if image.format == "JPEG" and color_type.startswith("grayscale"):
        image.draft("L", None)  # libjpeg's own gray: nothing is rounded twice
    image.load()
    return image


def _open(data: Buffer) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=_known_formats())


def _turn(image: Image.Image, data: Buffer) -> Image.Image:
    """Upright. `ImageOps.exif_transpose` would warn of EXIF that is broken, and believe some that is."""
    orientation = 1
    if image.format in ("JPEG", "MPO"):
        orientation = read_jpeg_orientation(data)
    elif image.format in _TURNED:
        orientation = read_exif_orientation(image.info.get("exif", b""))
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _color_pixels(image: Image.Image, channel_order: str) -> _Pixels | None:
    narrow = _narrow(image)
    if narrow is None:
        return None
    rgb = _as_rgb(narrow)
    return np.array(rgb) if channel_order == "rgb" else cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR)


def _gray_pixels(image: Image.Image) -> _Pixels | None:
    narrow = _narrow(image)
    return None if narrow is None else np.array(_with_plain_palette(narrow).convert("L"))


def _narrow(image: Image.Image) -> Image.Image | None:
    """In eight bits: the upper ones of 16, as OpenCV has it. None where nobody can say which: of 32 bits, of floats.

    Pillow itself clips.
    """
    if image.mode == "F":
        return None
    if not image.mode.startswith("I"):
        return image
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > _MAX_16_BITS:
        return None
    return Image.fromarray((pixels >> 8).astype(np.uint8))


def _as_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else _with_plain_palette(image).convert("RGB")


def _with_plain_palette(image: Image.Image) -> Image.Image:
    """Colors instead of a palette with alpha, where Pillow warns that this gets lost. They are the same colors."""
    return image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image


def _unchanged_pixels(image: Image.Image) -> _Pixels:
    if image.mode == "F":
        return np.array(image)
    if image.mode.startswith("I"):
        pixels = np.array(image)
        return pixels if pixels.min() < 0 or pixels.max() > _MAX_16_BITS else pixels.astype(np.uint16)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return cv2.cvtColor(np.asarray(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA)
    return cv2.cvtColor(np.asarray(_as_rgb(image)), cv2.COLOR_RGB2BGR)
