"""The bytes of an image file → an array. The pixels are those of `cv2.imdecode`, which mmcv 1.x uses.

Three decoders stand in a chain, the quickest first; what one refuses, the next may read:

* libjpeg-turbo, through simplejpeg: JPEGs in color. It refuses whatever is odd about a file, even where it could go on.
* OpenCV: whatever mmcv reads, with its pixels. Of a JPEG that ends before its time it gives nothing, of one that is
  damaged within and ends with an end mark the same pixels as mmcv.
* Pillow: what OpenCV has no reader for (ICO, TGA, PCX, QOI, SGI, TIFFs with LZMA or zstd …).

Damage is not passed on as an image where the format lets one see it: a file that was cut so that pixels are missing is
refused by all, a PNG has the right checksums whoever reads it, and a GIF or AVIF that OpenCV finds damaged is not given
to Pillow, which would make wrong pixels of it. `tests/unit/transforms/test_odd_images.py` has the table of a hundred
odd files: what each decoder does with each, and what the chain does.

Which one is first is a matter of throughput on all cores: ``python -m bench decoders``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from asyncio_loader.errors import ConfigError, DecodeError
from asyncio_loader.records import Buffer
from asyncio_loader.transforms.arrays import new_image
from asyncio_loader.transforms.orientation import read_jpeg_orientation
from asyncio_loader.transforms.pillow_decoder import decode_by_pillow

__all__ = ["Pixels", "check_decoding", "decode_image"]

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
_SIGNATURES = {
    _JPEG: "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def check_decoding(color_type: str, channel_order: str, backend: str | None) -> None:
    """Raise a `ConfigError` unless `decode_image` knows all three."""
    if backend == "nvjpeg":
        raise ConfigError(
            "imdecode_backend='nvjpeg' would decode on the GPU, and the transforms behind it work on the host: leave "
            "it out; for a pipeline on the GPU there is asyncio_loader.datasets.nvjpeg"
        )
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
        backend: where the chain (see above) starts. None or ``simplejpeg``: with libjpeg-turbo, for color JPEGs that
            need no turning, the quickest. ``cv2``: with OpenCV. ``pillow``: Pillow alone, whose pixels are the same but
            for CMYK and gray that was color (±2), PNMs with a maximum other than 255, and what it gives for
            ``unchanged``: 8 bits of 16 in color, CMYK as color, the first image of a GIF without its alpha.

    Raises:
        DecodeError: no image, or a broken one; names the key and what is wrong.

    Releases the GIL while it decodes, and may be called from many threads.
    """
    if len(data) == 0:
        raise DecodeError(f"{key or 'image'}: cannot decode: the object is empty (0 bytes)", key=key)
    for decode in _CHAINS[backend]:
        pixels = decode(data, color_type, channel_order)
        if pixels is not None:
            return pixels
    raise DecodeError(f"{key or 'image'}: cannot decode: {_complain(data)}", key=key)


def _decode_by_simplejpeg(data: Buffer, color_type: str, channel_order: str) -> Pixels | None:
    if data[:3] != _JPEG or color_type not in ("color", "color_ignore_orientation"):
        return None
    if color_type == "color" and read_jpeg_orientation(data) != 1:
        return None
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        room = new_image((height, width, 3), np.uint8)
        pixels: Pixels = simplejpeg.decode_jpeg(data, channel_order.upper(), buffer=room)
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


def _decode_the_rest(data: Buffer, color_type: str, channel_order: str) -> Pixels | None:
    """By Pillow, unless it would read what OpenCV has found to be damaged."""
    return None if _is_for_opencv_alone(data) else decode_by_pillow(data, color_type, channel_order)


def _is_for_opencv_alone(data: Buffer) -> bool:
    """Formats without checksums of which OpenCV reads every sound file, and Pillow many a damaged one as well.

    Of 200 files with a few wrong bits OpenCV 5.0 refused 187 (AVIF) and 57 (GIF); Pillow 13.0 gave 99 and 24 of those
    wrong pixels (2026-11-26).
    """
    start = bytes(data[:12])
    if start.startswith(b"GIF8"):
        return _has_codec(".gif")
    return start[4:] in (b"ftypavif", b"ftypavis") and _has_codec(".avif")


@cache
def _has_codec(suffix: str) -> bool:
    # A codec comes with reader and writer; only the writer can be asked for without a file at hand.
    return bool(cv2.haveImageWriter(f"image{suffix}"))


_Decode: TypeAlias = Callable[[Buffer, str, str], Pixels | None]

_FROM_OPENCV: tuple[_Decode, ...] = (_decode_by_cv2, _decode_the_rest)
_CHAINS: dict[str | None, tuple[_Decode, ...]] = {
    None: (_decode_by_simplejpeg, *_FROM_OPENCV),
    "simplejpeg": (_decode_by_simplejpeg, *_FROM_OPENCV),
    "cv2": _FROM_OPENCV,
    "pillow": (decode_by_pillow,),
}


def _complain(data: Buffer) -> str:
    start = bytes(data[:16])
    kind = next((name for signature, name in _SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None:
        return f"not an image, its {len(data)} bytes start with {start!r}"
    if kind == "JPEG" and bytes(data[-2:]) != b"\xff\xd9":
        return f"a JPEG that ends too early, after {len(data)} bytes"
    return f"a broken {kind} of {len(data)} bytes"
