"""Outcomes from the loop thread, for blocking code."""

from __future__ import annotations

import asyncio
import queue
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from asyncio_loader.bridge.loop_thread import WAKE_S, LoopThread
from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.engine.window import Credit
from asyncio_loader.options import FetchOptions
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import ObjectStore

__all__ = ["Feed"]


class _End:
    """Nothing comes any more: the jobs are done (no error), or what broke the engine."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Feed:
    """A prefetcher on a loop thread, and the one hop from there to blocking code.

    Deliveries cross in a `queue.SimpleQueue` (a few µs each; a coroutine per item costs more than 200, which is what
    SPDL measured for `run_coroutine_threadsafe`). Credits go back in batches: one wake-up of the loop for all that
    were given back since the last.

    `take` and `give_back` may be called from several threads of the process that made it.
    """

    def __init__(
        self,
        loop_thread: LoopThread,
        store: ObjectStore,
        jobs: Iterable[Job],
        *,
        options: FetchOptions,
        counters: Counters,
        is_complete: bool = True,
    ) -> None:
        """Start fetching.

        Args:
            loop_thread: where the store lives.
            store: where the objects are.
            jobs: what to fetch, in the order of use; drawn from in the loop's thread.
            options: how much at once.
            counters: where it counts.
            is_complete: False: `extend` may add jobs, and nothing ends before `complete`.
        """
        self._ready: queue.SimpleQueue[Delivery | _End] = queue.SimpleQueue()
        self._returned: deque[Credit] = deque()
        self._is_waking = False
        self._loop_thread = loop_thread
        self._agenda = Agenda(jobs, is_complete=is_complete)
        prefetcher = Prefetcher(store, self._agenda, options=options, deliver=self._ready.put, counters=counters)
        self.window = prefetcher.window
        self._running = loop_thread.start(_run(prefetcher, self._ready.put))
        # A feed that is dropped rather than closed must not go on fetching.
        self._finalizer = weakref.finalize(self, self._running.cancel)

    def take(self) -> Delivery | None:
        """The next delivery in order, or None when there is no more. Blocks; KeyboardInterrupt gets through.

        Raises what broke the engine: a bug, or a `ConfigError` of the store. After the end it goes on returning None
        (or raising) at every call and in every thread.
        """
        item = self._next()
        if isinstance(item, Delivery):
            return item
        self._ready.put(item)
        if item.error is not None:
            raise item.error
        return None

    def extend(self, jobs: Iterable[Job]) -> None:
        """Append jobs: they are begun as soon as the window has room, whether or not the earlier ones were taken."""
        self._loop_thread.call(self._agenda.add, jobs)

    def complete(self) -> None:
        """No more jobs will come: after the last delivery `take` returns None."""
        self._loop_thread.call(self._agenda.complete)

    def give_back(self, credit: Credit) -> None:
        """Return a delivery's credit, so that more is fetched."""
        self._returned.append(credit)
        # Checked after the append, and reset before the draining: an append is never overlooked.
        if not self._is_waking:
            self._is_waking = True
            self._loop_thread.call(self._drain)

    def close(self) -> None:
        """Cancel all GETs and wake whoever blocks in `take`. Idempotent, from any thread."""
        self._finalizer()
        self._ready.put(_End())

    def _next(self) -> Delivery | _End:
        while True:
            try:
                return self._ready.get(timeout=WAKE_S)
            except queue.Empty:
                # Only to let a Ctrl-C through: see WAKE_S.
                continue

    def _drain(self) -> None:
        self._is_waking = False
        while self._returned:
            self._returned.popleft().release()


async def _run(prefetcher: Prefetcher, put: Callable[[_End], object]) -> None:
    try:
        await prefetcher.run()
    except asyncio.CancelledError:
        put(_End())
        raise
    except BaseExceptionGroup as group:
        put(_End(_only(group)))
    else:
        put(_End())


def _only(error: BaseException) -> BaseException:
    """The first exception of a group: the others are mostly its echoes, and a caller catches one type, not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
