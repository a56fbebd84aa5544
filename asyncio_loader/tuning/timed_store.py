"""A store that notes how long each GET takes."""

from __future__ import annotations

import time
from array import array
from collections.abc import AsyncIterator

from asyncio_loader.records import Buffer
from asyncio_loader.stores.base import Admit, Entry, ObjectInfo, ObjectStore, admits_now

__all__ = ["TimedStore"]


class TimedStore:
    """Another store, with a clock at `get`.

    What is noted is the time from the call to the last byte, less what the body rested for the window, which is the
    consumer's. The engine retries by calling again, so that each try counts for itself; a failed one does not count.
    It costs under a microsecond per GET. Pickles as the store inside, without what was noted.

    Attributes:
        latencies_s: seconds of each GET that succeeded, in the order in which they ended.
    """

    def __init__(self, inner: ObjectStore) -> None:
        self._inner = inner
        self.latencies_s = array("d")

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        """See `ObjectStore.get`."""
        rest = None if admit is None else _Rest(admit)
        started_s = time.perf_counter()
        data = await self._inner.get(uri, admit=rest)
        took_s = time.perf_counter() - started_s
        self.latencies_s.append(took_s if rest is None else took_s - rest.total_s)
        return data

    async def head(self, uri: str) -> ObjectInfo:
        """See `ObjectStore.head`."""
        return await self._inner.head(uri)

    def list(self, uri: str, *, recursive: bool = True) -> AsyncIterator[Entry]:
        """See `ObjectStore.list`."""
        return self._inner.list(uri, recursive=recursive)

    async def aclose(self) -> None:
        """See `ObjectStore.aclose`."""
        await self._inner.aclose()

    def __reduce__(self) -> tuple[type[TimedStore], tuple[ObjectStore]]:
        return TimedStore, (self._inner,)


class _Rest:
    """An `admit` that knows how long it kept the body waiting, and says at once what the one inside says at once."""

    __slots__ = ("_admit", "total_s")

    def __init__(self, admit: Admit) -> None:
        self._admit = admit
        self.total_s = 0.0

    def now(self, size_bytes: int) -> bool:
        """See `stores.base.Admit`."""
        return admits_now(self._admit, size_bytes)

    async def __call__(self, size_bytes: int) -> None:
        began_s = time.perf_counter()
        try:
            await self._admit(size_bytes)
        finally:
            self.total_s += time.perf_counter() - began_s
