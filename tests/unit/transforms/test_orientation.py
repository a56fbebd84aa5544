from __future__ import annotations

import pytest

from asyncio_loader.transforms.orientation import read_exif_orientation, read_jpeg_orientation
from tests.odd_images import JPEG, exif_segment, insert


def exif_jpeg(orientation: int, *, order: str = "<", kind: int = 3, magic: int = 42) -> bytes:
    return insert(JPEG, exif_segment(orientation, order=order, kind=kind, magic=magic))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_in_both_byte_orders(orientation: int, order: str) -> None:
    assert orientation == read_jpeg_orientation(exif_jpeg(orientation, order=order))


def test_a_jpeg_without_exif_is_upright() -> None:
    assert 1 == read_jpeg_orientation(JPEG)


def test_fill_bytes_between_markers_are_passed_over() -> None:
    assert 6 == read_jpeg_orientation(exif_jpeg(6)[:2] + b"\xff\xff" + exif_jpeg(6)[2:])


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_type_of_the_entry_does_not_count_as_it_does_not_for_opencv(order: str) -> None:
    assert 6 == read_jpeg_orientation(exif_jpeg(6, order=order, kind=4))


@pytest.mark.parametrize(
    "data",
    [
        exif_jpeg(9),
        exif_jpeg(9, kind=4),
        exif_jpeg(6, magic=43),
        exif_jpeg(6)[:30],
        exif_jpeg(6).replace(b"II*", b"??*"),
        b"\xff\xd8\xff",
        b"\xff\xd8garbage",
    ],
)
def test_a_header_that_makes_no_sense_is_left_to_opencv(data: bytes) -> None:
    assert 0 == read_jpeg_orientation(data)


@pytest.mark.parametrize("prefix", [b"Exif\0\0", b""])
def test_the_block_of_a_png_is_read_with_its_prefix_and_without(prefix: bytes) -> None:
    block = exif_segment(8)[4:].removeprefix(b"Exif\0\0")

    assert 8 == read_exif_orientation(prefix + block)
