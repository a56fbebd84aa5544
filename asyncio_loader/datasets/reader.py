"""One process's part of epoch after epoch, with the next one's first objects fetched while this one drains."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from torch.utils.data import get_worker_info

from asyncio_loader.bridge.native_threads import OpenCvShare
from asyncio_loader.datasets.failures import FailureLog
from asyncio_loader.datasets.hand_over import recycle_tensors
from asyncio_loader.datasets.recipe import as_ref
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.source import SampleSource
from asyncio_loader.datasets.stacks import StackPlan
from asyncio_loader.datasets.stream import Part, Progress, SampleStream
from asyncio_loader.engine.agenda import Job
from asyncio_loader.stats import Counters
from asyncio_loader.trace import Recorder

__all__ = ["EpochReader"]

_LOG = logging.getLogger(__name__)


class EpochReader:
    """Reads one part after the other over one session: connections and threads stay, and so does what was fetched.

    What comes next is the caller's guess. Where it was wrong, what was fetched for it is thrown away, and no guess is
    taken any more. One stream at a time; not thread-safe.
    """

    def __init__(
        self,
        session: Session,
        counters: Counters,
        *,
        threads: int = 0,
        owns_session: bool = False,
        stacks: Callable[[], StackPlan] | None = None,
    ) -> None:
        """Begin with nothing.

        Args:
            session: connections.
            counters: where it counts.
            threads: that transform; 0: the consumer's own.
            owns_session: it ends with the last stream.
            stacks: the plan of the stacks that the threads write. None: they write none.
        """
        self._session = session
        self._counters = counters
        self._threads = threads
        self._stacks = stacks
        self.owns_session = owns_session
        self._source: SampleSource | None = None
        self._progress: Progress | None = None
        self._expected: Part | None = None
        self._failures = FailureLog()
        self._was_wrong = False
        worker = get_worker_info()
        # There a batch is made in the thread that makes its samples: nothing is lost where it is not one of ours.
        self._leaves_images = worker is not None
        if worker is not None:
            # For as long as the process lives, like the one thread that torch leaves itself in a worker.
            OpenCvShare(worker.num_workers)
            recycle_tensors()

    def read(self, part: Part, upcoming: Part | None = None) -> SampleStream:
        """The samples of a part. Ends a stream that is still open.

        Args:
            part: what to go through.
            upcoming: what will be read after it, probably. Its objects are fetched, and its samples made, when all of
                `part` are on their way, as far as the window and the budget of decoded bytes allow. None: nothing.
        """
        source = self._continued(part)
        expected = None if self._was_wrong else upcoming
        if source is None:
            jobs = _jobs(part) if expected is None else chain(_jobs(part), _jobs(expected))
            source = SampleSource(
                self._session,
                jobs,
                recipe=part.recipe,
                counters=self._counters,
                threads=self._threads,
                is_complete=expected is None,
                leaves_images=self._leaves_images,
                stacks=None if self._stacks is None else self._stacks(),
            )
        elif expected is None:
            source.complete()
        else:
            source.extend(_jobs(expected))
        progress = Progress(part)
        self._source, self._progress, self._expected = source, progress, expected
        # A stream that was dropped in mid-epoch has not said what failed.
        self._failures.close()
        self._failures = part.open_log()
        return SampleStream(
            source,
            progress,
            self._counters,
            failures=self._failures,
            on_end=partial(self._reach_border, progress),
            on_close=partial(self._abandon, progress),
        )

    @property
    def recorder(self) -> Recorder | None:
        """What collects for the trace; None: there is none."""
        return self._session.recorder

    def close(self) -> None:
        """End all, the session included. Idempotent."""
        self._drop()
        self._session.close()

    def _continued(self, part: Part) -> SampleSource | None:
        """The source that has begun with this part already; any other is ended."""
        progress, expected = self._progress, self._expected
        if progress is not None and progress.is_over:
            # Whoever counts steps does not ask for one more than there are.
            self._reach_border(progress)
            if expected is not None and expected.identity == part.identity:
                return self._source
            if expected is not None:
                self._was_wrong = True
                _LOG.debug("not the epoch that was expected: what was fetched ahead of it is dropped")
        if self._source is not None:
            self._source.close()
        return None

    # A stream of before may still be held by somebody; it has no say in what is open now.

    def _reach_border(self, progress: Progress) -> None:
        if progress is not self._progress or self._source is None:
            return
        self._source.rest()
        if self._expected is None:
            self._drop()

    def _abandon(self, progress: Progress) -> None:
        if progress is self._progress:
            self._drop()

    def _drop(self) -> None:
        source, self._source, self._expected = self._source, None, None
        self._failures.close()
        if source is not None:
            source.close()
        if self.owns_session:
            self._session.close()


def _jobs(part: Part) -> Iterator[Job]:
    refs = part.recipe.refs
    for slot in part.plan.slots(part.shard, skip=part.skip):
        yield Job(as_ref(refs[slot.index]), slot, part.plan.epoch)
