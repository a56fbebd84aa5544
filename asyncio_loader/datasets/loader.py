"""Batches without worker processes: the fast path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import torch

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.stream import SampleStream
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.stats import LoaderStats

__all__ = ["Loader"]


class Loader:
    """Iterates over batches of a dataset: a loop thread fetches, a pool of threads transforms, the order is kept.

    Decoders, OpenCV and torch let go of the GIL while they work, so threads do what worker processes do, without
    the cost of moving every image (12.8 MB for a 1333×800 float32 one) from process to process.

    `iter()` starts the current epoch anew and ends an iteration that is still open: there is one at a time.
    Connections and the loop thread stay open from epoch to epoch, until `close`, garbage collection or exit.
    Not thread-safe. It may be made before a fork or pickled, but is iterated in one process only.

    Attributes:
        dataset: the dataset.
        batch_size: samples per batch.
    """

    def __init__(
        self,
        dataset: AsyncIterableDataset,
        batch_size: int,
        *,
        collate: Callable[[list[Any]], Any] | None = None,
        threads: int | None = None,
        pin_memory: bool = False,
    ) -> None:
        """Describe the loader; nothing is opened before the first `iter()`.

        Args:
            dataset: what to load. Its own `batch_size` plays no role here.
            batch_size: samples per batch; the last one of an epoch may be smaller unless the dataset drops it.
            collate: makes a batch of a list of samples, in the thread that iterates. None: the dataset's own way,
                `collate_detection` for a `CocoDataset`, the list as it is for others.
            threads: threads that run the transform. None: one per core that this process may use.
            pin_memory: copy the tensors of a batch to page-locked memory, from which a GPU copies faster.
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
        self._threads = threads or _cores()
        self._pin_memory = pin_memory
        self._pid = os.getpid()
        self._session: Session | None = None
        self._stream: SampleStream | None = None

    def __len__(self) -> int:
        """Batches that this rank gets per epoch."""
        return self.dataset.plan(self.batch_size).steps

    def __iter__(self) -> Iterator[Any]:
        """The batches of the current epoch. Raises as the dataset does; see `AsyncIterableDataset`."""
        if self._pid != os.getpid():
            # Forked: what is open belongs to the parent.
            self._stream = self._session = None
        if self._stream is not None:
            self._stream.close()
        if self._session is None:
            self._session = self.dataset.open_session()
            self._pid = os.getpid()
        self._stream = self.dataset.stream(self._session, self.batch_size, threads=self._threads)
        return self._batches(self._stream)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.dataset.set_epoch(epoch)

    def stats(self) -> LoaderStats:
        """What happened so far."""
        return self.dataset.stats()

    def close(self) -> None:
        """End the iteration, all GETs, threads and connections. Idempotent; iterating again opens new ones."""
        stream, session = self._stream, self._session
        self._stream = self._session = None
        if stream is not None:
            stream.close()
        if session is not None:
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_stream": None}

    def _batches(self, stream: SampleStream) -> Iterator[Any]:
        samples = []
        for sample in stream:
            samples.append(sample)
            if len(samples) == self.batch_size:
                yield self._finish(samples)
                samples = []
        if stream is not self._stream:
            raise LoaderError("this iteration was ended by close() or by a newer iter() of the same Loader")
        if samples and not self.dataset.drop_last:
            yield self._finish(samples)

    def _finish(self, samples: list[Any]) -> Any:
        batch = self._collate(samples)
        return _pin(batch) if self._pin_memory else batch


def _cores() -> int:
    # Not every platform knows which cores a process is bound to.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pin(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.pin_memory()
    if isinstance(value, Mapping):
        return {key: _pin(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_pin, value))
    if isinstance(value, list | tuple):
        return type(value)(map(_pin, value))
    return value
