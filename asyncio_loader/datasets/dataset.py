"""The drop-in: a torch `IterableDataset` over objects that lie one by one in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import torch
from torch.utils.data import IterableDataset, get_worker_info

from asyncio_loader.datasets.distributed import RankAndWorld, rank_and_world
from asyncio_loader.datasets.recipe import Recipe, Ref, as_ref
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.stream import SampleStream
from asyncio_loader.engine.prefetch import Job
from asyncio_loader.errors import ConfigError
from asyncio_loader.options import FetchOptions, OnError, S3Options
from asyncio_loader.order.ordering import Ordering, Sequential, Shuffled
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Fetched
from asyncio_loader.stats import Counters, LoaderStats
from asyncio_loader.stores.base import ObjectStore

__all__ = ["AsyncIterableDataset"]


class AsyncIterableDataset(IterableDataset[Any]):
    """Samples from objects in S3 (or on disk, or in memory), fetched ahead in the order of the epoch.

    The object itself is picklable configuration: store, event loop, thread and sockets are made by `iter()`, in the
    process that iterates, and go with the iterator. So it works under fork, spawn and forkserver, with any number of
    workers, persistent or not.

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
        options: FetchOptions = FetchOptions(),  # noqa: B008 - frozen
        storage: S3Options | ObjectStore = S3Options(),  # noqa: B008 - frozen
        on_error: OnError = "raise",
    ) -> None:
        """Describe the dataset; nothing is opened, and no object is looked at.

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
            options: concurrency, memory and retries, per iterating process.
            storage: where S3 is, or a store of your own.
            on_error: what to do about an object that cannot be had or a transform that raises. ``"raise"``;
                ``"skip"``: leave the sample out (with workers the batches shift, so the order is promised only for
                the other two); ``"replace"``: take a deterministic substitute, so that counts stay as they are.

        Raises:
            ConfigError: an argument is wrong. Iterating raises `FetchError` and `TransformError` by `on_error`.
        """
        super().__init__()
        _check(refs, batch_size, on_error, storage)
        self.refs = refs
        self.transform = transform
        self.shuffle = shuffle
        self.seed = seed
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.options = options
        self.storage = storage
        self.on_error: OnError = on_error
        # A tensor in shared memory reaches live persistent workers under every start method; mp.Value doesn't pickle.
        self._epoch: torch.Tensor = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._counters = Counters()
        self._of_parent: RankAndWorld | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration will be of."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, here and in live workers. An epoch never advances by itself."""
        if epoch < 0:
            raise ConfigError(f"epoch must be 0 or more, not {epoch!r}")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Samples that this rank gets per epoch, over all its workers."""
        return self.plan(self.batch_size).samples_per_rank

    def __iter__(self) -> Iterator[Any]:
        """Start this process's part of the epoch. Several iterators may be open at once; each has its own engine."""
        worker = get_worker_info()
        return self.stream(
            self.open_session(),
            self.batch_size,
            worker=worker.id if worker else 0,
            workers=worker.num_workers if worker else 1,
            owns_session=True,
        )

    def stats(self) -> LoaderStats:
        """What happened in this process so far. The workers of a DataLoader count for themselves."""
        return self._counters.snapshot()

    def plan(self, batch_size: int) -> EpochPlan:
        """The order of the current epoch for batches of so many samples per rank."""
        length = len(self.refs)
        order: Ordering = Shuffled(length, self.seed) if self.shuffle else Sequential(length)
        epoch = self.epoch
        return EpochPlan(
            order=order.of_epoch(epoch),
            batch_size=batch_size,
            epoch=epoch,
            drop_last=self.drop_last,
            ranks=self._rank_and_world().world,
            unit=order.unit,
        )

    def open_session(self) -> Session:
        """What this process needs to fetch, for `stream`: a thread and a store. Whoever opens it closes it."""
        return Session(self.storage, self.options)

    def stream(
        self,
        session: Session,
        batch_size: int,
        *,
        worker: int = 0,
        workers: int = 1,
        threads: int = 0,
        owns_session: bool = False,
    ) -> SampleStream:
        """The samples of one shard of the current epoch on an open session: for `__iter__` and `Loader`."""
        plan = self.plan(batch_size)
        shard = Shard(self._rank_and_world().rank, worker, workers)
        jobs = (Job(as_ref(self.refs[slot.index]), slot, plan.epoch) for slot in plan.slots(shard))
        return SampleStream(
            session,
            jobs,
            recipe=self._recipe(),
            options=self.options,
            counters=self._counters,
            threads=threads,
            owns_session=owns_session,
        )

    def collate(self, samples: list[Any]) -> Any:
        """How a `Loader` makes a batch of samples unless it is told otherwise: a list."""
        return samples

    def _recipe(self) -> Recipe:
        return Recipe(
            refs=self.refs, transform=self.transform, on_error=self.on_error, on_void=self._on_void, seed=self.seed
        )

    @property
    def _on_void(self) -> OnError:
        """What to do where the transform returned None."""
        return "replace"

    def _rank_and_world(self) -> RankAndWorld:
        return rank_and_world() or self._of_parent or RankAndWorld(0, 1)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker is in no process group: it learns its rank from the process that starts it.
        return {**self.__dict__, "_of_parent": self._rank_and_world(), "_counters": Counters()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._epoch.is_shared():  # type: ignore[no-untyped-call]
            # A copy, not a worker's view: it has an epoch of its own, which its own workers must see.
            self._epoch = self._epoch.clone()
            self._epoch.share_memory_()  # type: ignore[no-untyped-call]


def _check(refs: Sequence[Ref], batch_size: int, on_error: str, storage: object) -> None:
    if isinstance(refs, str | bytes) or not hasattr(refs, "__getitem__") or not hasattr(refs, "__len__"):
        raise ConfigError(f"refs must be a sequence of URIs, paths or ObjectRef, not {type(refs).__name__}: {refs!r}")
    if len(refs) == 0:
        raise ConfigError("refs is empty: there is nothing to load")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error must be one of {', '.join(map(repr, get_args(OnError)))}, not {on_error!r}")
    if not isinstance(storage, S3Options | ObjectStore):
        raise ConfigError(f"storage must be S3Options or a store, not {storage!r}")
