"""Memory for bodies."""

from __future__ import annotations

import pytest

from asyncio_loader.stores.allocation import allocate


@pytest.mark.parametrize("size_bytes", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 5_000_001])
def test_it_is_so_many_writable_bytes(size_bytes: int) -> None:
    memory = allocate(size_bytes)
    memory[:] = b"x" * size_bytes

    assert (len(memory), memory.format) == (size_bytes, "B")
    assert memory == b"x" * size_bytes
