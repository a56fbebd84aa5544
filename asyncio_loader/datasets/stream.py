"""A live iteration over the samples of an epoch, in the process and for the consumer that asked for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from asyncio_loader.datasets.failures import FailureLog, FailureRules
from asyncio_loader.datasets.recipe import Made, Recipe, is_rejected
from asyncio_loader.datasets.source import SampleSource
from asyncio_loader.datasets.tally import SharedTally
from asyncio_loader.errors import LoaderError
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Failed
from asyncio_loader.stats import Counters

__all__ = ["Part", "Progress", "SampleStream"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does of one epoch.

    Attributes:
        plan: the order of the epoch, from where it begins.
        shard: which of its samples.
        skip: samples of the shard that were consumed before.
        recipe: what they are made by.
        identity: equal for two parts exactly if they stand for the same samples, made in the same way.
        rules: how many samples may fail, and where those that did are written down.
        tally: where the workers of a DataLoader count failures together; None: there are none.
    """

    plan: EpochPlan
    shard: Shard
    skip: int
    recipe: Recipe
    identity: tuple[Any, ...]
    rules: FailureRules = field(default_factory=FailureRules)
    tally: SharedTally | None = None

    def open_log(self) -> FailureLog:
        """An empty log of its failures."""
        return FailureLog(
            self.rules,
            on_error=self.recipe.on_error,
            epoch=self.plan.epoch,
            shard=self.shard,
            tally=self.tally,
        )


class Progress:
    """How far a consumer has got with a part. Outlives the stream, for whoever asks later.

    Attributes:
        part: what it goes through.
        passed: samples of the shard that the consumer got, or that were left out by ``on_error="skip"``.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.passed = part.skip
        self._count = part.plan.count(part.shard)

    @property
    def left(self) -> int:
        """Samples of the part that the consumer has still to get."""
        return self._count - self.passed

    @property
    def is_over(self) -> bool:
        """Whether nothing of the part is left."""
        return self.passed >= self._count

    @property
    def next_step(self) -> int:
        """The first step of the rank, from where the plan begins, that is not wholly consumed by this shard."""
        plan, shard = self.part.plan, self.part.shard
        if self.is_over:
            return plan.steps_left
        return shard.worker + shard.workers * (self.passed // plan.batch_size)

    @property
    def consumed(self) -> int:
        """Positions of the epoch, over all ranks, that are consumed when every rank and worker got as far as this one.

        Exact at the borders of batches. Within a batch: exact on one rank without workers, else where it began.
        """
        plan = self.part.plan
        if plan.ranks == self.part.shard.workers == 1 and plan.unit is None and not self.is_over:
            return plan.start + self.passed
        return plan.consumed_after(min(self.next_step, plan.steps_left))


class SampleStream(Iterator[Any]):
    """Samples of one epoch in order.

    Not thread-safe, and only for the process that made it. `close` is idempotent, and happens by itself at the end of
    the epoch and upon an error.

    Attributes:
        progress: how far it is.
        wanted: samples, from the next one on, without which the consumer cannot do anything: it is woken for all of
            them at once. To be set before each one that is asked for.
    """

    def __init__(
        self,
        source: SampleSource,
        progress: Progress,
        counters: Counters,
        *,
        failures: FailureLog,
        on_end: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        """Go on with what `source` has begun.

        Args:
            source: gives the samples of the part, next.
            progress: what to go through, and how far it is.
            counters: where it counts.
            failures: where it notes what failed; it is closed when the part is through, and upon `close`.
            on_end: called once, when the consumer asks for more than all of the part.
            on_close: called when it ends earlier; ends the source.
        """
        self.progress = progress
        self.wanted = 1
        self._recipe = progress.part.recipe
        self._pid = os.getpid()
        self._source = source
        self._counters = counters
        self._failures = failures
        self._on_end = on_end
        self._on_close = on_close
        self._elapsed_before = counters.elapsed_s
        self._wait_before = counters.wait_s
        self._has_begun = False
        self._started: float | None = None
        self._is_open = True

    def __next__(self) -> Any:
        if os.getpid() != self._pid:
            raise LoaderError(
                f"this iterator was made in process {self._pid} and cannot be used in process {os.getpid()}: "
                "call iter() on the dataset or Loader in the process that consumes it"
            )
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
            raise StopIteration
        if not self._has_begun:
            self._has_begun = True
            self._counters.startup_s += self._counters.wait_s - self._wait_before
        self._counters.samples += 1
        return made.value

    @property
    def consumed(self) -> int:
        """See `Progress`."""
        return self.progress.consumed

    @property
    def is_ready(self) -> bool:
        """Whether `next` returns, ends or raises without waiting for data, unless it has to fetch a substitute."""
        return not self._is_open or self.progress.is_over or self._source.is_ready

    def close(self) -> None:
        """Cancel all GETs, end the threads, give everything back. In a forked child it does nothing."""
        if self._is_open:
            self._is_open = False
            self._failures.end(self._seen)
            self._on_close()

    @property
    def _seen(self) -> int:
        return self.progress.passed - self.progress.part.skip

    def _note(self, failed: Failed) -> None:
        self._counters.failed += 1
        self._failures.note(failed, self._seen + 1)

    def _pass_on(self) -> None:
        self.progress.passed += 1
        if self.progress.is_over:
            # Now: whoever counts steps does not ask for one more than there are.
            self._failures.end(self._seen)

    def _next_made(self) -> Made | None:
        while self._is_open and not self.progress.is_over:
            result = self._source.take(min(self.wanted, self.progress.left))
            if result is None:
                if not self._source.is_closed:
                    raise LoaderError(
                        f"{self.progress.left} samples of the epoch are missing: what fetches them has ended before"
                    )
                self._is_open = False
                return None
            if isinstance(result, Failed) and is_rejected(result):
                self._counters.rejected += 1
            made = self._recipe.settle(result, self._source, self._note)
            self._pass_on()
            if made is not None:
                return made
        if self._is_open:
            self._is_open = False
            self._on_end()
        return None
