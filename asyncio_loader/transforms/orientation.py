"""How an image lies, as its EXIF has it: what `cv2.imdecode` reads of it, and no more."""

from __future__ import annotations

import struct

from asyncio_loader.records import Buffer

__all__ = ["read_exif_orientation", "read_jpeg_orientation"]

_EXIF = b"Exif\0\0"


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
        if marker == 0xE1 and view[at + 4 : at + 10] == _EXIF:
            return read_exif_orientation(bytes(view[at + 4 : end]))
        at = end
    return 0


def read_exif_orientation(exif: bytes) -> int:
    """As `read_jpeg_orientation`, of an EXIF block: a TIFF header and its entries, after ``Exif`` or without it."""
    tiff = exif.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        magic, start = struct.unpack_from(f"{order}HI", tiff, 2)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == 0x0112:  # OpenCV takes the first two bytes of the value, whatever its type is said to be
                return int(value) if magic == 42 and 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return 1 if magic == 42 else 0
