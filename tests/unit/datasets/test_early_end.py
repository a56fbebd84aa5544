"""What fetches has ended before the epoch was over: nobody shall take that for the end of the epoch."""

from __future__ import annotations

import asyncio

import pytest

from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.bridge.feed import Feed
from asyncio_loader.errors import LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit
from asyncio_loader.stores.memory import MemoryStore

COUNT = 10


class BrokenStore(MemoryStore):
    """A GET of the fourth object rests on something that was cancelled."""

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        if uri.endswith("/3"):
            raise asyncio.CancelledError
        return await super().get(uri, admit=admit)


def dataset_of(store: type[MemoryStore]) -> AsyncIterableDataset:
    uris = [f"memory://bucket/{number}" for number in range(COUNT)]
    storage = store(dict.fromkeys(uris, b"body"))
    return AsyncIterableDataset(uris, storage=storage, transform=lambda fetched: fetched.index)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_get_that_is_cancelled_by_nobody_is_an_error(threads: int) -> None:
    said = "memory://bucket/3: its GET was cancelled, and nobody has asked for that"

    with Loader(dataset_of(BrokenStore), 1, threads=threads) as loader, pytest.raises(LoaderError, match=said):
        list(loader)


def test_a_source_that_ends_before_its_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Feed.take
    monkeypatch.setattr(Feed, "take", lambda feed: None if (item := take(feed)) and item.outcome.index == 4 else item)
    seen: list[int] = []

    with (
        Loader(dataset_of(MemoryStore), 1, threads=1) as loader,
        pytest.raises(LoaderError, match="6 samples of the epoch are missing: what fetches them has ended before"),
    ):
        seen.extend(index for batch in loader for index in batch)

    assert seen == [0, 1, 2, 3]
