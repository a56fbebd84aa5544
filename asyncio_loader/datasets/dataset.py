"""The drop-in: a torch `IterableDataset` over objects that lie one by one in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from torch.utils.data import IterableDataset, get_worker_info

from asyncio_loader.datasets.custom_order import CustomOrder, OrderSource
from asyncio_loader.datasets.distributed import RankAndWorld, rank_and_world
from asyncio_loader.datasets.position import Position, SharedPosition
from asyncio_loader.datasets.reader import EpochReader
from asyncio_loader.datasets.recipe import Recipe, Ref
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.state import (
    check_description,
    describe_refs,
    describe_shard,
    make_state,
    read_shard,
    read_state,
)
from asyncio_loader.datasets.stream import Part, Progress, SampleStream
from asyncio_loader.errors import ConfigError, LoaderError, StateMismatch
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
            order: another order than `shuffle` makes: one of `asyncio_loader.order.ordering` (`Weighted`, `Grouped`);
                a torch `Sampler` of indices of `refs`; or a function that gives the sequence of indices of an epoch.
                Read once per epoch in each process; see `CustomOrder` for what makes them all read the same.
            epochs: how many epochs will be iterated. The first objects of the next one are fetched while one drains,
                but for the last. None: unknown. If `shuffle` is True, a `Loader` then expects a further epoch where
                `set_epoch` was called, and else, as a worker process does, once it has begun a second one.
            options: concurrency, memory and retries, per iterating process.
            storage: where S3 is, or a store of your own.
            on_error: what to do about an object that cannot be had or a transform that raises. ``"raise"``;
                ``"skip"``: leave the sample out (with workers the batches shift, so the order is promised only for
                the other two); ``"replace"``: take a deterministic substitute, so that counts stay as they are.

        Raises:
            ConfigError: an argument is wrong. Iterating raises `FetchError` and `TransformError` by `on_error`.
        """
        super().__init__()
        _check(refs, batch_size, on_error, storage, epochs)
        self.refs = refs
        self.transform = transform
        self.shuffle = shuffle
        self.seed = seed
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.options = options
        self.storage = storage
        self.on_error: OnError = on_error
        self.order = _ordering(order, len(refs), seed)
        self.epochs = epochs
        self.sets_epochs = False
        self._position = SharedPosition()
        self.counters = Counters()
        self._of_parent: RankAndWorld | None = None
        self._given_rank: RankAndWorld | None = None
        self._local = _Local()

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration will be of."""
        return self._position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, here and in live workers. An epoch never advances by itself.

        The epoch of a state that was loaded keeps the position to go on from; any other one begins at its first sample.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise ConfigError(f"epoch must be a whole number of at least 0, not {epoch!r}")
        self._position.set_epoch(epoch)
        self.sets_epochs = True

    def set_rank(self, rank: int, world_size: int) -> None:
        """Say which share of every epoch this process gets, from the next iteration on; before workers start.

        Not needed with `torch.distributed`, whose default process group is asked at every iteration.
        """
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank must be at least 0 and below world_size={world_size!r}, not {rank!r}")
        self._given_rank = RankAndWorld(rank, world_size)

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
        is_first = self._local.reader is None
        if self._local.reader is None:
            self._local.reader = EpochReader(self.open_session(), self.counters)
        return self.read(
            self._local.reader,
            self.batch_size,
            worker=worker.id,
            workers=worker.num_workers,
            may_look_ahead=not is_first,
        )

    def state_dict(self) -> dict[str, Any]:
        """How far the current epoch is consumed: small, for JSON and checkpoints. See `load_state_dict`.

        Consumed is what the latest iteration of this process has handed out; a `Loader` tells by whole batches.

        Raises:
            LoaderError: worker processes iterate, and only the training loop knows how many of their batches it used.
        """
        worker = get_worker_info()
        if worker is None and self._position.workers_began:
            raise LoaderError(
                "state_dict() of a dataset whose worker processes iterate: what they handed out may not have been "
                'trained on. Count in the training loop and say load_state_dict({"epoch": e, "consumed": n}), n = '
                "batches x batch size x ranks; or take a Loader, or torchdata's StatefulDataLoader"
            )
        progress = self._current_progress()
        if progress is None:
            return self.state_at(self._position.next(worker.id if worker else None), self.batch_size)
        plan = progress.part.plan
        state = self.state_at(Position(plan.epoch, progress.consumed), plan.batch_size)
        return state if worker is None else state | {"shard": describe_shard(progress)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration of the epoch go on with exactly the samples that are not consumed.

        On any number of ranks, workers and threads, and with any batch size unless batches are grouped. It counts for
        one iteration (of each worker); the one after it begins at the first sample again.

        Args:
            state: of `state_dict`, here or in a `Loader`; or ``{"epoch": e, "consumed": n}``, n positions of the epoch
                over all ranks: batches trained on × batch size × ranks.

        Raises:
            StateMismatch: it is of another plan (other samples, seed, order), which the message names.
        """
        self.load_state(state, self.batch_size)

    def load_state(self, state: Mapping[str, Any], batch_size: int) -> None:
        """`load_state_dict` for batches of another size: for `Loader`."""
        position, description = read_state(state)
        if description is not None:
            check_description(description, self._describe(batch_size, position.epoch))
        worker = get_worker_info()
        self._plan(batch_size, position)
        if "shard" in state:
            rank = self._rank_and_world()
            shard = Shard(rank.rank, worker.id, worker.num_workers) if worker else None
            self._local.resume_at = read_shard(state["shard"], position.epoch, shard, rank.world, batch_size)
        elif worker is None:
            self._position.load(position)
        else:
            self._local.resume_at = position, 0

    def state_at(self, position: Position, batch_size: int) -> dict[str, Any]:
        """The state of a position: for `Loader`, and for hooks of training loops that count by themselves."""
        return make_state(position, self._describe(batch_size, position.epoch))

    def next_position(self) -> tuple[Position, int]:
        """Where the next iteration of this process begins, and the serial number of that decision: for `Loader`."""
        return self._position.next(), self._position.serial

    def stats(self) -> LoaderStats:
        """What happened in this process so far. The workers of a DataLoader count for themselves."""
        return self.counters.snapshot()

    def plan(self, batch_size: int) -> EpochPlan:
        """The order of the current epoch for batches of so many samples per rank, from where the next iteration begins.

        Raises:
            ConfigError: the order is cut for batches of another size.
        """
        return self._plan(batch_size, self._position.next())

    def open_session(self) -> Session:
        """What this process needs to fetch, for `stream`: a thread and a store. Whoever opens it closes it."""
        return Session(self.storage, self.options)

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
        begin = self._position.begin(worker)
        position, skip = self._local.resume_at or (begin, 0)
        self._local.resume_at = None
        shard = Shard(self._rank_and_world().rank, worker or 0, workers)
        part = self._part(batch_size, position, shard, skip)
        expected = Position(position.epoch + 1, 0)
        goes_on = self._goes_on_after(position.epoch, may_look_ahead)
        stream = reader.read(part, self._part(batch_size, expected, shard, 0) if goes_on else None)
        self._local.progress = stream.progress, self._position.serial
        return stream

    def collate(self, samples: list[Any]) -> Any:
        """How a `Loader` makes a batch of samples unless it is told otherwise: a list."""
        return samples

    def _part(self, batch_size: int, position: Position, shard: Shard, skip: int) -> Part:
        plan = self._plan(batch_size, position)
        recipe = Recipe(
            refs=self.refs, transform=self.transform, on_error=self.on_error, on_void=self._on_void, seed=self.seed
        )
        identity = (
            *sorted(self._ordering(batch_size).describe().items()),
            *(position, batch_size, self.drop_last, plan.ranks, shard, skip),
            *(id(self.refs), id(self.transform), self.on_error, self.seed),
        )
        return Part(plan, shard, skip, recipe, identity)

    def _plan(self, batch_size: int, position: Position) -> EpochPlan:
        ordering = self._ordering(batch_size)
        order = ordering.of_epoch(position.epoch)
        if position.start > len(order):
            raise StateMismatch(
                f"consumed={position.start}: epoch {position.epoch} has only {len(order)} positions here"
            )
        return EpochPlan(
            order=order,
            batch_size=batch_size,
            epoch=position.epoch,
            drop_last=self.drop_last,
            ranks=self._rank_and_world().world,
            start=position.start,
            unit=ordering.unit,
        )

    def _ordering(self, batch_size: int) -> Ordering:
        """The order of the epochs, for batches of a size."""
        if self.order is not None:
            return self.order
        return Shuffled(len(self.refs), self.seed) if self.shuffle else Sequential(len(self.refs))

    def _describe(self, batch_size: int, epoch: int) -> dict[str, Any]:
        ordering = self._ordering(batch_size)
        digest = ordering.digest(epoch)
        # The order's own seed is in its description; this one is that of random transforms and of substitutes.
        described = {**ordering.describe(), "sample_seed": self.seed, **describe_refs(self.refs)}
        return described if digest is None else described | {"digest": digest}

    def _goes_on_after(self, epoch: int, is_likely: bool) -> bool:
        if self.epochs is not None:
            return epoch + 1 < self.epochs
        # Nobody knows what an order of the user's does for an epoch that is never asked for.
        return is_likely and self.shuffle and self.order is None

    def _current_progress(self) -> Progress | None:
        """Of the latest iteration here, unless another position was chosen since."""
        progress, serial = self._local.progress or (None, 0)
        return progress if serial == self._position.serial else None

    @property
    def _on_void(self) -> OnError:
        """What to do where the transform returned None."""
        return "replace"

    def _rank_and_world(self) -> RankAndWorld:
        return self._given_rank or rank_and_world() or self._of_parent or RankAndWorld(0, 1)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker is in no process group: it learns its rank from the process that starts it.
        return {**self.__dict__, "_of_parent": self._rank_and_world(), "counters": Counters(), "_local": _Local()}


