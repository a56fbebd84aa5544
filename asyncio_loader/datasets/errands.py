"""Single objects for blocking code, outside of the order and the window."""

from __future__ import annotations

import asyncio

from asyncio_loader.datasets.session import Session
from asyncio_loader.errors import LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stats import Counters

__all__ = ["Errands"]


class Errands:
    """Single objects for the threads of one owner, outside of the window, ended all at once when the owner is.

    Any thread may fetch; each waits for its own. The session stays open.
    """

    def __init__(self, session: Session, counters: Counters) -> None:
        self._session = session
        self._counters = counters
        # Both belong to the loop's thread.
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_closed = False

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        """One object now: its bytes and the number of GETs. Blocks.

        Raises:
            FetchError: it cannot be had.
            LoaderError: this was closed, before or meanwhile.
        """
        return self._session.loop_thread.run(self._run(uri, is_second=False))

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        """As `fetch`, and it counts as a refetch: what came first could not be decoded."""
        return self._session.loop_thread.run(self._run(uri, is_second=True))

    def close(self) -> None:
        """Cancel what is under way, and refuse the rest. Does not wait for it. Idempotent, from any thread."""
        self._session.loop_thread.call(self._cancel)

    async def _run(self, uri: str, *, is_second: bool) -> tuple[Buffer, int]:
        task = asyncio.current_task()
        if self._is_closed or task is None:
            raise LoaderError(f"{uri}: the iteration was closed meanwhile")
        self._tasks.add(task)
        self._counters.refetches += is_second
        try:
            return await self._session.get(uri, self._counters)
        finally:
            self._tasks.discard(task)

    def _cancel(self) -> None:
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
