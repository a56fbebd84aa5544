"""What each decoder makes of a hundred odd files, and what the chain makes of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import features

from asyncio_loader.errors import DecodeError
from asyncio_loader.transforms import decoding
from asyncio_loader.transforms.decoding import Pixels, decode_image
from asyncio_loader.transforms.pillow_decoder import decode_by_pillow
from tests.odd_images import FILES, JPEG, MISSING

pytestmark = [
    # A decoder may tell what it found odd, and of which format it was built without; what counts here are pixels.
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning"),
    pytest.mark.filterwarnings("ignore:image file could not be identified:UserWarning"),
]

# ``=`` the pixels of `cv2.imdecode`, ``≈`` the same ±2, ``≠`` others; ``+`` pixels where OpenCV has none;
# ``-`` refused; ``.`` not asked. Color, upright; simplejpeg never turns, so there the pixels before that.
TABLE = """
file                   simplejpeg   cv2 pillow chain
JPEG baseline                   =     =     =     =
JPEG progressive                =     =     =     =
JPEG 4:4:4                      =     =     =     =
JPEG 4:2:2                      =     =     =     =
JPEG 4:4:0                      =     =     =     =
JPEG 4:1:1                      =     =     =     =
JPEG restart markers            =     =     =     =
JPEG gray                       =     =     =     =
JPEG arithmetic                 =     =     =     =
JPEG RGB                        =     =     =     =
JPEG CMYK of Adobe              =     =     ≈     =
JPEG CMYK                       =     =     ≈     =
JPEG YCCK                       =     =     ≈     =
JPEG Adobe transform 0          =     =     =     =
JPEG Adobe transform 1          =     =     =     =
JPEG Adobe transform 7          -     =     =     =
JPEG no APP segments            =     =     =     =
JPEG many APP segments          =     =     =     =
JPEG broken ICC profile         =     =     =     =
JPEG MPO                        =     =     =     =
JPEG EXIF 6                     =     =     =     =
JPEG EXIF 6 after XMP           =     =     =     =
JPEG XMP                        =     =     =     =
JPEG EXIF 6 as a long           =     =     =     =
JPEG EXIF 9                     =     =     =     =
JPEG EXIF elsewhere             =     =     =     =
JPEG EXIF cut                   =     =     =     =
JPEG garbage after              =     =     =     =
JPEG zeros after                =     =     =     =
JPEG another after              =     =     =     =
JPEG garbage before             .     -     -     -
JPEG line break before          .     -     -     -
JPEG garbage in the header      -     -     -     -
JPEG garbage before the scan    -     =     =     =
JPEG without end mark           -     -     -     -
JPEG cut by 1 byte              -     -     -     -
JPEG cut by 5 bytes             -     -     -     -
JPEG cut in the middle          -     -     -     -
JPEG progressive, cut           -     -     -     -
JPEG cut, with end mark         -     =     =     =
JPEG a bit wrong                =     =     =     =
JPEG 64 bytes of zeros          =     =     =     =
JPEG 12 bits                    -     -     -     -
JPEG lossless                   -     -     -     -
JPEG height in a DNL            -     -     -     -
PNG                             .     =     =     =
PNG 16 bits gray                .     =     =     =
PNG 16 bits color               .     =     =     =
PNG 16 bits alpha               .     =     =     =
PNG palette                     .     =     =     =
PNG palette of 4                .     =     =     =
PNG palette, tRNS               .     =     =     =
PNG palette, tRNS of one        .     =     =     =
PNG color, tRNS                 .     =     =     =
PNG gray, tRNS                  .     =     =     =
PNG gray                        .     =     =     =
PNG gray alpha                  .     =     =     =
PNG alpha                       .     =     =     =
PNG 1 bit                       .     =     =     =
PNG interlaced                  .     =     =     =
PNG EXIF 6                      .     =     =     =
PNG animated                    .     =     =     =
PNG garbage after               .     =     =     =
PNG without IEND                .     -     -     -
PNG cut in its last checksum    .     -     -     -
PNG cut in the middle           .     -     -     -
PNG wrong checksum              .     -     -     -
PNG a bit wrong                 .     -     -     -
GIF                             .     =     =     =
GIF 87a                         .     =     =     =
GIF animated                    .     =     =     =
GIF transparent                 .     =     ≠     =
GIF larger than its image       .     =     =     =
GIF cut in the middle           .     -     -     -
WebP                            .     =     =     =
WebP lossless                   .     =     =     =
WebP alpha                      .     =     =     =
WebP animated                   .     =     =     =
WebP EXIF 6                     .     =     =     =
WebP cut in the middle          .     -     -     -
AVIF                            .     =     =     =
AVIF 10 bits                    .     =     =     =
AVIF EXIF 6                     .     =     =     =
AVIF animated                   .     =     =     =
AVIF cut in the middle          .     -     -     -
JPEG 2000                       .     =     =     =
BMP                             .     =     =     =
BMP palette                     .     =     =     =
BMP 1 bit                       .     =     =     =
BMP alpha                       .     =     =     =
BMP from the top                .     =     =     =
BMP RLE8                        .     =     =     =
BMP RLE4                        .     =     =     =
BMP OS/2                        .     =     =     =
BMP cut by 1 byte               .     -     -     -
DIB                             .     -     +     +
TIFF                            .     =     =     =
TIFF jpeg                       .     =     =     =
TIFF packbits                   .     =     =     =
TIFF tiff_deflate               .     =     =     =
TIFF lzma                       .     -     +     +
TIFF zstd                       .     -     +     +
TIFF lzw                        .     =     =     =
TIFF group4                     .     =     =     =
TIFF palette                    .     =     =     =
TIFF CMYK                       .     =     =     =
TIFF 16 bits                    .     =     =     =
TIFF 32 bits                    .     -     -     -
TIFF floats                     .     -     -     -
TIFF two pages                  .     =     =     =
TIFF orientation 6              .     =     =     =
TIFF cut in the middle          .     -     -     -
PPM                             .     =     =     =
PPM in ASCII                    .     =     =     =
PPM up to 100                   .     =     ≠     =
PPM cut in the middle           .     -     -     -
PGM                             .     =     =     =
PGM 16 bits                     .     =     =     =
PBM                             .     =     =     =
PAM                             .     =     -     =
PFM                             .     =     -     =
Sun raster                      .     =     =     =
Radiance HDR                    .     =     -     =
ICO                             .     -     +     +
TGA                             .     -     +     +
SGI                             .     -     +     +
PCX                             .     -     +     +
DDS                             .     -     -     -
QOI                             .     -     +     +
EPS                             .     -     -     -
XBM                             .     -     -     -
"""
ROWS = [line.rsplit(maxsplit=4) for line in TABLE.strip().splitlines()[1:]]
# What a Pillow may have been built without.
_PILLOW_NEEDS = {"WebP": "webp", "AVIF": "avif", "JPEG 2000": "jpg_2000", "TIFF lzw": "libtiff"}


def by_opencv(data: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def by_chain(data: bytes, **options: Any) -> Pixels | None:
    try:
        return decode_image(data, **options)
    except DecodeError:
        return None


def file_of(name: str) -> bytes:
    if name in MISSING:
        pytest.skip("this Pillow cannot write it")
    return FILES[name]


def compare(pixels: Pixels | None, expected: Pixels | None) -> str:
    if pixels is None:
        return "-"
    if expected is None:
        return "+"
    if pixels.shape != expected.shape:
        return "≠"
    difference = np.abs(pixels.astype(float) - expected).max()
    return "=" if difference == 0 else "≈" if difference <= 2 else "≠"


def can_pillow_read(name: str) -> bool:
    return all(features.check(feature) for start, feature in _PILLOW_NEEDS.items() if name.startswith(start))


def test_every_file_is_in_the_table() -> None:
    assert sorted([*FILES, *MISSING]) == sorted(row[0].strip() for row in ROWS)


@pytest.mark.parametrize(("name", "opencv"), [(row[0].strip(), row[2]) for row in ROWS])
def test_opencv_reads_what_the_table_says(name: str, opencv: str) -> None:
    pixels = by_opencv(file_of(name))

    assert opencv == compare(pixels, pixels)


@pytest.mark.parametrize(("name", "simplejpeg"), [(row[0].strip(), row[1]) for row in ROWS if row[1] != "."])
def test_simplejpeg_reads_what_the_table_says(name: str, simplejpeg: str) -> None:
    data = file_of(name)
    expected = by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)

    assert simplejpeg == compare(decoding._decode_by_simplejpeg(data, "color_ignore_orientation", "bgr"), expected)


@pytest.mark.parametrize(("name", "pillow"), [(row[0].strip(), row[3]) for row in ROWS])
def test_pillow_reads_what_the_table_says(name: str, pillow: str) -> None:
    data = file_of(name)

    assert (pillow if can_pillow_read(name) else "-") == compare(
        decode_by_pillow(data, "color", "bgr"), by_opencv(data)
    )


@pytest.mark.parametrize(("name", "chain"), [(row[0].strip(), row[4]) for row in ROWS])
def test_the_chain_reads_what_any_reads_with_the_pixels_of_opencv(name: str, chain: str) -> None:
    data = file_of(name)

    assert chain == compare(by_chain(data), by_opencv(data))


@pytest.mark.parametrize("color_type", decoding._FLAGS)
@pytest.mark.parametrize("name", FILES)
def test_where_opencv_reads_the_chain_has_its_very_pixels(name: str, color_type: str) -> None:
    expected = by_opencv(FILES[name], decoding._FLAGS[color_type])
    pixels = by_chain(FILES[name], color_type=color_type)

    if expected is not None:
        assert "=" == compare(pixels, expected)
        assert pixels is not None
        assert pixels.dtype == expected.dtype


@pytest.mark.parametrize("backend", [None, "pillow"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_is_refused_or_has_all_its_pixels(name: str, backend: str | None) -> None:
    data = FILES[name]
    whole = by_chain(data, backend=backend)
    places = {len(data) * part // 16 for part in range(1, 16)} | {len(data) - n for n in (1, 2, 3, 5, 13)}
    cuts = [by_chain(data[:place], backend=backend) for place in sorted(places) if place > 0]

    assert {"-", "="} >= {compare(pixels, whole) for pixels in cuts}


@pytest.mark.parametrize("backend", [None, "cv2", "pillow"])
def test_a_wrong_bit_in_a_png_never_gives_wrong_pixels(backend: str | None) -> None:
    data, whole = FILES["PNG"], by_opencv(FILES["PNG"])
    flipped = [data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :] for at in range(8, len(data), 3)]

    assert {"-", "="} >= {compare(by_chain(each, backend=backend), whole) for each in flipped}


@pytest.mark.skipif(not can_pillow_read("AVIF"), reason="this Pillow reads no AVIF")
def test_what_opencv_finds_damaged_in_an_avif_is_not_given_to_pillow() -> None:
    data = FILES["AVIF"]
    flipped = [data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :] for at in range(len(data) - 200, len(data))]
    refused = [each for each in flipped if by_opencv(each) is None]

    assert any(decode_by_pillow(each, "color", "bgr") is not None for each in refused)
    assert {"-"} == {compare(by_chain(each), None) for each in refused}


def test_a_gif_is_for_pillow_where_opencv_was_built_without(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_opencv(FILES["GIF"])
    monkeypatch.setattr(decoding, "_has_codec", lambda _: False)
    monkeypatch.setattr(decoding.cv2, "imdecode", lambda *_: None)

    assert "=" == compare(by_chain(FILES["GIF"]), expected)


def test_the_content_counts_and_not_the_name() -> None:
    assert "=" == compare(by_chain(FILES["PNG"], key="image.jpg"), by_opencv(FILES["PNG"]))


@pytest.mark.parametrize("backend", [None, "cv2", "pillow"])
def test_rgb_is_bgr_the_other_way_round_whoever_reads_it(backend: str | None) -> None:
    for data in (JPEG, FILES["JPEG EXIF 6"], FILES["PCX"], FILES["PNG palette, tRNS"]):
        bgr = decode_image(data, backend=backend)

        np.testing.assert_array_equal(decode_image(data, backend=backend, channel_order="rgb"), bgr[:, :, ::-1])
