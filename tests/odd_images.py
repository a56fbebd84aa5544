"""Image files of odd kinds, made by Pillow, by OpenCV and by hand; all of one picture, where nothing else is said.

`FILES` are in order of formats. What this Pillow cannot write (pillow-simd may be built without WebP, TIFF's
compressions, JPEG 2000 and AVIF) is missing from it, and listed in `MISSING`.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

__all__ = ["FILES", "JPEG", "MISSING", "exif_segment", "insert", "segment"]

_RNG = np.random.default_rng(0)
_BGR = cv2.resize(_RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30))
_PICTURE = Image.fromarray(_BGR[:, :, ::-1].copy())
_MIRRORED = _PICTURE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
# Larger: its scan goes on far behind the place where it is cut or hit.
_LARGE = Image.fromarray(cv2.resize(_RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8), (320, 240)))
_WIDE = _RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
_ADOBE = b"Adobe\0\x64\0\0\0\0"
# By cjpeg -arithmetic: neither OpenCV nor Pillow writes it.
_ARITHMETIC = base64.b85decode(
    "|JeWF01!$>Nk#wx0RR9200961|JwjV00smF1_cBL1_cHO2L=cV5DE$j2?`Vr4-60&6c`v66c!d59VH(c8zUSR79cDjBPJ&)Dk&KsEif%8FeNA{DF"
    "534LjeZ|2MP!Z6AB6wC>j<TC@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@3f>C@BBQ01*fP3;+-V0U`hb5di}c0sqV"
    "Z3IGrg1pyEd1^?Or3<CiG0ucid06zfHV~Hb{NfCaiCz7T1IfzmjvOnWqF>LS3xE!SIeMF59@y~GTwht;yCV&K1fyi=BqeBfQZy*;4JBq99I8zN7H"
    "|jc<<>|0zJvmXJ9tj-*->azb>;^%<-Hj4ZkYDW~34k}zoHAS)Kbk7?cauGo+4ciq|Je"
)


def segment(marker: int, payload: bytes) -> bytes:
    """A segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload


