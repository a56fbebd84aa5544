"""The bytes of an image file → an array. The pixels are those of `cv2.imdecode`, which mmcv 1.x uses."""

from __future__ import annotations

import io
import struct
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageOps

from asyncio_loader.errors import ConfigError, DecodeError
from asyncio_loader.records import Buffer

__all__ = ["Pixels", "check_decoding", "decode_image", "read_jpeg_orientation"]

Pixels: TypeAlias = npt.NDArray[Any]
"""Rows first: (height, width) or (height, width, channels)."""

_FLAGS = {
    "color": cv2.IMREAD_COLOR,
    "grayscale": cv2.IMREAD_GRAYSCALE,
    "unchanged": cv2.IMREAD_UNCHANGED,
    "color_ignore_orientation": cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
    "grayscale_ignore_orientation": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION,
}
_BACKENDS = (None, "simplejpeg", "cv2", "pillow")
_ORDERS = ("bgr", "rgb")
_JPEG = b"\xff\xd8\xff"
_SIGNATURES = {_JPEG: "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"RIFF": "WebP", b"BM": "BMP"}


def check_decoding(color_type: str, channel_order: str, backend: str | None) -> None:
    """Raise a `ConfigError` unless `decode_image` knows all three."""
    choices = (
        ("color_type", color_type, tuple(_FLAGS)),
        ("channel_order", channel_order, _ORDERS),
        ("imdecode_backend", backend, _BACKENDS),
    )
    for name, value, known in choices:
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(map(repr, known))}, not {value!r:.80}")


def decode_image(
    data: Buffer,
    *,
    key: str | None = None,
    color_type: str = "color",
    channel_order: str = "bgr",
    backend: str | None = None,
) -> Pixels:
    """Decode an image file. The content counts, not the name of the file.

    Args:
        data: the whole file.
        key: name of the object, for messages.
        color_type: ``color`` gives (h, w, 3) uint8, turned upright by EXIF, alpha dropped, 16 bits scaled to 8;
            ``grayscale`` (h, w) uint8; ``unchanged`` what the file holds, without turning; ``…_ignore_orientation``
            without turning.
        channel_order: order of the channels of a color image; ``unchanged`` is always BGR or BGRA.
        backend: None or ``simplejpeg``: libjpeg-turbo for color JPEGs that need no turning, the quickest, and OpenCV
            for all else. ``cv2``: OpenCV. ``pillow``: Pillow, whose pixels are the same but for CMYK (±1).

    Raises:
        DecodeError: no image, or a broken one; names the key and what is wrong.

    Releases the GIL while it decodes, and may be called from many threads.
    """
    if len(data) == 0:
        raise DecodeError(f"{key or 'image'}: cannot decode: the object is empty (0 bytes)", key=key)
    pixels: Pixels | None = None
    if backend == "pillow":
        pixels = _decode_by_pillow(data, color_type, channel_order)
    else:
        if backend != "cv2":
            pixels = _decode_by_simplejpeg(data, color_type, channel_order)
        if pixels is None:
            pixels = _decode_by_cv2(data, color_type, channel_order)
    if pixels is None:
        raise DecodeError(f"{key or 'image'}: cannot decode: {_complain(data)}", key=key)
    return pixels


def _decode_by_simplejpeg(data: Buffer, color_type: str, channel_order: str) -> Pixels | None:
    if data[:3] != _JPEG or color_type not in ("color", "color_ignore_orientation"):
        return None
    if color_type == "color" and read_jpeg_orientation(data) != 1:
        return None
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, channel_order.upper())
    except ValueError:  # odd or broken: OpenCV forgives more
        return None
    return pixels


def _decode_by_cv2(data: Buffer, color_type: str, channel_order: str) -> Pixels | None:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _FLAGS[color_type])
    except cv2.error:
        return None
    if pixels is not None and channel_order == "rgb" and color_type.startswith("color"):
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, pixels)
    return pixels


def _decode_by_pillow(data: Buffer, color_type: str, channel_order: str) -> Pixels | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _pillow_pixels(image, color_type, channel_order)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _pillow_pixels(image: Image.Image, color_type: str, channel_order: str) -> Pixels:
    upright = ImageOps.exif_transpose(image) if color_type in ("color", "grayscale") else image
    if color_type == "unchanged":
        return _unchanged_pixels(upright)
    if upright.mode.startswith("I"):
        # Pillow clips 16 bits to 8; OpenCV takes the upper eight.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if color_type.startswith("grayscale"):
        return np.array(upright.convert("L"))
    rgb = np.array(upright.convert("RGB"))
    return rgb if channel_order == "rgb" else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def _unchanged_pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        return np.array(image).astype(np.uint16)
    if image.mode in ("L", "1"):
        return np.array(image.convert("L"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return cv2.cvtColor(np.array(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA)
    return cv2.cvtColor(np.array(image.convert("RGB")), cv2.COLOR_RGB2BGR)


def _complain(data: Buffer) -> str:
    start = bytes(data[:16])
    kind = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None:
        return f"not an image, its {len(data)} bytes start with {start!r}"
    if kind == "JPEG" and bytes(data[-2:]) != b"\xff\xd9":
        return f"a JPEG that ends too early, after {len(data)} bytes"
    return f"a broken {kind} of {len(data)} bytes"


def read_jpeg_orientation(data: Buffer) -> int:
    """EXIF orientation of a JPEG, 1 (upright) to 8; 1 where it states none; 0 where its header is not understood.

    Walks from marker to marker up to the first scan, a dozen of them. Exif 2.3 §4.5.4, §4.6.
    """
    view = memoryview(data)
    at = 2
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker == 0xDA:  # start of scan: what OpenCV reads ends here as well
            return 1
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(view[at + 2 : at + 4], "big")
        if marker == 0xE1 and bytes(view[at + 4 : at + 10]) == b"Exif\0\0":
            return _read_tiff_orientation(bytes(view[at + 10 : end]))
        at = end
    return 0


def _read_tiff_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        magic, start = struct.unpack_from(f"{order}HI", tiff, 2)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == 0x0112:
                return int(value) if magic == 42 and kind == 3 and 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return 1 if magic == 42 else 0
