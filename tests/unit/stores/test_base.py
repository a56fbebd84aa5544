"""The values of the store seam."""

from __future__ import annotations

from asyncio_loader.stores.base import Entry


def test_an_entry_without_a_size_is_a_prefix() -> None:
    assert Entry("s3://bucket/dir/").is_prefix
    assert not Entry("s3://bucket/empty", 0).is_prefix
