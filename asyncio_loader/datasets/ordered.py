"""Which sample stands where in each epoch of a dataset, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncio_loader.checks import whole_number
from asyncio_loader.datasets.custom_order import CustomOrder, OrderSource
from asyncio_loader.datasets.distributed import RankAndWorld, rank_and_world
from asyncio_loader.datasets.position import Position, SharedPosition
from asyncio_loader.datasets.recipe import Ref
from asyncio_loader.datasets.state import describe_refs
from asyncio_loader.errors import ConfigError, StateMismatch
from asyncio_loader.order.ordering import Ordering, Sequential, Shuffled
from asyncio_loader.order.plan import EpochPlan

__all__ = ["OrderedRefs"]


class OrderedRefs:
    """What a dataset knows of order. All of it is configuration, read anew at every iteration.

    Attributes:
        refs: what to fetch.
        shuffle: whether every epoch has an order of its own.
        seed: of the order, of random transforms, of substitutes.
        drop_last: whether the last, short step is left out.
        order: another order than `shuffle` makes; None: that one.
        epochs: how many epochs will be iterated; None: unknown.
    """

    def __init__(
        self,
        refs: Sequence[Ref],
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        order: Ordering | OrderSource | None,
        epochs: int | None,
    ) -> None:
        if isinstance(refs, str | bytes) or not hasattr(refs, "__getitem__") or not hasattr(refs, "__len__"):
            raise ConfigError(
                f"refs must be a sequence of URIs, paths or ObjectRef, not {type(refs).__name__}: {refs!r}"
            )
        if len(refs) == 0:
            raise ConfigError("refs is empty: there is nothing to load")
        self.refs = refs
        self.shuffle = shuffle
        self.seed = whole_number("seed", seed)
        self.drop_last = drop_last
        self.order = _ordering(order, len(refs), self.seed)
        self.epochs = None if epochs is None else whole_number("epochs", epochs, least=1)
        self._position = SharedPosition()
        self._of_parent: RankAndWorld | None = None
        self._given_rank: RankAndWorld | None = None

    def set_rank(self, rank: int, world_size: int) -> None:
        """Say which share of every epoch this process gets, from the next iteration on; before workers start.

        Not needed with `torch.distributed`, whose default process group is asked at every iteration.
        """
        place = RankAndWorld(whole_number("rank", rank, least=0), whole_number("world_size", world_size, least=1))
        if place.rank >= place.world:
            raise ConfigError(f"rank must be at least 0 and below world_size={world_size!r}, not {rank!r}")
        self._given_rank = place

    def plan(self, batch_size: int) -> EpochPlan:
        """The order of the current epoch for batches of so many samples per rank, from where the next iteration begins.

        Raises:
            ConfigError: the order is cut for batches of another size.
        """
        return self._plan(batch_size, self._position.next())

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

    def _rank_and_world(self) -> RankAndWorld:
        return self._given_rank or rank_and_world() or self._of_parent or RankAndWorld(0, 1)

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker is in no process group: it learns its rank from the process that starts it.
        return {**self.__dict__, "_of_parent": self._rank_and_world()}


def _ordering(given: Ordering | OrderSource | None, length: int, seed: int) -> Ordering | None:
    if given is None:
        return None
    if isinstance(given, Ordering) and not isinstance(given, type):
        if given.samples != length:
            raise ConfigError(f"order is made for {given.samples} samples, and there are {length} refs")
        return given
    return CustomOrder(given, length=length, seed=seed)
