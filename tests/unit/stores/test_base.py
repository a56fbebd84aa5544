"""The values of the store seam."""

from __future__ import annotations

from array import array

from asyncio_loader.stores.base import Entry, Piece, cut_piece


def test_an_entry_without_a_size_is_a_prefix() -> None:
    assert Entry("s3://bucket/dir/").is_prefix
    assert not Entry("s3://bucket/empty", 0).is_prefix


def test_a_piece_is_whole_if_it_is_all_there_is() -> None:
    assert Piece(b"1234", 0, 4).is_whole
    assert Piece(b"", 0, 0).is_whole
    assert not Piece(b"123", 0, 4).is_whole
    assert not Piece(b"", 4, 4).is_whole


def test_a_piece_of_what_is_at_hand_is_no_copy() -> None:
    data = b"0123456789"

    piece = cut_piece(data, 8, 20, "v", None)

    assert isinstance(piece.data, memoryview)
    assert piece.data.obj is data
    assert (bytes(piece.data), piece.start, piece.size_bytes, piece.etag) == (b"89", 8, 10, "v")


def test_a_piece_is_cut_by_bytes_whatever_the_items_are() -> None:
    data = memoryview(array("H", b"01234567"))

    piece = cut_piece(data, 2, 5, None, None)

    assert (bytes(piece.data), piece.size_bytes) == (b"234", 8)
