"""Refs in, outcomes out: hundreds of GETs in flight, in the order of next use, delivered in that order."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.fetch import Getting
from asyncio_loader.engine.frames import without_frames
from asyncio_loader.engine.hedge import Hedging
from asyncio_loader.engine.race import HedgedGet
from asyncio_loader.engine.recorded import RecordedGet, RecordedHedgedGet
from asyncio_loader.engine.reorder import ReorderBuffer
from asyncio_loader.engine.traffic import Traffic
from asyncio_loader.engine.window import Credit, SizeEstimate, Window
from asyncio_loader.errors import FetchError, LoaderError
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Failed, Fetched, Outcome
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import ObjectStore
from asyncio_loader.stores.retry import RetryLog, retry_calls
from asyncio_loader.trace import ObjectRecord, ObjectTracks

__all__ = ["Delivery", "Prefetcher"]

# The longest pause after a refusal where a gate keeps the pace: enough to spread those that were refused together.
_GATED_PAUSE_S = 0.025


class Delivery(NamedTuple):
    """An outcome, and the credit that whoever consumes it gives back when its bytes are no longer needed."""

    outcome: Outcome
    credit: Credit


class Prefetcher:
    """Fetches jobs ahead of the consumer and delivers their outcomes in the order of the jobs.

    `max_in_flight` tasks, or as many as pay where that is None, take the jobs one after the other; each takes a credit
    of the window before its GET, so that what is under way or waits stays within `window_bytes` and `window_items`.
    Expected failures are outcomes; anything else cancels all tasks and comes out of `run` with the object's URI as a
    note.

    Lives in one event loop.

    Attributes:
        window: the credits, for tests and statistics.
    """

    def __init__(
        self,
        store: ObjectStore,
        agenda: Agenda,
        *,
        options: FetchOptions,
        deliver: Callable[[Delivery], object],
        counters: Counters,
        is_waited_for: Callable[[], bool] = lambda: True,
        estimate: SizeEstimate | None = None,
        tracks: ObjectTracks | None = None,
    ) -> None:
        """Describe the work.

        Args:
            store: where the objects are.
            agenda: what to fetch, in the order of use.
            options: how much at once.
            deliver: called in the loop's thread, once per job, in the jobs' order; must not block.
            counters: where it counts.
            is_waited_for: whether the consumer waits for the next delivery, as far as the loop knows.
            estimate: of sizes that nobody knows. None: a new one.
            tracks: where it is recorded what becomes of each object. None: nowhere.
        """
        self._store = store
        self._agenda = agenda
        self._options = options
        self._ready: ReorderBuffer[Delivery] = ReorderBuffer(deliver if tracks is None else _told(deliver, tracks))
        self._tracks = tracks
        self._counters = counters
        self._estimate = estimate or SizeEstimate()
        self._is_waited_for = is_waited_for
        self._retry_log = RetryLog()
        self._retry = options.retry
        self._limit = self._workers = self._idle = 0
        self._is_over = False
        self.window = Window(options.window_bytes, options.window_items)
        # What earlier prefetchers have counted there.
        self._full_before_s = counters.window_full_s
        counters.window_bytes = options.window_bytes
        counters.most_in_flight = options.most_in_flight
        counters.in_flight = counters.held_bytes = 0

    async def run(self) -> None:
        """Fetch all jobs, until the agenda is complete.

        Cancelling it cancels every GET; what was not delivered by then is dropped. To be called once.
        """
        options = self._options
        most = options.most_in_flight
        if options.max_in_flight is None:
            # Who was refused comes back soon and queues at the gate, which knows the pace, by the order of use.
            pause_s = min(options.retry.throttle_backoff_max_s, _GATED_PAUSE_S)
            self._retry = dataclasses.replace(options.retry, throttle_backoff_max_s=pause_s)
        traffic = Traffic(most, self._is_bound) if options.max_in_flight is None else None
        self._limit = self._counters.level = most if traffic is None else traffic.level.limit
        hedging = Hedging(
            options.hedge,
            options.retry.slow_attempt_s,
            counters=self._counters,
            next_order=self._ready.next_order,
            is_waited_for=self._is_waited_for,
            traffic=traffic,
        )
        try:
            async with asyncio.TaskGroup() as group:
                hedging.open(group.create_task)
                self._start_workers(group, hedging)
        except asyncio.CancelledError as error:
            # A task group's frame keeps the error that passes through it, and the error's traceback would keep that
            # frame: only a collector would end that, and free what has come and was not delivered.
            error.__traceback__ = None
            raise
        finally:
            hedging.close()
            if traffic is not None:
                traffic.close()

    def _start_workers(self, group: asyncio.TaskGroup, hedging: Hedging) -> None:
        while self._workers < self._limit and not self._is_over:
            self._workers += 1
            group.create_task(self._work(group, hedging))

    def _is_bound(self) -> bool:
        """Whether more GETs would be under way if there were more workers."""
        return self._workers - self._idle >= self._limit and not self.window.is_full

    async def _work(self, group: asyncio.TaskGroup, hedging: Hedging) -> None:
        task = asyncio.current_task()
        traffic = hedging.traffic
        while self._workers <= self._limit and (entry := self._draw() or await self._wait_for_job()):
            order, job = entry
            if task is not None:
                task.set_name(job.ref.uri)
            try:
                await self._handle(order, job, hedging)
            except asyncio.CancelledError as error:
                if task is None or task.cancelling():
                    raise
                # A task group takes a task that is cancelled by nobody for one that has done its work.
                raise LoaderError(f"{job.ref.uri}: its GET was cancelled, and nobody has asked for that") from error
            except Exception as error:
                error.add_note(f"while fetching {job.ref.uri} (sample {job.slot.index})")
                raise
            if traffic is not None:
                self._adapt(traffic, group, hedging)
        self._workers -= 1

    def _draw(self) -> tuple[int, Job] | None:
        started_s = time.perf_counter()
        entry = self._agenda.take_now()
        self._counters.order_s += time.perf_counter() - started_s
        return entry

    def _adapt(self, traffic: Traffic, group: asyncio.TaskGroup, hedging: Hedging) -> None:
        self._counters.pace = traffic.pace.rate if traffic.pace.is_on else 0.0
        if traffic.level.limit != self._limit:
            self._limit = self._counters.level = traffic.level.limit
            self._start_workers(group, hedging)

    async def _wait_for_job(self) -> tuple[int, Job] | None:
        self._idle += 1
        entry = await self._agenda.take()
        self._idle -= 1
        self._is_over = self._is_over or entry is None
        return entry

    async def _handle(self, order: int, job: Job, hedging: Hedging) -> None:
        known = job.ref.size_bytes
        expected = self._estimate.size_bytes if known is None else known
        record = None if self._tracks is None else _draw(self._tracks, order, job)
        # Without a coroutine, where there is room: this is done for every object.
        credit = self.window.reserve_now(order, expected) or await self.window.reserve(order, expected)
        uri = job.ref.uri
        if record is not None:
            getting = self._recorded(record, credit, hedging, order, expected)
        elif _is_here(uri):
            getting = Getting(self._store, uri, credit)
        else:
            getting = HedgedGet(hedging, self._store, uri, credit, order=order, size_bytes=expected)
        outcome = await self._fetch(job, getting)
        size = len(outcome.data) if isinstance(outcome, Fetched) else 0
        if size != credit.size_bytes:
            # Nothing came, or the store does not tell sizes beforehand.
            await credit.resize(size)
        self._count_window()
        if known is None and size:
            self._estimate.learn(size)
        if record is not None:
            record.come(size, outcome.error if isinstance(outcome, Failed) else None)
        self._ready.put(order, Delivery(outcome, credit))

    def _recorded(self, record: ObjectRecord, credit: Credit, hedging: Hedging, order: int, size_bytes: int) -> Getting:
        record.grant()
        if _is_here(record.uri):
            return RecordedGet(self._store, record.uri, credit, record)
        return RecordedHedgedGet(
            hedging, self._store, record.uri, credit, order=order, size_bytes=size_bytes, record=record
        )

    def _count_window(self) -> None:
        counters, window = self._counters, self.window
        counters.peak_window_bytes = max(counters.peak_window_bytes, window.peak_bytes)
        counters.held_bytes = window.held_bytes
        counters.window_full_s = self._full_before_s + window.full_s

    async def _fetch(self, job: Job, getting: Getting) -> Outcome:
        slot = job.slot
        counters = self._counters
        counters.in_flight += 1
        started_s = time.perf_counter()
        try:
            data, attempts = await retry_calls(
                getting.attempt,
                job.ref.uri,
                retry=self._retry,
                rested_s=getting.count_rest,
                on_attempt=counters.count_get,
                on_retry=self._note_retry,
            )
        except FetchError as error:
            counters.note_fetch(time.perf_counter() - started_s)
            counters.count_error(error)
            return Failed(
                job.ref, without_frames(error), slot.position, slot.index, job.epoch, slot.is_padding, error.attempts
            )
        finally:
            counters.in_flight -= 1
        # One that is cancelled has taken no time that anybody waited for.
        counters.note_fetch(time.perf_counter() - started_s)
        counters.bytes_fetched += len(data)
        return Fetched(job.ref, data, slot.position, slot.index, job.epoch, slot.is_padding, attempts)

    def _note_retry(self, error: FetchError, attempt: int, pause_s: float) -> None:
        self._counters.count_error(error)
        self._retry_log(error, attempt, pause_s)


def _draw(tracks: ObjectTracks, order: int, job: Job) -> ObjectRecord | None:
    slot = job.slot
    return tracks.draw(order, job.ref.uri, epoch=job.epoch, position=slot.position, index=slot.index)


def _told(deliver: Callable[[Delivery], object], tracks: ObjectTracks) -> Callable[[Delivery], object]:
    def release(delivery: Delivery) -> None:
        tracks.release(delivery.credit.order)
        deliver(delivery)

    return release


def _is_here(uri: str) -> bool:
    """Whether it lies in a file or in memory, where asking twice makes nothing faster."""
    return "://" not in uri or uri.startswith(("file://", "memory://"))
