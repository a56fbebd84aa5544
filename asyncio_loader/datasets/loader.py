"""Batches without worker processes: the fast path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, Self

import torch

from asyncio_loader.allocation import trim
from asyncio_loader.cores import count_cores
from asyncio_loader.datasets.batches import Batches
from asyncio_loader.datasets.collate import stack_size_of
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.distributed import is_first_rank
from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.reader import EpochReader
from asyncio_loader.datasets.stacks import StackPlan, new_stack
from asyncio_loader.datasets.stream import SampleStream
from asyncio_loader.datasets.transfer import Transfer, check_device, open_transfer
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.progress import IterationLine, Shown, check_progress, process_board
from asyncio_loader.stats import Counters, LoaderStats, Verdict
from asyncio_loader.trace import Recorder, TraceFile

__all__ = ["AHEAD", "Loader"]

AHEAD = 1
"""Batches on their way to a device, or there, besides the one that is handed out next. While the model works on one the
next is copied; the copy of a second would only take memory of the device."""


class Loader:
    """Iterates over batches of a dataset: a loop thread fetches, a pool of threads transforms, the order is kept.

    Decoders, OpenCV and torch let go of the GIL while they work, so threads do what worker processes do, without
    the cost of moving every image (12.8 MB for a 1333×800 float32 one) from process to process.

    `iter()` starts the current epoch anew, or goes on after `load_state_dict`, and ends an iteration that is still
    open: there is one at a time. Connections and the loop thread stay open from epoch to epoch, until `close`, garbage
    collection or exit; and while an epoch drains, the first objects of the next one are fetched, if there is one: see
    `epochs` of `AsyncIterableDataset`.

    Not thread-safe. It may be made before a fork or pickled, but is iterated in one process only.

    Attributes:
        dataset: the dataset.
        batch_size: samples per batch.
        trace: where it is recorded what becomes of each object; read by the first `iter()`, and after `close`.
    """

    def __init__(
        self,
        dataset: AsyncIterableDataset,
        batch_size: int,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        threads: int | None = None,
        pin_memory: bool = False,
        device: torch.device | str | None = None,
        trace: str | PathLike[str] | TraceFile | None = None,
        progress: bool | str = False,
    ) -> None:
        """Describe the loader; nothing is opened before the first `iter()`.

        Args:
            dataset: what to load. Its own `batch_size` plays no role here.
            batch_size: samples per batch; the last one of an epoch may be smaller unless the dataset drops it.
            collate: makes a batch of a list of samples, in the thread that iterates. None: the dataset's own way,
                `collate_detection` for a `CocoDataset`, the list as it is for others. Where it is our `collate` with
                `samples_per_gpu` of 2 or more, the threads write the image at `img` to its batch themselves.
            threads: threads that run the transform. None: one per core that this process may use.
            pin_memory: hand out the tensors of a batch in page-locked memory, from which a GPU copies faster: `collate`
                stacks into it, everything else is copied. At most `PINNED_BYTES` at once, and the rest as it is.
            device: hand out the tensors of a batch on this device, ``cuda`` or ``cuda:N``: they are copied on a stream
                of their own while the consumer works on the batch before. What the consumer starts on its current
                stream comes after the copy. Tensors in dicts, lists, tuples and `DataContainer`s move, other objects
                stay; the batch and one more take memory of the device. ``cpu`` copies nothing. None: no device.
            progress: show on standard error how an epoch goes, on the first rank alone: on a terminal a line or two
                that move, elsewhere a line every ten seconds and one at the end, and nothing where CI is set;
                ``ASYNCIO_LOADER_PROGRESS`` (``live``, ``plain``, ``off``) says it otherwise. A text is shown as its
                name.
            trace: as that of `AsyncIterableDataset`, for what this loader does. None: the dataset's own, if it has one.

        Raises:
            ConfigError: an argument is of no use, or there is no such device.
        """
        if not isinstance(dataset, AsyncIterableDataset):
            raise ConfigError(f"Loader takes an AsyncIterableDataset, not {type(dataset).__name__}")
        for name, value in (("batch_size", batch_size), ("threads", 1 if threads is None else threads)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")
        if pin_memory and not torch.cuda.is_available():
            raise ConfigError("pin_memory=True needs a CUDA device, and torch finds none")
        self.dataset = dataset
        self.batch_size = batch_size
        self._collate = collate or dataset.collate
        self._threads = threads or count_cores()
        self._device = check_device(device)
        self._pin_memory = pin_memory
        self._line_name = check_progress(progress)
        self._shown: Shown | None = None
        self._transfer: Transfer[Any] | None = None
        self.trace = TraceFile.of(trace)
        self._pid = os.getpid()
        self._reader: EpochReader | None = None
        self._stream: SampleStream | None = None
        self._batches: Batches | None = None
        self._progress: _Progress | None = None

    def __len__(self) -> int:
        """Batches that this rank gets per epoch, those included that were consumed before a resume."""
        return self.dataset.plan(self.batch_size).steps

    def __iter__(self) -> Iterator[Any]:
        """The batches of the current epoch. Raises as the dataset does; see `AsyncIterableDataset`."""
        if self._pid != os.getpid():
            # Forked: what is open belongs to the parent.
            self._stream = self._reader = self._batches = self._transfer = None
        is_first = self._reader is None
        if self._reader is None:
            self._transfer = open_transfer(self._device, pin_memory=self._pin_memory)
            stacks = _stacks(stack_size_of(self._collate, self.batch_size), self.batch_size, self._transfer)
            session = self.dataset.open_session(self.trace)
            self._reader = EpochReader(session, self.dataset.counters, threads=self._threads, stacks=stacks)
            self._pid = os.getpid()
        begin, serial = self.dataset.next_position()
        goes_on = self.dataset.sets_epochs or not is_first
        self._stream = self.dataset.read(self._reader, self.batch_size, may_look_ahead=goes_on)
        if self._batches is not None:
            self._batches.close()
        self._end_line()
        assert self._transfer is not None
        self._batches = self._begin(self._stream, self._transfer)
        self._progress = _Progress(begin, serial)
        return self._hand_out(self._batches, self._stream, self._progress)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; that of a loaded state keeps the position to go on from."""
        self.dataset.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Epoch and number of samples, over all ranks, in the batches that were handed out: all that a resume needs.

        Under 2 KB, for JSON and for checkpoints; the same on every rank after as many batches. What was only fetched
        ahead does not count. Taken after the last batch, it is that of an epoch that is over.
        """
        begin, serial = self.dataset.next_position()
        progress = self._progress
        is_current = progress is not None and (progress.serial, progress.position.epoch) == (serial, begin.epoch)
        position = progress.position if progress is not None and is_current else begin
        return self.dataset.state_at(position, self.batch_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration go on with exactly the samples that are not consumed, whatever the geometry is now.

        See `AsyncIterableDataset.load_state_dict`, also for the errors. It ends an iteration that is open.
        """
        self.dataset.load_state(state, self.batch_size)
        if self._stream is not None:
            self._stream.close()
        if self._batches is not None:
            self._batches.close()

    def stats(self) -> LoaderStats:
        """What happened so far."""
        return self.dataset.stats()

    def verdict(self) -> Verdict:
        """What has limited the rate so far, and what to change: `stats.judge`. From any thread."""
        return self.dataset.verdict()

    def close(self) -> None:
        """End the iteration, all GETs, threads and connections, and give their memory back to the system.

        Idempotent; iterating again opens new ones.
        """
        stream, reader, batches = self._stream, self._reader, self._batches
        self._stream = self._reader = self._batches = None
        self._end_line()
        if batches is not None:
            batches.close()
        if stream is not None:
            stream.close()
        if reader is not None:
            reader.close()
            del batches, stream, reader
            trim()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "_reader": None,
            "_stream": None,
            "_batches": None,
            "_transfer": None,
            "_progress": None,
            "_shown": None,
        }

    def _hand_out(self, batches: Batches, stream: SampleStream, progress: _Progress) -> Iterator[Any]:
        line = self._line(stream, progress.position.epoch)
        prepare = batches.prepare if line is None else partial(line.waiting, batches.prepare)
        with self._show(line):
            while stream is self._stream and prepare():
                yield self._finish(batches, progress)
        if stream is not self._stream:
            raise LoaderError("this iteration was ended by close() or by a newer iter() of the same Loader")
        progress.advance(stream.consumed)

    def _line(self, stream: SampleStream, epoch: int) -> IterationLine | None:
        if self._line_name is None or not is_first_rank():
            return None
        return IterationLine(
            self._line_name,
            epoch,
            stats=self.dataset.counters.snapshot,
            left=lambda: stream.progress.left,
            total=self.dataset.plan(self.batch_size).samples_per_rank,
        )

    def _show(self, line: IterationLine | None) -> AbstractContextManager[object]:
        if line is None:
            return nullcontext()
        self._shown = process_board().show(line)
        return self._shown

    def _end_line(self) -> None:
        shown, self._shown = self._shown, None
        if shown is not None:
            shown.close()

    def _finish(self, batches: Batches, progress: _Progress) -> Any:
        batch = batches.hand_out()
        progress.advance(batches.consumed)
        return batch

    def _begin(self, stream: SampleStream, transfer: Transfer[Any]) -> Batches:
        return Batches(
            stream,
            self._collate,
            transfer,
            batch_size=self.batch_size,
            drop_last=self.dataset.drop_last,
            ahead=0 if self._device is None else AHEAD,
            note=_noting(self.dataset.counters, None if self._reader is None else self._reader.recorder),
        )


def _stacks(stack_size: int, batch_size: int, transfer: Transfer[Any]) -> Callable[[], StackPlan] | None:
    """What makes the plan of the stacks that the threads write; None: there is nothing to stack."""
    new = new_stack if transfer.pinned is None else transfer.pinned.new
    return partial(StackPlan, batch_size, stack_size, new) if stack_size > 1 else None


def _noting(counters: Counters, recorder: Recorder | None) -> Callable[[float], None]:
    if recorder is None:
        return counters.note_hand_over
    to_trace = recorder

    def note(seconds: float) -> None:
        counters.note_hand_over(seconds)
        to_trace.span("batch", time.perf_counter() - seconds)

    return note


@dataclass(slots=True)
class _Progress:
    """Where an iteration is, by the batches that were handed out."""

    position: Position
    serial: int

    def advance(self, consumed: int) -> None:
        self.position = Position(self.position.epoch, consumed)
