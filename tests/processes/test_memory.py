"""What a Loader holds, counted by who allocates it: objects of 1 KB to 24 MB mixed, whose sizes nobody knows before."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, ObjectInfo
from asyncio_loader.stores.memory import MemoryStore

MIB = 1024 * 1024
WINDOW_BYTES = 16 * MIB
DECODED_BYTES = 8 * MIB
# Larger than the window, too.
LARGEST_BYTES = 24_000_000
SIZES = [1_000, 10_000, 100_000, 1_000_000, 8_000_000, LARGEST_BYTES]
SHARES = [40, 30, 20, 12, 4, 2]
COUNT = 400
BATCH = 4
THREADS = 3


def draw_sizes(count: int) -> list[int]:
    return random.Random(7).choices(SIZES, SHARES, k=count)


class Ledger:
    """Bytes of arrays that are alive, and the most that ever were. Each dies wherever its last owner is."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.live_bytes = self.peak_bytes = self.made_bytes = 0

    def make(self, size_bytes: int) -> np.ndarray[Any, Any]:
        array = np.empty(size_bytes, dtype=np.uint8)
        weakref.finalize(array, self._count, -size_bytes)
        self._count(size_bytes)
        self.made_bytes += size_bytes
        return array

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self.live_bytes += size_bytes
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)


class LedgerStore(MemoryStore):
    """Objects named by number, made when they are asked for, out of the order of asking."""

    def __init__(self, sizes: Sequence[int], ledger: Ledger) -> None:
        super().__init__()
        self._sizes = sizes
        self._ledger = ledger
        self._random = random.Random(3)

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        size_bytes = self._sizes[int(uri.rpartition("/")[2])]
        await asyncio.sleep(self._random.random() * 0.01)
        if admit is not None:
            await admit(size_bytes)
        array = self._ledger.make(size_bytes)
        await asyncio.sleep(self._random.random() * 0.01)
        return memoryview(array)

    async def head(self, uri: str) -> ObjectInfo:
        return ObjectInfo(uri, self._sizes[int(uri.rpartition("/")[2])])


def make_dataset(sizes: Sequence[int], ledger: Ledger, transform: Any) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        [f"s3://bucket/{number}" for number in range(len(sizes))],
        transform=transform,
        storage=LedgerStore(sizes, ledger),
        options=FetchOptions(window_bytes=WINDOW_BYTES, decoded_bytes=DECODED_BYTES, max_in_flight=32),
    )


def length_of(fetched: Fetched) -> int:
    return len(fetched.data)


def test_bytes_stay_within_the_window_and_one_object() -> None:
    sizes, ledger = draw_sizes(COUNT), Ledger()
    with Loader(make_dataset(sizes, ledger, length_of), BATCH, threads=1) as loader:
        assert [size for batch in loader for size in batch] == sizes
        peak_bytes = loader.stats().peak_window_bytes

    assert peak_bytes <= WINDOW_BYTES + LARGEST_BYTES
    # The credit of what a thread has in hand goes back an instant before its bytes.
    assert ledger.peak_bytes <= peak_bytes + LARGEST_BYTES
    assert ledger.made_bytes > 5 * ledger.peak_bytes
    assert ledger.live_bytes == 0


def wait_until_full(loader: Loader) -> None:
    assert loader._reader is not None
    assert loader._reader._source is not None
    pool = loader._reader._source._pool
    assert pool is not None
    until_s = time.monotonic() + 20
    while not pool._is_full() and pool._end is None:
        assert time.monotonic() < until_s
        time.sleep(0.001)


@pytest.mark.parametrize(
    "wrap", [lambda array: array, lambda array: {"results": [(array[:1], 1)]}], ids=["whole", "view"]
)
def test_decoded_samples_stay_within_their_budget_where_the_consumer_is_slow(wrap: Any) -> None:
    sizes, encoded, decoded = [1_000] * 200, Ledger(), Ledger()
    decoded_sizes = random.Random(5).choices([10_000, 300_000, 3_000_000], k=len(sizes))

    def decode(fetched: Fetched) -> Any:
        return wrap(decoded.make(decoded_sizes[fetched.position]))

    with Loader(make_dataset(sizes, encoded, decode), BATCH, threads=THREADS) as loader:
        for batch in loader:
            assert len(batch) == BATCH
            del batch
            # As slow as may be: it goes on when no thread may make any more.
            wait_until_full(loader)

    # What waits, what each thread is making, and the batch that is being gathered.
    assert decoded.peak_bytes <= DECODED_BYTES + (THREADS + BATCH) * 3_000_000
    assert decoded.peak_bytes >= DECODED_BYTES
    assert decoded.live_bytes == 0
