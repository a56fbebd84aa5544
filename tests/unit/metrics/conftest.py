from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader import AsyncIterableDataset

SIZES = [100, 200, 300, 400, 500, 600, 700]


@pytest.fixture
def dataset(tmp_path: Path) -> AsyncIterableDataset:
    """Seven objects of 2,800 bytes together, on disk."""
    for n, size in enumerate(SIZES):
        (tmp_path / f"{n}").write_bytes(bytes(size))
    return AsyncIterableDataset([str(tmp_path / f"{n}") for n in range(len(SIZES))], batch_size=2)
