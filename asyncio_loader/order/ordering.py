"""In which order an epoch goes through the samples: what an order must tell, and the plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.grouped import Grouped
from asyncio_loader.order.permutation import Permutation
from asyncio_loader.order.weighted import Weighted

__all__ = ["Grouped", "Ordering", "Sequential", "Shuffled", "Weighted"]


@runtime_checkable
class Ordering(Protocol):
    """The canonical order of every epoch: which sample stands at which position.

    A pure function of the epoch, equal in every process that has an equal one: whoever works on a position has no say
    in what stands there. Picklable, because it travels to worker processes.
    """

    @property
    def samples(self) -> int:
        """Number of samples that it is made for: indices are 0 … samples - 1."""

    @property
    def unit(self) -> int | None:
        """The batch size that the order is cut for, in samples; None where any will do."""

    def of_epoch(self, epoch: int) -> Sequence[int]:
        """Position → index of the sample, for one epoch. Asked for often, so it is cheap after the first time."""

    def describe(self) -> dict[str, Any]:
        """What a resume state says of the order: JSON-able, under 500 bytes, equal exactly if the order is."""

    def digest(self, epoch: int) -> str | None:
        """A short hash of an epoch's order where `describe` cannot know it, as with a user's function; else None."""


@dataclass(frozen=True)
class Sequential:
    """Every sample at the position of its index.

    Attributes:
        length: number of samples.
    """

    length: int

    def __post_init__(self) -> None:
        _check_length(self.length)

    @property
    def samples(self) -> int:
        return self.length

    @property
    def unit(self) -> int | None:
        return None

    def of_epoch(self, epoch: int) -> Sequence[int]:
        return range(self.length)

    def describe(self) -> dict[str, Any]:
        return {"order": "sequential", "length": self.length}

    def digest(self, epoch: int) -> str | None:
        return None


@dataclass(frozen=True)
class Shuffled:
    """A new permutation every epoch, in O(1) memory.

    Attributes:
        length: number of samples.
        seed: of the permutations.
    """

    length: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_length(self.length)

    @property
    def samples(self) -> int:
        return self.length

    @property
    def unit(self) -> int | None:
        return None

    def of_epoch(self, epoch: int) -> Sequence[int]:
        return Permutation(self.length, f"{self.seed}:{epoch}")

    def describe(self) -> dict[str, Any]:
        return {"order": "shuffled", "length": self.length, "seed": int(self.seed)}

    def digest(self, epoch: int) -> str | None:
        return None


def _check_length(length: int) -> None:
    if length < 1:
        raise ConfigError(f"an order needs at least one sample, not {length!r}")
