"""The drop-in: a torch `IterableDataset` over objects that lie one by one in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, get_args

from torch.utils.data import IterableDataset, get_worker_info

from asyncio_loader.bridge.worker_counters import WorkerCounters
from asyncio_loader.datasets.custom_order import OrderSource
from asyncio_loader.datasets.failures import FailureRules
from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.quarantine import check_quarantine
from asyncio_loader.datasets.reader import EpochReader
from asyncio_loader.datasets.recipe import Recipe, Ref
from asyncio_loader.datasets.resumable import ResumableRefs
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.stream import Part, SampleStream
from asyncio_loader.datasets.tally import SharedTally
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import FetchOptions, OnError, S3Options
from asyncio_loader.order.ordering import Ordering
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Fetched
from asyncio_loader.stats import Counters, LoaderStats, Verdict, judge
from asyncio_loader.stores.base import ObjectStore
from asyncio_loader.trace import TraceFile

__all__ = ["AsyncIterableDataset"]


class AsyncIterableDataset(ResumableRefs, IterableDataset[Any]):
    """Samples from objects in S3 (or on disk, or in memory), fetched ahead in the order of the epoch.

    The object itself is picklable configuration: store, event loop, thread and sockets are made by `iter()`, in the
    process that iterates. So it works under fork, spawn and forkserver, with any number of workers, persistent or not.

    Order: position → sample depends on `seed` and the epoch alone. A torch DataLoader gets the same samples in the
    same order from 0, 1, 2 or 4 workers, provided that **`batch_size` here equals the DataLoader's**: a dataset
    cannot see it, and it decides which worker takes which positions. A `Loader` brings its own.

    Random transforms are reproducible if they draw from a generator made of (seed, epoch, position), as those of a
    `CocoDataset` do; a transform on a global generator depends on which thread or worker runs it.
    """

    def __init__(
        self,
        refs: Sequence[Ref],
        *,
        transform: Callable[[Fetched], Any] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        batch_size: int = 1,
        drop_last: bool = False,
        order: Ordering | OrderSource | None = None,
        epochs: int | None = None,
        options: FetchOptions | Mapping[str, Any] = FetchOptions(),  # noqa: B008 - frozen
        storage: S3Options | ObjectStore = S3Options(),  # noqa: B008 - frozen
        on_error: OnError = "raise",
        max_failures: int | float = 0.01,
        quarantine: str | PathLike[str] | None = None,
        trace: str | PathLike[str] | TraceFile | None = None,
    ) -> None:
        """Describe the dataset; no object is looked at.

        Args:
            refs: what to fetch: ``len(refs)`` and ``refs[i]`` are all that is asked of it. URIs (``s3://bucket/key``,
                ``file://``, plain paths, ``memory://``), paths or `ObjectRef`.
            transform: makes a sample of a `Fetched`; runs in worker processes or threads, so it must pickle for the
                former and be thread-safe for the latter. None: the samples are the `Fetched` themselves. Where it
                returns None, another sample takes the place, as in OpenMMLab's pipelines.
            shuffle: a new permutation every epoch; see `set_epoch`.
            seed: of the permutation.
            batch_size: samples per batch of the DataLoader around it.
            drop_last: leave out the last, short step. Otherwise, on more than one rank, the last step is padded so
                that all ranks have equally many samples; padding is marked (`Fetched.is_padding`).
            order: another order than `shuffle` makes: one of `asyncio_loader.order.ordering` (`Weighted`, `Grouped`);
                a torch `Sampler` of indices of `refs`; or a function that gives the sequence of indices of an epoch.
                Read once per epoch in each process; see `CustomOrder` for what makes them all read the same.
            epochs: how many epochs will be iterated. The first objects of the next one are fetched while one drains,
                but for the last; in a DataLoader only with ``persistent_workers=True``, for other workers end with
                their epoch, and what they fetched for the next one with them. None: unknown. If `shuffle` is True, a
                `Loader` then expects a further epoch where `set_epoch` was called, and else, as a worker process does,
                once it has begun a second one.
            options: concurrency, memory and retries, per iterating process; in a config a dict of the fields.
            storage: where S3 is, or a store of your own.
            on_error: what to do about an object that cannot be had or a transform that raises. An object that cannot be
                decoded (`DecodeError`, or an image that Pillow takes for none) is fetched a second time first.
                ``"raise"``;
                ``"replace"``: take a deterministic substitute, another sample of the epoch, so that counts stay as they
                are; ``"skip"``: leave the sample out. On several ranks all have the same number of steps nevertheless:
                a substitute that is marked as padding (`Fetched.is_padding`) then stands in the place. On one rank with
                workers the batches shift, so the order is promised only for the other two, and a resume within an epoch
                may repeat some samples where positions count in whole batches: with workers, in grouped orders, in
                mmengine's Runner.
            max_failures: how many samples of an epoch may fail before ``"skip"`` and ``"replace"`` end in
                `TooManyFailures`: a count, or below 1 a share of those seen so far, of which 10 may always fail. Each
                rank counts for itself, the workers of a DataLoader together, from where an iteration begins; a sample
                counts once, and not where the transform returned None. At the end each process warns of how many failed
                in it, and names a few.
            quarantine: a local file to which a line of JSON is appended for each sample that failed, under every
                policy: see `datasets.quarantine`, also for how to read it. All processes of a machine may share it.
            trace: a local file, which is begun anew here, for when each object got where, to be opened with
                ui.perfetto.dev or chrome://tracing. All workers of a DataLoader write to it. Or a `TraceFile`, which
                several datasets of a machine may share. None: none.

        Raises:
            ConfigError: an argument is wrong. Iterating raises `FetchError`, `TransformError` and `TooManyFailures` by
                `on_error`.
        """
        super().__init__(
            refs,
            shuffle=shuffle,
            seed=seed,
            batch_size=batch_size,
            drop_last=drop_last,
            order=order,
            epochs=epochs,
        )
        if on_error not in get_args(OnError):
            raise ConfigError(f"on_error must be one of {', '.join(map(repr, get_args(OnError)))}, not {on_error!r}")
        if not isinstance(storage, S3Options | ObjectStore):
            raise ConfigError(f"storage must be S3Options or a store, not {storage!r}")
        self.transform = transform
        self.options = FetchOptions.of(options)
        self.storage = storage
        self.on_error: OnError = on_error
        self.failure_rules = FailureRules(max_failures, check_quarantine(quarantine))
        self.trace = TraceFile.of(trace)
        self._tally = SharedTally()
        self.counters = Counters()
        self._worker_counters: WorkerCounters | None = None
        # Of a worker process: connections, and what was fetched of the next epoch.
        self._reader: EpochReader | None = None

    def __len__(self) -> int:
        """Samples that this rank gets per epoch, over all its workers."""
        return self.plan(self.batch_size).samples_per_rank

    def __iter__(self) -> Iterator[Any]:
        """Start this process's part of the epoch, or what is left of it; see `load_state_dict`.

        In a worker process a new iteration ends the one before. Elsewhere several may be open at once, each with its
        own connections.
        """
        worker = get_worker_info()
        if worker is None:
            reader = EpochReader(self.open_session(), self.counters, owns_session=True)
            return self.read(reader, self.batch_size)
        is_first = self._reader is None
        if self._reader is None:
            if self._worker_counters is not None:
                self.counters = self._worker_counters.claim(worker.id)
            self._reader = EpochReader(self.open_session(), self.counters)
        return self.read(
            self._reader,
            self.batch_size,
            worker=worker.id,
            workers=worker.num_workers,
            may_look_ahead=not is_first,
        )

    def stats(self) -> LoaderStats:
        """What happened in this process so far. The workers of a DataLoader count for themselves."""
        return self.counters.snapshot()

    def verdict(self) -> Verdict:
        """What has limited the rate so far, and what to change: `stats.judge`. From any thread."""
        return judge(self.stats())

    def share_counters(self) -> WorkerCounters:
        """Where workers that start from now on count, for this process to read: for `asyncio_loader.metrics`.

        Raises:
            OSError: there is no place for a temporary file.
        """
        if self._worker_counters is None or not self._worker_counters.is_own:
            self._worker_counters = WorkerCounters()
        return self._worker_counters

    def open_session(self, trace: TraceFile | None = None) -> Session:
        """What this process needs to fetch, for `read`: a thread and a store. Whoever opens it closes it.

        Args:
            trace: instead of the dataset's own. None: that one.
        """
        return Session(self.storage, self.options, trace=trace or self.trace, counters=self.counters)

    def read(
        self,
        reader: EpochReader,
        batch_size: int,
        *,
        worker: int | None = None,
        workers: int = 1,
        may_look_ahead: bool = False,
    ) -> SampleStream:
        """One shard of the current epoch: for `__iter__` and `Loader`.

        Args:
            reader: what goes through it.
            batch_size: samples per rank and step.
            worker: number of the worker process; None: there are none.
            workers: how many there are.
            may_look_ahead: whether to expect another epoch where `epochs` is not given.
        """
        position, skip = self._begin(worker)
        shard = Shard(self._rank_and_world().rank, worker or 0, workers)
        tally = None if worker is None else self._tally
        part = self._part(batch_size, position, shard, skip, tally)
        expected = Position(position.epoch + 1, 0)
        # What ends with this iteration needs nothing of the next one.
        goes_on = not reader.owns_session and self._goes_on_after(position.epoch, may_look_ahead)
        stream = reader.read(part, self._part(batch_size, expected, shard, 0) if goes_on else None)
        self._latest.progress = stream.progress, self._position.serial
        return stream

    def collate(self, samples: list[Any]) -> Any:
        """How a `Loader` makes a batch of samples unless it is told otherwise: a list."""
        return samples

    def _part(
        self, batch_size: int, position: Position, shard: Shard, skip: int, tally: SharedTally | None = None
    ) -> Part:
        plan = self._plan(batch_size, position)
        recipe = Recipe(
            refs=self.refs,
            transform=self.transform,
            on_error=self.on_error,
            on_void=self._on_void,
            seed=self.seed,
            order=plan.order,
            fills_skipped=plan.ranks > 1 or self._is_judged,
            marks_substitutes=self._is_judged,
            named_by=self._named_by,
        )
        identity = (
            *sorted(self._ordering(batch_size).describe().items()),
            *(position, batch_size, self.drop_last, plan.ranks, shard, skip),
            *(id(self.refs), id(self.order), id(self.transform), self.on_error, self.seed),
        )
        return Part(plan, shard, skip, recipe, identity, self.failure_rules, tally)

    @property
    def _on_void(self) -> OnError:
        """What to do where the transform returned None."""
        return "replace"

    @property
    def _is_judged(self) -> bool:
        """Whether samples are judged one by one, so that none may pass for another."""
        return False

    @property
    def _named_by(self) -> str:
        """Which argument says where the objects are; nothing: they are named one by one."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "counters": Counters(), "_reader": None}
