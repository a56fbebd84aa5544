"""Samples become batches, which set out for the device a little before they are used."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from asyncio_loader.datasets.transfer import Transfer

__all__ = ["Batches", "Samples"]


class Samples(Protocol):
    """What is needed of a `SampleStream`, which see."""

    wanted: int

    @property
    def consumed(self) -> int:
        """Positions of the epoch, over all ranks, that are consumed with the samples that were taken."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether `next` returns, ends or raises without waiting for data."""
        ...

    def __next__(self) -> Any:
        """The next sample."""
        ...


class Batches:
    """The batches of one iteration, in order.

    `prepare` and `hand_out` take turns, in the consumer's thread. A batch that is there is never held back for the ones
    that follow it: those are begun early only as far as their samples lie ready.

    What goes wrong with a batch that was begun early is raised in its place, when those before it were handed out; then
    the iteration is over.

    Attributes:
        consumed: positions of the epoch, over all ranks, in the batches that were handed out.
    """

    def __init__(
        self,
        stream: Samples,
        collate: Callable[[list[Any]], Any],
        transfer: Transfer[Any],
        *,
        batch_size: int,
        drop_last: bool,
        ahead: int,
        note: Callable[[float], None],
    ) -> None:
        """Begin with nothing.

        Args:
            stream: of samples.
            collate: makes a batch of a list of them.
            transfer: to where the batch is used.
            batch_size: samples per batch.
            drop_last: leave out what is too little for a batch at the end.
            ahead: how many batches are begun besides the one that is handed out next, at most.
            note: is told the seconds that making a batch and beginning its transfer took.
        """
        self.consumed = stream.consumed
        self._stream = stream
        self._collate = collate
        self._transfer = transfer
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._ahead = ahead
        self._note = note
        self._samples: list[Any] = []
        self._begun: deque[_Begun] = deque()
        self._is_over = False

    def prepare(self) -> bool:
        """Whether another batch, or what went wrong with it, can be handed out. Blocks until that is known."""
        while not self._is_over and len(self._begun) <= self._ahead:
            if not self._begin_next(may_wait=not self._begun):
                break
        return bool(self._begun)

    def hand_out(self) -> Any:
        """The batch that `prepare` promised. Nothing of it is kept here. Raises what making or moving it raised."""
        begun = self._begun.popleft()
        if begun.error is not None:
            try:
                raise begun.error
            finally:
                # The error has this frame in its traceback.
                del begun
        batch = self._transfer.finish(begun.ticket)
        self.consumed = begun.consumed
        return batch

    def close(self) -> None:
        """Drop what was begun; there is nothing to hand out from now on. Idempotent. The stream stays as it is."""
        self._is_over = True
        self._samples.clear()
        self._begun.clear()

    def _begin_next(self, *, may_wait: bool) -> bool:
        """Begin a batch, or note that there is none or why; False: its samples are not there yet."""
        try:
            if not self._gather(may_wait=may_wait):
                return False
            if len(self._samples) == self._batch_size or (self._samples and not self._drop_last):
                # Taken out: while the consumer works with a batch nothing of what it was made of is kept here.
                gathered, self._samples = [self._samples], []
                self._begun.append(self._begin(gathered))
        except Exception as error:  # noqa: BLE001 - not handled here: `hand_out` raises it in the batch's place
            self._is_over = True
            self._begun.append(_Begun(None, 0, error))
        return True

    def _gather(self, *, may_wait: bool) -> bool:
        """Take samples for a batch; whether they are all there, or all that are left."""
        while len(self._samples) < self._batch_size:
            if not may_wait and not self._stream.is_ready:
                return False
            self._stream.wanted = self._batch_size - len(self._samples)
            try:
                self._samples.append(next(self._stream))
            except StopIteration:
                self._is_over = True
                break
        return True

    def _begin(self, gathered: list[list[Any]]) -> _Begun:
        started_s = time.perf_counter()
        pinned = self._transfer.pinned
        with contextlib.nullcontext() if pinned is None else pinned.taking_stacks():
            batch = self._collate(gathered.pop())
        ticket = self._transfer.begin(batch)
        self._note(time.perf_counter() - started_s)
        return _Begun(ticket, self._stream.consumed)


@dataclass(slots=True)
class _Begun:
    """A batch on its way; `consumed` counts it."""

    ticket: Any
    consumed: int
    error: Exception | None = None
