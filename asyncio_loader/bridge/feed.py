"""Outcomes from the loop thread, for blocking code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import queue
import time
import weakref
from collections import deque
from collections.abc import Iterable

from asyncio_loader.bridge.loop_thread import WAKE_S, LoopThread
from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.engine.window import Credit
from asyncio_loader.options import FetchOptions
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import ObjectStore
from asyncio_loader.trace import ObjectTracks, Recorder

__all__ = ["Feed"]

_FEW_CREDITS = 8


class _End:
    """Nothing comes any more: the jobs are done (no error), or what broke the engine."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Feed:
    """A prefetcher on a loop thread, and the one hop from there to blocking code.

    Deliveries cross in a `queue.SimpleQueue`, all that became ready in one turn of the loop at once: a consumer that
    waits is woken, and takes the GIL from the loop, once for all of them. (A coroutine per item costs more than 200 µs,
    which is what SPDL measured for `run_coroutine_threadsafe`.) Credits go back in batches, too.

    `take` and `give_back` may be called from several threads of the process that made it; whoever needs the order among
    the items of several threads lets one of them take at a time.
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
        recorder: Recorder | None = None,
        tracks: ObjectTracks | None = None,
    ) -> None:
        """Start fetching.

        Args:
            loop_thread: where the store lives.
            store: where the objects are.
            jobs: what to fetch, in the order of use; drawn from in the loop's thread.
            options: how much at once.
            counters: where it counts.
            is_complete: False: `extend` may add jobs, and nothing ends before `complete`.
            recorder: of a trace, for how long `take` has waited. None: there is none.
            tracks: of a trace, for the objects. None: there is none.
        """
        self._ready: queue.SimpleQueue[list[Delivery | _End]] = queue.SimpleQueue()
        self._taken: deque[Delivery | _End] = deque()
        self._returned: deque[Credit] = deque()
        self._is_waking = False
        self._has_begun = False
        self._loop_thread = loop_thread
        self._counters = counters
        self._recorder = recorder
        self._agenda = Agenda(jobs, is_complete=is_complete)
        # It knows the queue alone: a feed that the loop refers to would never be collected.
        handover = _Handover(self._ready)
        prefetcher = Prefetcher(
            store,
            self._agenda,
            options=options,
            deliver=handover.add,
            counters=counters,
            is_waited_for=handover.is_empty,
            tracks=tracks,
        )
        self.window = prefetcher.window
        self._running = loop_thread.start(_run(prefetcher, handover))
        # A feed that is dropped rather than closed must not go on fetching.
        self._finalizer = weakref.finalize(self, _cancel, os.getpid(), self._running)

    def take(self) -> Delivery | None:
        """The next delivery in order, or None when there is no more. Blocks; KeyboardInterrupt gets through.

        Raises what broke the engine: a bug, or a `ConfigError` of the store. After the end it goes on returning None
        (or raising) at every call and in every thread.
        """
        item = self._next()
        if isinstance(item, Delivery):
            return item
        self._ready.put([item])
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
        """Return a delivery's credit, so that more is fetched.

        It may lie here until a few have come together, at most an eighth of what the window holds, or until nothing is
        ready: waking the loop costs more than the rest of it. Whoever is about to wait for a delivery wakes it first.
        """
        self._returned.append(credit)
        are_many = len(self._returned) >= min(_FEW_CREDITS, self.window.held_items // 8)
        if are_many or (not self._taken and self._ready.empty()):
            self._wake()

    def close(self) -> None:
        """Cancel all GETs, take all credits back and wake whoever blocks in `take`. Idempotent, from any thread."""
        self._finalizer()
        self._loop_thread.call(self.window.close)
        self._ready.put([_End()])

    def _next(self) -> Delivery | _End:
        started_s = 0.0
        while True:
            try:
                return self._taken.popleft()
            except IndexError:
                pass
            if self._returned:
                self._wake()
            started_s = started_s or time.perf_counter()
            try:
                items = self._ready.get(timeout=WAKE_S)
            except queue.Empty:
                # Only to let a Ctrl-C through: see WAKE_S.
                continue
            self._note_wait(items[0], time.perf_counter() - started_s)
            if self._recorder is not None:
                self._recorder.wait("waits for an object", started_s)
            self._taken.extend(items)

    def _note_wait(self, first: Delivery | _End, seconds: float) -> None:
        if not self._has_begun:
            # That is no single object's.
            self._counters.starved_s += seconds
        elif isinstance(first, Delivery):
            self._counters.note_starved(seconds, first.outcome.ref.uri)
        self._has_begun = True

    def _wake(self) -> None:
        # Checked after the append, and reset before the draining: an append is never overlooked.
        if not self._is_waking:
            self._is_waking = True
            self._loop_thread.call(self._drain)

    def _drain(self) -> None:
        self._is_waking = False
        while self._returned:
            self._returned.popleft().release()


class _Handover:
    """Collects what becomes ready in one turn of the loop. Lives in the loop's thread."""

    __slots__ = ("_fresh", "_loop", "_ready")

    def __init__(self, ready: queue.SimpleQueue[list[Delivery | _End]]) -> None:
        self._ready = ready
        self._fresh: list[Delivery | _End] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, item: Delivery | _End) -> None:
        """Hand over at the end of this turn."""
        if not self._fresh:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self.flush)
        self._fresh.append(item)

    def is_empty(self) -> bool:
        """Whether the consumer has fetched all that was handed over; it may still work on some of it."""
        return not self._fresh and self._ready.empty()

    def flush(self) -> None:
        """Hand over now."""
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self._ready.put(fresh)


def _cancel(pid: int, running: concurrent.futures.Future[None]) -> None:
    # In a forked child somebody may have held its lock when that was made, and nobody would ever give it back.
    if os.getpid() == pid:
        running.cancel()


async def _run(prefetcher: Prefetcher, handover: _Handover) -> None:
    end = _End()
    try:
        await prefetcher.run()
    except BaseExceptionGroup as group:
        end = _End(_only(group))
    except asyncio.CancelledError:
        # Tasks have taken credits up to now, and nobody takes what they were for.
        prefetcher.window.close()
        raise
    finally:
        handover.add(end)
        # The loop may not turn once more.
        handover.flush()


def _only(error: BaseException) -> BaseException:
    """The first exception of a group: the others are mostly its echoes, and a caller catches one type, not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
