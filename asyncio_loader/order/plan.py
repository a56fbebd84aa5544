"""Which sample stands where in an epoch, and who works on it. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.grouped import GroupedSequence
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Slot

__all__ = ["EpochPlan"]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """How the canonical order of one epoch is dealt out, from any position on.

    Which sample stands at a position is the order's alone; the plan decides who works on it. Step *t* takes the next
    ``batch_size × ranks`` positions from `start` on; rank *r* takes its batch of them; worker *w* of *W* takes the
    rank's steps *t* ≡ *w* mod *W*, which is the order in which a torch DataLoader asks its workers. So every position
    that some steps of all ranks have left behind is consumed, none after it is, and a plan of any other geometry goes
    on from there: `consumed_after` says where.

    The last step may be short. `drop_last` leaves it out. Otherwise its positions are spread over the ranks so that
    each gets equally many; where they don't come out even, positions past the end are added, marked `is_padding`,
    which stand for the first samples of the epoch. So every rank has the same number of steps and samples, every
    sample is there, and on one rank there is never padding.

    An order that is cut for one batch size (`unit`) is dealt in these batches alone. On more than one rank the last
    step then is filled up with whole batches: a short batch with its own samples, a rank without one with the first
    batches of the epoch. `drop_last` also leaves out the last batch of leftovers of the groups, even where it happens
    to be full, because mmdet 3.x's ``AspectRatioBatchSampler`` does.

    Attributes:
        order: position → index of the sample, for this epoch.
        batch_size: samples per rank and step.
        epoch: what it is the order of.
        drop_last: see above.
        ranks: number of ranks.
        start: positions that are consumed already, over all ranks; 0 … length.
        unit: see `Ordering.unit`.
        interleaved: deal the positions of a step one by one in turn, not batch by batch: rank *r* gets every
            `ranks`-th, as an evaluator wants it that puts the results of the ranks together like a zip.
    """

    order: Sequence[int] = field(repr=False)
    batch_size: int
    epoch: int = 0
    drop_last: bool = False
    ranks: int = 1
    start: int = 0
    unit: int | None = None
    interleaved: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.ranks < 1:
            raise ConfigError(f"no such plan: batches of {self.batch_size!r} on {self.ranks!r} ranks")
        if not 0 <= self.start <= self.length:
            raise ConfigError(f"the epoch has {self.length} positions: it cannot go on from {self.start!r}")
        if self.unit is None:
            return
        if self.batch_size != self.unit:
            raise ConfigError(
                f"the order is cut for batches of {self.unit}: they cannot have {self.batch_size} samples"
            )
        if self.start % self.unit and self.start != self.length:
            raise ConfigError(
                f"the order is cut for batches of {self.unit}: it cannot go on from {self.start}, inside one"
            )
        if self.interleaved and self.ranks > 1:
            raise ConfigError(f"the order is cut for batches of {self.unit}: they cannot be dealt sample by sample")

    @property
    def length(self) -> int:
        """Number of positions of the epoch."""
        return len(self.order)

    def index_at(self, position: int) -> int:
        """Index of the sample at a position, 0 or more; those past the end hold what the class says of padding."""
        place = position
        if position >= self.length:
            place = position % self.length if self.unit is None else self._place_of_filling(position, self.unit)
        return int(self.order[place])

    @property
    def steps(self) -> int:
        """Number of steps (batches per rank) of the whole epoch in this geometry, whatever `start` is."""
        return self._steps_from(0)

    @property
    def steps_left(self) -> int:
        """Number of steps from `start` on."""
        return self._steps_from(self.start)

    @property
    def samples_per_rank(self) -> int:
        """Number of samples that each rank gets of the whole epoch, padding included, whatever `start` is."""
        if self.steps == 0:
            return 0
        return (self.steps - 1) * self.batch_size + self._share((self.steps - 1) * self._stride)

    def consumed_after(self, steps: int) -> int:
        """Positions over all ranks that are consumed once each rank took so many steps from `start` on.

        `length` after the last step, where `drop_last` left something out, too: the epoch is over.
        """
        return self.length if steps >= self.steps_left else self.start + steps * self._stride

    def epochs_after(self, steps: int) -> int:
        """Epochs that are begun, from epoch 0 on, once each rank took so many steps from `start` on."""
        steps_beyond = max(0, steps - self.steps_left)
        return self.epoch + 1 + -(-steps_beyond // max(1, self.steps))

    def count(self, shard: Shard) -> int:
        """Number of places of one shard from `start` on, padding included."""
        steps = range(shard.worker, self.steps_left, shard.workers)
        if not steps:
            return 0
        return (len(steps) - 1) * self.batch_size + self._share(self.start + steps[-1] * self._stride)

    def slots(self, shard: Shard, *, skip: int = 0) -> Iterator[Slot]:
        """The places of one shard from `start` on, in the order in which they are used.

        Args:
            shard: who is asking.
            skip: number of its places to leave out at the beginning, at no cost.
        """
        # No step but the last of all is short, so what is skipped can be counted in whole batches.
        skipped_steps, skipped_slots = divmod(skip, self.batch_size)
        for step in range(shard.worker, self.steps_left, shard.workers)[skipped_steps:]:
            for position in self._positions(self.start + step * self._stride, shard.rank)[skipped_slots:]:
                yield Slot(position, self.index_at(position), is_padding=position >= self.length)
            skipped_slots = 0

    @property
    def _stride(self) -> int:
        return self.batch_size * self.ranks

    def _steps_from(self, start: int) -> int:
        if not self.drop_last:
            return -(-(self.length - start) // self._stride)
        end = self.length
        if isinstance(self.order, GroupedSequence) and self.order.leftover_items:
            end = (end - 1) // self.batch_size * self.batch_size
        return max(0, end - start) // self._stride

    def _share(self, start: int) -> int:
        """Samples of each rank in the step that begins at a position."""
        if self.unit is not None and self.ranks > 1:
            return self.batch_size
        return min(self.batch_size, -(-(self.length - start) // self.ranks))

    def _positions(self, start: int, rank: int) -> range:
        """Positions of a rank in the step that begins at `start`."""
        share = self._share(start)
        if self.interleaved:
            return range(start + rank, start + share * self.ranks, self.ranks)
        return range(start + rank * share, start + (rank + 1) * share)

    def _place_of_filling(self, position: int, unit: int) -> int:
        batch, offset = divmod(position, unit)
        first = batch % -(-self.length // unit) * unit
        return first + offset % min(unit, self.length - first)
