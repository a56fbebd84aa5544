"""Endless samples of a task, in one process or from the workers of a torch DataLoader, with their figures."""

from __future__ import annotations

import dataclasses
import os
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.session import count_local_ranks
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.stores.router import StoreRouter
from asyncio_loader.transforms.decoding import Pixels, decode_image
from asyncio_loader.tuning.gauge import BusyTime, Gauge, Reading
from asyncio_loader.tuning.measurement import Task
from asyncio_loader.tuning.timed_store import TimedStore

__all__ = ["BATCH", "Flow", "open_flow"]

BATCH = 16
"""Samples per batch of a `Loader` or DataLoader."""

# The epoch shall not end while it is measured.
_ROUNDS = 10**9


class Flow(Protocol):
    """Samples that come and come.

    Attributes:
        latencies_s: of all GETs so far that are in a reading, in seconds.
        is_complete: whether everybody who fetches is in a reading by now.
    """

    @property
    def latencies_s(self) -> Sequence[float]: ...

    @property
    def is_complete(self) -> bool: ...

    def counts(self) -> Generator[int, None, None]:
        """How many samples have come with each step. Closing it ends the fetching."""
        ...

    def read(self) -> Reading:
        """The figures now, between two steps."""
        ...


def open_flow(task: Task) -> Flow:
    """The flow of a task; nothing is opened before its first step."""
    # A launcher's environment (torchrun, Slurm) divides what a node may have in flight; here the task says it all.
    per_node = task.options.max_in_flight_per_node * count_local_ranks(os.environ)
    options = dataclasses.replace(task.options, max_in_flight_per_node=per_node)
    inner = StoreRouter(task.storage, timeouts=options.retry, max_connections=options.most_in_flight)
    store = TimedStore(inner)
    dataset = _dataset(task, store, options)
    gauge = Gauge(store, dataset.counters, threads=task.threads)
    if task.workers:
        return _WorkerFlow(_Reporting(dataset, store), task.workers)
    if task.threads:
        dataset.transform = _TimedDecode(gauge.busy)
        return _ThreadFlow(dataset, gauge)
    return _PlainFlow(dataset, gauge)


def _dataset(task: Task, store: TimedStore, options: FetchOptions) -> AsyncIterableDataset:
    return AsyncIterableDataset(
        _Rounds(task.refs),
        transform=_decode if task.decode else None,
        shuffle=True,
        seed=task.seed,
        batch_size=BATCH,
        epochs=1,
        options=options,
        storage=store,
        trace=task.trace,
    )


class _Rounds(Sequence[ObjectRef]):
    """The same objects again and again, practically for ever."""

    def __init__(self, refs: Sequence[ObjectRef]) -> None:
        self._refs = refs

    def __len__(self) -> int:
        return len(self._refs) * _ROUNDS

    def __getitem__(self, index: Any) -> Any:
        return self._refs[index % len(self._refs)]


def _decode(fetched: Fetched) -> Pixels:
    return decode_image(fetched.data, key=fetched.ref.uri, channel_order="rgb")


class _TimedDecode:
    def __init__(self, busy: BusyTime) -> None:
        self._busy = busy

    def __call__(self, fetched: Fetched) -> Pixels:
        with self._busy.one_more():
            return _decode(fetched)


class _PlainFlow:
    """One process, and a consumer that does nothing."""

    is_complete = True

    def __init__(self, dataset: AsyncIterableDataset, gauge: Gauge) -> None:
        self._dataset = dataset
        self.latencies_s: Sequence[float] = gauge.store.latencies_s
        self.read = gauge.read

    def counts(self) -> Generator[int, None, None]:
        # What iterates a dataset ends when it is collected, which is when this is closed.
        for _ in self._dataset:
            yield 1


class _ThreadFlow:
    """A `Loader`: threads decode."""

    is_complete = True

    def __init__(self, dataset: AsyncIterableDataset, gauge: Gauge) -> None:
        self._loader = Loader(dataset, BATCH, threads=gauge.threads)
        self.latencies_s: Sequence[float] = gauge.store.latencies_s
        self.read = gauge.read

    def counts(self) -> Generator[int, None, None]:
        with closing(self._loader):
            for batch in self._loader:
                yield len(batch)


class _Report:
    """What a worker tells with a batch.

    Attributes:
        worker: its number.
        reading: its figures so far.
        latencies_s: of the GETs since its last report.
    """

    def __init__(self, worker: int, reading: Reading, latencies_s: array[float]) -> None:
        self.worker = worker
        self.reading = reading
        self.latencies_s = latencies_s


class _Reporting(IterableDataset[Any]):
    """Batches of a dataset, each with a report of the worker that made it.

    Decoded samples cross to the main process as tensors, as they do in training; bytes that are not decoded don't.

    Attributes:
        dataset: the dataset.
        store: what it fetches from.
    """

    def __init__(self, dataset: AsyncIterableDataset, store: TimedStore) -> None:
        self.dataset = dataset
        self.store = store

    def __iter__(self) -> Iterator[tuple[list[Any], _Report]]:
        worker = get_worker_info()
        # Here, because a pickled dataset comes with counters of its own.
        gauge = Gauge(self.store, self.dataset.counters)
        told = 0
        batch: list[Any] = []
        for sample in self.dataset:
            batch.append(None if isinstance(sample, Fetched) else torch.from_numpy(sample))
            if len(batch) == BATCH:
                reading = gauge.read()
                report = _Report(worker.id if worker else 0, reading, self.store.latencies_s[told : reading.latencies])
                told = reading.latencies
                yield batch, report
                batch = []


class _WorkerFlow:
    """A torch DataLoader: worker processes fetch and decode."""

    def __init__(self, dataset: _Reporting, workers: int) -> None:
        self._loader: DataLoader[Any] = DataLoader(dataset, batch_size=None, num_workers=workers)
        self._workers = workers
        self._latest: dict[int, Reading] = {}
        self._gauge = Gauge(dataset.store, dataset.dataset.counters)
        self.latencies_s = array("d")

    def counts(self) -> Generator[int, None, None]:
        for batch, report in self._loader:
            self.latencies_s.extend(report.latencies_s)
            self._latest[report.worker] = report.reading
            yield len(batch)

    @property
    def is_complete(self) -> bool:
        return len(self._latest) == self._workers

    def read(self) -> Reading:
        """The sum of each worker's latest report; CPU time and memory with this process's own."""
        own = self._gauge.read()
        start = Reading(cpu_s=own.cpu_s, peak_rss_bytes=own.peak_rss_bytes)
        total = sum(self._latest.values(), start)
        return dataclasses.replace(total, latencies=len(self.latencies_s))