@dataclass(slots=True)
class _Local:
    """What belongs to one process.

    Attributes:
        reader: of a worker process: connections, and what was fetched of the next epoch.
        progress: of the latest iteration, and the serial number of the position that it began at.
        resume_at: where the next iteration begins, whatever the parent says, and how many samples it leaves out:
            from the state of a worker.
    """

    reader: EpochReader | None = None
    progress: tuple[Progress, int] | None = None
    resume_at: tuple[Position, int] | None = None


def _ordering(given: Ordering | OrderSource | None, length: int, seed: int) -> Ordering | None:
    if given is None or (isinstance(given, Ordering) and not isinstance(given, type)):
        return given
    return CustomOrder(given, length=length, seed=seed)


def _check(refs: Sequence[Ref], batch_size: int, on_error: str, storage: object, epochs: int | None) -> None:
    if isinstance(refs, str | bytes) or not hasattr(refs, "__getitem__") or not hasattr(refs, "__len__"):
        raise ConfigError(f"refs must be a sequence of URIs, paths or ObjectRef, not {type(refs).__name__}: {refs!r}")
    if len(refs) == 0:
        raise ConfigError("refs is empty: there is nothing to load")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise ConfigError(f"epochs must be a whole number of at least 1, or None, not {epochs!r}")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error must be one of {', '.join(map(repr, get_args(OnError)))}, not {on_error!r}")
    if not isinstance(storage, S3Options | ObjectStore):
        raise ConfigError(f"storage must be S3Options or a store, not {storage!r}")
