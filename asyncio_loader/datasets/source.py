"""One engine that goes through samples, epoch after epoch: fetched ahead, transformed, in order."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias, TypeVar

from asyncio_loader.bridge.feed import Feed
from asyncio_loader.bridge.ordered_map import OrderedThreadMap
from asyncio_loader.datasets.errands import Errands
from asyncio_loader.datasets.recipe import Made, Recipe
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.size import size_bytes
from asyncio_loader.datasets.source_trace import SourceTrace
from asyncio_loader.datasets.stacks import Seat, StackPlan
from asyncio_loader.engine.agenda import Job
from asyncio_loader.engine.prefetch import Delivery
from asyncio_loader.engine.window import Credit
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Buffer, Failed, Fetched
from asyncio_loader.stats import Counters
from asyncio_loader.transforms.late import leaving_images

__all__ = ["SampleSource"]

T = TypeVar("T")
_Seated: TypeAlias = tuple[Delivery, Seat | None]


class SampleSource:
    """Samples of the jobs it is given, in their order: transformed on `threads`, or with 0 in the consumer's own.

    One window bounds what all of it holds, whichever epoch it is of. Not thread-safe, and only for the process that
    made it. It ends at `close`, at garbage collection and at interpreter exit; the session stays open.
    """

    def __init__(
        self,
        session: Session,
        jobs: Iterable[Job],
        *,
        recipe: Recipe,
        counters: Counters,
        threads: int = 0,
        is_complete: bool = True,
        leaves_images: bool = False,
        stacks: StackPlan | None = None,
    ) -> None:
        """Start fetching.

        Args:
            session: connections.
            jobs: what to go through.
            recipe: what samples are made by.
            counters: where it counts.
            threads: that transform.
            is_complete: no `extend` will follow.
            leaves_images: without threads: images may be left to who makes the batch, see `transforms.late`.
            stacks: with threads: they leave images so, and write the stacks of this plan. None: they write each image.
        """
        self._recipe = recipe
        self._counters = counters
        self._leaves_images = leaves_images
        self._credit: Credit | None = None
        self._trace = trace = None if session.writer is None else SourceTrace(session.writer)
        self._feed = Feed(
            session.loop_thread,
            session.store,
            jobs,
            options=session.options,
            counters=counters,
            is_complete=is_complete,
            recorder=None if trace is None else trace.recorder,
            tracks=None if trace is None else trace.tracks,
        )
        self._errands = Errands(session, counters)
        self._pool = None
        if threads:
            self._pool = _start_pool(
                self._feed, recipe, self._errands, session.options, threads, counters, trace, stacks
            )
        self._close = weakref.finalize(self, _shut, os.getpid(), self._feed, self._errands, self._pool, trace)

    def extend(self, jobs: Iterable[Job]) -> None:
        """Append jobs; they are fetched as soon as there is room, while the earlier ones are still consumed."""
        self._feed.extend(jobs)

    def complete(self) -> None:
        """No `extend` will follow."""
        self._feed.complete()

    def take(self, wanted: int = 1) -> Made | Failed | None:
        """The next sample, or why there is none; None after the last one of a complete source, and once closed.

        Without threads the bytes of a sample count as held until the next one is taken, or until `rest`.

        Args:
            wanted: see `OrderedThreadMap.get`.
        """
        if self._trace is None:
            return self._take(wanted)
        try:
            return self._take(wanted)
        finally:
            self._trace.deliver()

    def _take(self, wanted: int) -> Made | Failed | None:
        if not self._close.alive:
            return None
        if self._pool is not None:
            return self._timed_take(partial(self._pool.get, wanted))
        self.rest()
        delivery = self._timed_take(self._feed.take)
        if delivery is None:
            return None
        # The consumer may hold the bytes themselves until it asks for the next sample.
        self._credit = delivery.credit
        started_s = time.perf_counter()
        try:
            with leaving_images(self._leaves_images):
                if self._trace is not None:
                    return self._trace.make(self._recipe, delivery, self)
                return self._recipe.make(delivery.outcome, self)
        finally:
            self._counters.note_transform(time.perf_counter() - started_s)

    @property
    def is_ready(self) -> bool:
        """Whether `take` returns or raises at once; without threads it makes the sample itself, and never does."""
        return not self._close.alive or (self._pool is not None and self._pool.is_ready)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, in any thread."""
        return not self._close.alive

    def rest(self) -> None:
        """The consumer is done with the last sample it took."""
        if self._credit is not None:
            self._feed.give_back(self._credit)
            self._credit = None

    def fetch(self, uri: str) -> tuple[Buffer, int]:
        """One object now, outside of the order: its bytes and the number of GETs. Blocks; raises FetchError."""
        return self._timed(lambda: self._errands.fetch(uri))

    def refetch(self, uri: str) -> tuple[Buffer, int]:
        """As `fetch`, of one that came already and could not be decoded."""
        return self._timed(lambda: self._errands.refetch(uri))

    def close(self) -> None:
        """Cancel all GETs, end the threads, give everything back. Idempotent. In a forked child it does nothing."""
        self._close()

    def _timed_take(self, take: Callable[[], T]) -> T:
        started_s = time.perf_counter()
        try:
            return take()
        finally:
            self._counters.note_wait(time.perf_counter() - started_s)
            if self._trace is not None:
                self._trace.waited(started_s)

    def _timed(self, wait: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return wait()
        finally:
            self._counters.wait_s += time.perf_counter() - started


def _start_pool(
    feed: Feed,
    recipe: Recipe,
    errands: Errands,
    options: FetchOptions,
    threads: int,
    counters: Counters,
    trace: SourceTrace | None,
    stacks: StackPlan | None,
) -> OrderedThreadMap[_Seated, Made | Failed]:
    def take() -> _Seated | None:
        delivery = feed.take()
        if stacks is None:
            return None if delivery is None else (delivery, None)
        if delivery is None:
            stacks.end()
            return None
        return delivery, stacks.next(delivery.outcome.epoch)

    def make(delivery: Delivery) -> Made | Failed:
        try:
            if trace is None:
                return recipe.make(delivery.outcome, errands)
            return trace.make(recipe, delivery, errands)
        finally:
            feed.give_back(delivery.credit)

    def apply(seated: _Seated) -> tuple[Made | Failed, int]:
        delivery, seat = seated
        with leaving_images(seat is not None):
            made = make(delivery)
        value = made.value if isinstance(made, Made) else None
        started_s = time.perf_counter()
        stack_bytes = 0 if seat is None else seat.bring(value)
        if trace is not None and stack_bytes:
            trace.stacked(started_s)
        # Types that `size_bytes` does not know weigh what was fetched.
        least = len(delivery.outcome.data) if isinstance(delivery.outcome, Fetched) else 0
        return made, max(least, stack_bytes + size_bytes(value)) if isinstance(made, Made) else 0

    return OrderedThreadMap(
        take,
        apply,
        threads=threads,
        budget_bytes=options.decoded_bytes,
        budget_items=options.window_items,
        counters=counters,
        recorder=None if trace is None else trace.recorder,
    )


def _shut(
    pid: int,
    feed: Feed,
    errands: Errands,
    pool: OrderedThreadMap[_Seated, Made | Failed] | None,
    trace: SourceTrace | None,
) -> None:
    if os.getpid() != pid:
        return
    feed.close()
    # A thread of the pool may wait for one, for as long as a retry may take.
    errands.close()
    if pool is not None:
        pool.close()
    if trace is not None:
        trace.close()
