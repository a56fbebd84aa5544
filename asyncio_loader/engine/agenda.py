"""What is to be fetched, in the order of use; more may be added while it is worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from asyncio_loader.records import ObjectRef, Slot

__all__ = ["Agenda", "Job"]


class Job(NamedTuple):
    """One object to fetch, and the place in the epoch it is for."""

    ref: ObjectRef
    slot: Slot
    epoch: int = 0


class Agenda:
    """Jobs, numbered from 0, for any number of takers.

    Sequences of jobs are read lazily, one after the other, so that an epoch of any length costs nothing before its
    jobs are taken. Until it is complete, takers wait for more.

    Lives in one event loop.
    """

    def __init__(self, jobs: Iterable[Job] = (), *, is_complete: bool = True) -> None:
        """Args: jobs: the first ones. is_complete: nothing will be added."""
        self._parts: deque[Iterator[Job]] = deque([iter(jobs)])
        self._count = 0
        self._is_complete = is_complete
        self._changed = asyncio.Event()

    def add(self, jobs: Iterable[Job]) -> None:
        """Append jobs."""
        self._parts.append(iter(jobs))
        self._changed.set()

    def complete(self) -> None:
        """Nothing more will be added: takers that find nothing are done."""
        self._is_complete = True
        self._changed.set()

    async def take(self) -> tuple[int, Job] | None:
        """The next job and its number; None when there will be no more.

        Between its number and the return there is no switch of tasks: whoever goes on without waiting asks for its
        credit in the order of the numbers. Cancelling it takes no job.
        """
        while (entry := self.take_now()) is None:
            if self._is_complete:
                return None
            self._changed.clear()
            await self._changed.wait()
        return entry

    def take_now(self) -> tuple[int, Job] | None:
        """As `take`, where there is a job now; None: there is none yet, or no more."""
        job = self._draw()
        if job is None:
            return None
        self._count += 1
        return self._count - 1, job

    def _draw(self) -> Job | None:
        while self._parts:
            job = next(self._parts[0], None)
            if job is not None:
                return job
            self._parts.popleft()
        return None
