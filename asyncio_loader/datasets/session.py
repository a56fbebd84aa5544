"""What an iteration holds open: a loop thread and the stores on it."""

from __future__ import annotations

import weakref

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.engine.fetch import fetch_object
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.records import Buffer
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import ObjectStore
from asyncio_loader.stores.router import StoreRouter

__all__ = ["Session"]


class Session:
    """A loop thread with a store on it, born in the process that iterates and used there only.

    Attributes:
        loop_thread: where the store lives.
        store: dispatches by scheme; its connections stay open until `close`.
    """

    def __init__(self, storage: S3Options | ObjectStore, options: FetchOptions) -> None:
        self.loop_thread = LoopThread()
        self.store = StoreRouter(storage, timeouts=options.retry, max_connections=options.max_in_flight)
        self._options = options
        # Here rather than in the loop thread's own finalizer: a callback on its way to the loop may hold the last
        # reference to that one, and a loop cannot wait for itself.
        self._finalizer = weakref.finalize(self, self.loop_thread.close, self.store.aclose)

    def fetch(self, uri: str, counters: Counters | None = None) -> tuple[Buffer, int]:
        """One object now, outside of the window: its bytes and the number of GETs. Blocks; raises FetchError."""
        return self.loop_thread.run(self._fetch(uri, counters or Counters()))

    def close(self) -> None:
        """Cancel what is under way, drop the connections, end the thread. Idempotent; upon collection, too."""
        self._finalizer()

    async def _fetch(self, uri: str, counters: Counters) -> tuple[Buffer, int]:
        data, attempts = await fetch_object(self.store, uri, retry=self._options.retry, on_attempt=counters.count_get)
        counters.bytes_fetched += len(data)
        return data, attempts