def insert(jpeg: bytes, *segments: bytes) -> bytes:
    """Segments between the start of a JPEG and the rest."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif_segment(orientation: int, *, order: str = "<", kind: int = 3, magic: int = 42) -> bytes:
    """An APP1 segment with two entries, the orientation being the second."""
    mark = b"II" if order == "<" else b"MM"
    tags = struct.pack(f"{order}HHIHH", 0x010F, 3, 1, 0, 0) + struct.pack(
        f"{order}HHIHH", 0x0112, kind, 1, orientation, 0
    )
    tiff = mark + struct.pack(f"{order}HIH", magic, 8, 2) + tags + b"\0\0\0\0"
    return segment(0xE1, b"Exif\0\0" + tiff)


def _save(image: Image.Image, kind: str, **options: Any) -> bytes | None:
    if kind not in Image.SAVE:
        return None
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except OSError:  # a compression that libtiff was built without, or no libtiff at all
        return None
    return file.getvalue()


def _jpeg(image: Image.Image = _PICTURE, **options: Any) -> bytes:
    # A copy: what Pillow's JPEG writer leaves on an image, its TIFF writer stumbles over.
    file = io.BytesIO()
    image.copy().save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def _png(image: Image.Image = _PICTURE, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def _encode(suffix: str, pixels: Any = _BGR, *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, pixels, options)[1])


def _without(jpeg: bytes, marker: int) -> bytes:
    """Without the segments of that marker."""
    kept, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kept += b"" if jpeg[at + 1] == marker else jpeg[at:end]
        at = end
    return kept + jpeg[at:]


def _patched(data: bytes, at: int, patch: bytes) -> bytes:
    return data[:at] + patch + data[at + len(patch) :]


JPEG = _jpeg()
_FRAME = JPEG.index(b"\xff\xc0")
_PLAIN = _without(JPEG, 0xE0)


def _jpegs() -> Iterator[tuple[str, bytes]]:
    factor = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    yield "JPEG baseline", JPEG
    yield "JPEG progressive", _jpeg(progressive=True)
    yield "JPEG 4:4:4", _jpeg(subsampling=0)
    yield "JPEG 4:2:2", _jpeg(subsampling=1)
    yield "JPEG 4:4:0", _encode(".jpg", _BGR, factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440)
    yield "JPEG 4:1:1", _encode(".jpg", _BGR, factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411)
    yield "JPEG restart markers", _encode(".jpg", _BGR, cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    yield "JPEG gray", _jpeg(_PICTURE.convert("L"))
    yield "JPEG arithmetic", _ARITHMETIC
    yield "JPEG RGB", _jpeg(keep_rgb=True)
    cmyk = _jpeg(_PICTURE.convert("CMYK"))
    yield "JPEG CMYK of Adobe", cmyk
    yield "JPEG CMYK", _without(cmyk, 0xEE)
    yield "JPEG YCCK", _patched(cmyk, cmyk.index(b"Adobe") + len(_ADOBE), b"\2")
    for transform in (0, 1, 7):
        yield f"JPEG Adobe transform {transform}", insert(_PLAIN, segment(0xEE, _ADOBE + bytes([transform])))
    yield "JPEG no APP segments", _PLAIN
    yield "JPEG many APP segments", insert(JPEG, *(segment(0xE0 + n, b"x" * 2000) for n in range(2, 16)))
    yield "JPEG broken ICC profile", _jpeg(icc_profile=b"no profile")
    yield "JPEG MPO", _mpo()


def _mpo() -> bytes:
    file = io.BytesIO()
    _PICTURE.copy().save(file, "MPO", save_all=True, append_images=[_MIRRORED.copy()])
    return file.getvalue()


def _turned_jpegs() -> Iterator[tuple[str, bytes]]:
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    yield "JPEG EXIF 6", insert(JPEG, exif_segment(6))
    yield "JPEG EXIF 6 after XMP", insert(JPEG, xmp, exif_segment(6))
    yield "JPEG XMP", insert(JPEG, xmp)
    yield "JPEG EXIF 6 as a long", insert(JPEG, exif_segment(6, order=">", kind=4))
    yield "JPEG EXIF 9", insert(JPEG, exif_segment(9))
    yield "JPEG EXIF elsewhere", insert(JPEG, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"))
    yield "JPEG EXIF cut", insert(JPEG, segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12"))


def _damaged_jpegs() -> Iterator[tuple[str, bytes]]:
    large = _jpeg(_LARGE)
    half = len(large) // 2
    yield "JPEG garbage after", JPEG + b"garbage"
    yield "JPEG zeros after", JPEG + bytes(5000)
    yield "JPEG another after", JPEG + _jpeg(_MIRRORED)
    yield "JPEG garbage before", b"garbage" + JPEG
    yield "JPEG line break before", b"\r\n" + JPEG
    yield "JPEG garbage in the header", insert(JPEG, b"\0\0\0")
    yield "JPEG garbage before the scan", _patched(JPEG, _FRAME + 1, b"\xc9")
    yield "JPEG without end mark", JPEG[:-2]
    yield "JPEG cut by 1 byte", JPEG[:-1]
    yield "JPEG cut by 5 bytes", large[:-5]
    yield "JPEG cut in the middle", large[:half]
    yield "JPEG progressive, cut", _jpeg(_LARGE, progressive=True)[:half]
    yield "JPEG cut, with end mark", large[:half] + b"\xff\xd9"
    yield "JPEG a bit wrong", _patched(large, half, bytes([large[half] ^ 0x10]))
    yield "JPEG 64 bytes of zeros", _patched(large, half, bytes(64))
    yield "JPEG 12 bits", _patched(JPEG, _FRAME + 4, b"\x0c")
    yield "JPEG lossless", _patched(JPEG, _FRAME + 1, b"\xc3")
    yield "JPEG height in a DNL", _patched(JPEG, _FRAME + 5, b"\0\0")


def _pngs() -> Iterator[tuple[str, bytes | None]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    palette, gray = _PICTURE.quantize(16), _PICTURE.convert("L")
    png = _png()
    yield "PNG", png
    yield "PNG 16 bits gray", _encode(".png", _WIDE[:, :, 0].copy())
    yield "PNG 16 bits color", _encode(".png", _WIDE[:, :, :3].copy())
    yield "PNG 16 bits alpha", _encode(".png", _WIDE)
    yield "PNG palette", _png(palette)
    yield "PNG palette of 4", _png(_PICTURE.quantize(4), bits=2)
    yield "PNG palette, tRNS", _png(palette, transparency=bytes(range(0, 256, 16)))
    yield "PNG palette, tRNS of one", _png(palette, transparency=3)
    yield "PNG color, tRNS", _png(transparency=_PICTURE.getpixel((0, 0)))
    yield "PNG gray, tRNS", _png(gray, transparency=gray.getpixel((0, 0)))
    yield "PNG gray", _png(gray)
    yield "PNG gray alpha", _png(_PICTURE.convert("LA"))
    yield "PNG alpha", _png(_PICTURE.convert("RGBA"))
    yield "PNG 1 bit", _png(_PICTURE.convert("1"))
    yield "PNG interlaced", _interlaced_png()
    yield "PNG EXIF 6", _png(exif=exif)
    yield "PNG animated", _png(save_all=True, append_images=[_MIRRORED], duration=50)
    yield "PNG garbage after", png + b"garbage"
    yield "PNG without IEND", png[:-12]
    yield "PNG cut in its last checksum", png[:-18]
    yield "PNG cut in the middle", png[: len(png) // 2]
    yield "PNG wrong checksum", _patched(png, len(png) - 16, bytes(4))
    yield "PNG a bit wrong", _patched(png, len(png) // 2, bytes([png[len(png) // 2] ^ 0x10]))


def _interlaced_png() -> bytes:
    """2 × 2 pixels in Adam7: pass 1 has one of them, pass 6 one, pass 7 two."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 1)
    pixels = zlib.compress(b"\0\1\2\3" + b"\0\4\5\6" + b"\0\7\x08\x09\x0a\x0b\x0c")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _gifs() -> Iterator[tuple[str, bytes | None]]:
    gif = _save(_PICTURE, "GIF") or b""
    yield "GIF", gif
    yield "GIF 87a", gif.replace(b"GIF89a", b"GIF87a")
    yield "GIF animated", _save(_PICTURE, "GIF", save_all=True, append_images=[_MIRRORED])
    yield "GIF transparent", _save(_PICTURE.quantize(16), "GIF", transparency=3)
    yield "GIF larger than its image", _patched(gif, 6, struct.pack("<HH", 50, 50))
    yield "GIF cut in the middle", gif[: len(gif) // 2]


def _webps_and_avifs() -> Iterator[tuple[str, bytes | None]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    lossless = _encode(".webp")
    avif = _encode(".avif")
    yield "WebP", _encode(".webp", _BGR, cv2.IMWRITE_WEBP_QUALITY, 80)
    yield "WebP lossless", lossless
    yield "WebP alpha", _save(_PICTURE.convert("RGBA"), "WEBP", lossless=True)
    yield "WebP animated", _save(_PICTURE, "WEBP", save_all=True, append_images=[_MIRRORED], lossless=True)
    yield "WebP EXIF 6", _save(_PICTURE, "WEBP", exif=exif, lossless=True)
    yield "WebP cut in the middle", lossless[: len(lossless) // 2]
    yield "AVIF", avif
    yield "AVIF 10 bits", _encode(".avif", _WIDE[:, :, :3] >> 6, cv2.IMWRITE_AVIF_DEPTH, 10)
    yield "AVIF EXIF 6", _save(_PICTURE, "AVIF", exif=exif)
    yield "AVIF animated", _save(_PICTURE, "AVIF", save_all=True, append_images=[_MIRRORED])
    yield "AVIF cut in the middle", avif[: len(avif) // 2]
    yield "JPEG 2000", _save(_PICTURE, "JPEG2000")


def _bmps() -> Iterator[tuple[str, bytes | None]]:
    bmp, two_lines = _save(_PICTURE, "BMP") or b"", _BGR[:2, :4].tobytes()
    yield "BMP", bmp
    yield "BMP palette", _save(_PICTURE.quantize(16), "BMP")
    yield "BMP 1 bit", _save(_PICTURE.convert("1"), "BMP")
    yield "BMP alpha", _save(_PICTURE.convert("RGBA"), "BMP")
    yield "BMP from the top", _bmp(-2, 24, 0, two_lines)
    yield "BMP RLE8", _bmp(2, 8, 1, b"\x04\x01\0\0\x02\x02\x02\0\0\0\0\x01")
    yield "BMP RLE4", _bmp(2, 4, 2, b"\x04\x01\0\0\x04\x23\0\0\0\x01")
    yield "BMP OS/2", b"BM" + struct.pack("<IHHIIHHHH", 50, 0, 0, 26, 12, 4, 2, 1, 24) + two_lines
    yield "BMP cut by 1 byte", bmp[:-1]
    yield "DIB", _save(_PICTURE, "DIB")


def _bmp(height: int, bits: int, compression: int, body: bytes) -> bytes:
    """4 pixels wide, with a palette of four if it has one."""
    palette = b"" if bits == 24 else b"".join(bytes([20 * n, 40 * n, 60 * n, 0]) for n in range(4))
    start = 54 + len(palette)
    colors = len(palette) // 4
    head = struct.pack("<IHHI", start + len(body), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, 4, height, 1, bits, compression, len(body), 1, 1, colors, colors)
    return b"BM" + head + info + palette + body


def _tiffs() -> Iterator[tuple[str, bytes | None]]:
    exif = Image.Exif()
    exif[0x0112] = 6
    lzw = _encode(".tiff", _BGR, cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW)
    yield "TIFF", _save(_PICTURE, "TIFF")
    for compression in ("jpeg", "packbits", "tiff_deflate", "lzma", "zstd"):
        yield f"TIFF {compression}", _save(_PICTURE, "TIFF", compression=compression)
    yield "TIFF lzw", lzw
    yield "TIFF group4", _save(_PICTURE.convert("1"), "TIFF", compression="group4")
    yield "TIFF palette", _save(_PICTURE.quantize(16), "TIFF")
    yield "TIFF CMYK", _save(_PICTURE.convert("CMYK"), "TIFF")
    yield "TIFF 16 bits", _save(Image.fromarray(_WIDE[:, :, 0].copy()), "TIFF")
    yield "TIFF 32 bits", _save(Image.fromarray(_WIDE[:, :, 0].astype(np.int32) * 100), "TIFF")
    yield "TIFF floats", _save(Image.fromarray(_WIDE[:, :, 0].astype(np.float32)), "TIFF")
    yield "TIFF two pages", _save(_PICTURE, "TIFF", save_all=True, append_images=[_MIRRORED])
    yield "TIFF orientation 6", _save(_PICTURE, "TIFF", exif=exif)
    yield "TIFF cut in the middle", lzw[: len(lzw) // 2]


def _others() -> Iterator[tuple[str, bytes | None]]:
    ppm = _save(_PICTURE, "PPM") or b""
    yield "PPM", ppm
    yield "PPM in ASCII", b"P3\n2 1\n255\n1 2 3 4 5 6\n"
    yield "PPM up to 100", b"P6\n2 1\n100\n" + bytes([1, 2, 3, 100, 50, 0])
    yield "PPM cut in the middle", ppm[: len(ppm) // 2]
    yield "PGM", _save(_PICTURE.convert("L"), "PPM")
    yield "PGM 16 bits", b"P5\n2 1\n65535\n\x12\x34\x56\x78"
    yield "PBM", _save(_PICTURE.convert("1"), "PPM")
    yield "PAM", b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(range(6))
    yield "PFM", b"PF\n2 1\n-1.0\n" + struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    yield "Sun raster", _encode(".ras")
    yield "Radiance HDR", _encode(".hdr", _BGR.astype(np.float32))
    for kind in ("ICO", "TGA", "SGI", "PCX", "DDS"):
        yield kind, _save(_PICTURE, kind)
    yield "QOI", b"qoif" + struct.pack(">IIBB", 1, 1, 3, 0) + b"\xfe\x01\x02\x03" + bytes(7) + b"\x01"
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 1\n%%EndComments\nshowpage\n"
    yield "XBM", b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {\n0x0f\n};\n"


def _all() -> Iterator[tuple[str, bytes | None]]:
    for group in (_jpegs, _turned_jpegs, _damaged_jpegs, _pngs, _gifs, _webps_and_avifs, _bmps, _tiffs, _others):
        yield from group()


_ALL = dict(_all())
FILES = {name: data for name, data in _ALL.items() if data is not None}
MISSING = sorted(_ALL.keys() - FILES.keys())
