"""Single objects for blocking code, outside of the order and the window."""

from __future__ import annotations

import asyncio
import time

from asyncio_loader.datasets.session import Session
from asyncio_loader.errors import LoaderError
from asyncio_loader.records import Buffer
from asyncio_loader.stats import Counters
from asyncio_loader.trace.events import bare_uri

__all__ = ["Errands"]


class Errands:
    """Single objects for the threads of one owner, outside of the window, ended all at once when the owner is.

    Any thread may fetch; each waits for its own. The session stays open.
    """

    def __init__(self, session: Session, counters: Counters) -> None:
        self._session = session
        self._counters = counters
        self._running = _Running()

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        """One object now: its bytes and the number of GETs. Blocks.

        Raises:
            FetchError: it cannot be had.
            LoaderError: this was closed, before or meanwhile.
        """
        return self._ask(uri, is_second=False)

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        """As `fetch`, and it counts as a refetch: what came first could not be decoded."""
        return self._ask(uri, is_second=True)

    def close(self) -> None:
        """Cancel what is under way, and refuse the rest. Does not wait for it. Idempotent, from any thread."""
        # Not a method of this object: a call on its way to the loop would keep the session, whose last owner would then
        # be the loop's own thread, which cannot wait for its end.
        self._session.loop_thread.call(self._running.cancel)

    def _ask(self, uri: str, *, is_second: bool) -> tuple[Buffer, int]:
        started_s = time.perf_counter()
        try:
            return self._session.loop_thread.run(self._run(uri, is_second=is_second))
        finally:
            if self._session.recorder is not None:
                self._session.recorder.span("refetch" if is_second else "fetch", started_s, uri=bare_uri(uri))

    async def _run(self, uri: str, *, is_second: bool) -> tuple[Buffer, int]:
        task = asyncio.current_task()
        if self._running.is_over or task is None:
            raise LoaderError(f"{uri}: the iteration was closed meanwhile")
        self._running.tasks.add(task)
        self._counters.refetches += is_second
        try:
            return await self._session.get(uri, self._counters)
        finally:
            self._running.tasks.discard(task)


class _Running:
    """What is under way. Lives in the loop's thread."""

    __slots__ = ("is_over", "tasks")

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[object]] = set()
        self.is_over = False

    def cancel(self) -> None:
        """End all of it, now and for ever."""
        self.is_over = True
        for task in self.tasks:
            task.cancel()
