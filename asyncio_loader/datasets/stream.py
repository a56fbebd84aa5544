"""A live iteration over samples, in the process and for the consumer that asked for it."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from asyncio_loader.bridge.feed import Feed
from asyncio_loader.bridge.ordered_map import OrderedThreadMap
from asyncio_loader.datasets.recipe import Made, Recipe
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.size import size_bytes
from asyncio_loader.engine.prefetch import Delivery, Job
from asyncio_loader.engine.window import Credit
from asyncio_loader.errors import LoaderError
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Buffer, Failed, Fetched
from asyncio_loader.stats import Counters

__all__ = ["SampleStream"]

T = TypeVar("T")


class SampleStream(Iterator[Any]):
    """Samples of one epoch in order, fetched ahead; transformed on `threads`, or with 0 in the consumer's own thread.

    Not thread-safe, and only for the process that made it. `close` is idempotent, ends at once what is in flight,
    and happens by itself at the end of the epoch, upon an error, at garbage collection and at interpreter exit.
    """

    def __init__(
        self,
        session: Session,
        jobs: Iterable[Job],
        *,
        recipe: Recipe,
        options: FetchOptions,
        counters: Counters,
        threads: int = 0,
        owns_session: bool = False,
    ) -> None:
        """Start fetching. `owns_session`: close the session with the stream."""
        self._pid = os.getpid()
        self._session = session
        self._recipe = recipe
        self._counters = counters
        self._credit: Credit | None = None
        self._elapsed_before = counters.elapsed_s
        self._started: float | None = None
        self._feed = Feed(session.loop_thread, session.store, jobs, options=options, counters=counters)
        self._pool = _start_pool(self._feed, recipe, options, threads) if threads else None
        self._close = weakref.finalize(
            self, _shut, self._pid, self._feed, self._pool, session.close if owns_session else None
        )

    def __next__(self) -> Any:
        self._check_process()
        if self._started is None:
            self._started = time.perf_counter()
        try:
            made = self._next_made()
        except BaseException:
            self.close()
            raise
        finally:
            self._counters.elapsed_s = self._elapsed_before + time.perf_counter() - self._started
        if made is None:
            self.close()
            raise StopIteration
        self._counters.samples += 1
        return made.value

    def close(self) -> None:
        """Cancel all GETs, end the threads, give everything back. In a forked child it does nothing."""
        self._close()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise LoaderError(
                f"this iterator was made in process {self._pid} and cannot be used in process {os.getpid()}: "
                "call iter() on the dataset or Loader in the process that consumes it"
            )

    def _next_made(self) -> Made | None:
        while True:
            result = self._next_result()
            if result is None:
                return None
            if isinstance(result, Failed):
                self._counters.failed += 1
            made = self._recipe.settle(result, self._fetch_now)
            if made is not None:
                return made

    def _next_result(self) -> Made | Failed | None:
        if not self._close.alive:
            return None
        if self._pool is not None:
            return self._timed(self._pool.get)
        if self._credit is not None:
            self._feed.give_back(self._credit)
            self._credit = None
        delivery = self._timed(self._feed.take)
        if delivery is None:
            return None
        # The consumer may hold the bytes themselves until it asks for the next sample.
        self._credit = delivery.credit
        return self._recipe.make(delivery.outcome)

    def _fetch_now(self, uri: str) -> tuple[Buffer, int]:
        return self._timed(lambda: self._session.fetch(uri, self._counters))

    def _timed(self, wait: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return wait()
        finally:
            self._counters.wait_s += time.perf_counter() - started


def _start_pool(
    feed: Feed, recipe: Recipe, options: FetchOptions, threads: int
) -> OrderedThreadMap[Delivery, Made | Failed]:
    def apply(delivery: Delivery) -> tuple[Made | Failed, int]:
        try:
            made = recipe.make(delivery.outcome)
            # Types that `size_bytes` does not know weigh what was fetched.
            least = len(delivery.outcome.data) if isinstance(delivery.outcome, Fetched) else 0
            return made, max(least, size_bytes(made.value)) if isinstance(made, Made) else 0
        finally:
            feed.give_back(delivery.credit)

    return OrderedThreadMap(
        feed.take,
        apply,
        threads=threads,
        budget_bytes=options.decoded_bytes,
        budget_items=options.window_items,
    )


def _shut(
    pid: int,
    feed: Feed,
    pool: OrderedThreadMap[Delivery, Made | Failed] | None,
    close_session: Callable[[], None] | None,
) -> None:
    if os.getpid() != pid:
        return
    feed.close()
    if pool is not None:
        pool.close()
    if close_session is not None:
        close_session()
