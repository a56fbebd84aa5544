"""Which sample stands where in an epoch, and who works on it. Arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from asyncio_loader.order.permutation import Permutation
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Slot

__all__ = ["EpochPlan"]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """The canonical order of one epoch, and how it is dealt out.

    Position → sample is a pure function of (length, seed, epoch); nobody else has a say in it. Global step *t* takes
    the next ``batch_size × ranks`` positions; rank *r* takes its batch of them; worker *w* of *W* takes the rank's
    steps *t* ≡ *w* mod *W*, which is the order in which a torch DataLoader asks its workers.

    The last step may be short. `drop_last` leaves it out. Otherwise its positions are spread over the ranks so that
    each gets equally many; where they don't come out even, positions past the end are added, marked `is_padding`,
    which stand for the first samples of the epoch. So every rank has the same number of steps and samples, every
    sample is there, and on one rank there is never padding.

    Attributes:
        length: number of samples.
        batch_size: samples per rank and step.
        seed: of the shuffle.
        epoch: of the shuffle.
        shuffle: False leaves every sample at the position of its index.
        drop_last: see above.
        ranks: number of ranks.
    """

    length: int
    batch_size: int
    seed: int = 0
    epoch: int = 0
    shuffle: bool = False
    drop_last: bool = False
    ranks: int = 1

    @cached_property
    def _permutation(self) -> Permutation:
        return Permutation(self.length, f"{self.seed}:{self.epoch}")

    def index_at(self, position: int) -> int:
        """Index of the sample at a position; positions past the end start over."""
        place = position % self.length
        return self._permutation[place] if self.shuffle else place

    @property
    def steps(self) -> int:
        """Number of steps (batches per rank) of the epoch."""
        whole, rest = divmod(self.length, self._stride)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def samples_per_rank(self) -> int:
        """Number of samples that each rank gets, padding included."""
        whole, rest = divmod(self.length, self._stride)
        return whole * self.batch_size + (0 if self.drop_last else -(-rest // self.ranks))

    def slots(self, shard: Shard) -> Iterator[Slot]:
        """The places of one shard, in the order in which they are used."""
        for step in range(shard.worker, self.steps, shard.workers):
            start = step * self._stride
            share = min(self.batch_size, -(-(self.length - start) // self.ranks))
            start += shard.rank * share
            for position in range(start, start + share):
                yield Slot(position, self.index_at(position), is_padding=position >= self.length)

    @property
    def _stride(self) -> int:
        return self.batch_size * self.ranks
