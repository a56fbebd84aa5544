"""Batches of one group, such as images of one orientation."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asyncio_loader.checks import whole_number
from asyncio_loader.errors import ConfigError
from asyncio_loader.order.computed import ComputedSequence
from asyncio_loader.order.permutation import Permutation

__all__ = ["Grouped", "GroupedSequence"]


class Grouped:
    """Every batch from one group, as far as the groups go: batches need little padding if the images have one shape.

    Without shuffle it is the order of mmdet 3.x's ``AspectRatioBatchSampler`` over a sequential sampler: samples are
    taken by index, and a batch stands where its last sample completes it. With shuffle the members of each group are
    permuted, cut into batches, and the batches permuted, anew every epoch. In both, what is left of the groups, fewer
    than a batch each, stands at the end, by ascending group; the batches cut there may be mixed. Every sample occurs
    exactly once per epoch, unlike in mmdet 2.x's ``GroupSampler``, which fills each group up with repetitions.

    Which samples form a group is found at the first use, O(n log n) and 8 bytes per sample, and kept off the pickle;
    an epoch then costs one key per group. Immutable, picklable, safe to share between threads.
    """

    def __init__(self, flags: ArrayLike, batch_size: int, *, shuffle: bool, seed: int = 0) -> None:
        """Describe the groups.

        Args:
            flags: the group of each sample: whole numbers, any and any number of them.
            batch_size: samples per batch; a plan for any other is refused.
            shuffle: see above.
            seed: of the shuffle.

        Raises:
            ConfigError: the flags are not one whole number per sample, or `batch_size` is below 1.
        """
        self._flags = np.array(flags)
        if self._flags.ndim != 1 or not len(self._flags) or self._flags.dtype.kind not in "biu":
            what = f"an array of shape {self._flags.shape} and type {self._flags.dtype}"
            raise ConfigError(f"flags must be one whole number per sample, not {what}")
        self._flags.setflags(write=False)
        self.batch_size = whole_number("batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.seed = whole_number("seed", seed)

    @property
    def samples(self) -> int:
        return len(self._flags)

    @property
    def unit(self) -> int | None:
        return self.batch_size

    def of_epoch(self, epoch: int) -> GroupedSequence:
        key = f"{self.seed}:{epoch}" if self.shuffle else None
        return GroupedSequence(self._members, self.batch_size, key)

    def describe(self) -> dict[str, Any]:
        order = {"order": "grouped", "length": len(self._flags), "batch_size": self.batch_size}
        # Where nothing is shuffled, the seed makes no difference.
        return {**order, "seed": self.seed if self.shuffle else None, "groups": self._members.digest}

    def digest(self, epoch: int) -> str | None:
        return None

    @cached_property
    def _members(self) -> _Members:
        return _Members.of(self._flags, self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_members"}


class GroupedSequence(ComputedSequence):
    """One epoch of `Grouped`.

    Attributes:
        leftover_items: number of positions at the end that belong to no batch of one group.
    """

    __slots__ = ("_batch_size", "_batches", "_members", "_places", "leftover_items")

    def __init__(self, members: _Members, batch_size: int, key: str | None) -> None:
        self._members = members
        self._batch_size = batch_size
        self.leftover_items = members.first_leftovers[-1]
        # Which batch stands where, and which member of a group is which; None of the latter: by index.
        self._batches: Sequence[int] | NDArray[np.int64] = members.by_completion
        self._places: list[Permutation] | None = None
        if key is not None:
            batches = members.first_batches[-1]
            self._batches = Permutation(batches, f"{key}:batches") if batches else ()
            self._places = [Permutation(size, f"{key}:{group}") for group, size in enumerate(members.sizes)]

    def __len__(self) -> int:
        return len(self._members.indices)

    def _at(self, position: int) -> int:
        members = self._members
        ordinal, offset = divmod(position, self._batch_size)
        if ordinal < members.first_batches[-1]:
            batch = int(self._batches[ordinal])
            group = bisect_right(members.first_batches, batch) - 1
            place = (batch - members.first_batches[group]) * self._batch_size + offset
        else:
            leftover = position - members.first_batches[-1] * self._batch_size
            group = bisect_right(members.first_leftovers, leftover) - 1
            place = members.sizes[group] // self._batch_size * self._batch_size
            place += leftover - members.first_leftovers[group]
        if self._places is not None:
            place = self._places[group][place]
        return int(members.indices[members.firsts[group] + place])


@dataclass(frozen=True)
class _Members:
    """Who is in which group.

    Attributes:
        indices: the samples by group, and within a group by index; int64.
        sizes: samples per group, by ascending group.
        firsts: where in `indices` each group begins.
        first_batches: number of whole batches before each group; the last entry is that of all.
        first_leftovers: number of leftovers before each group; the last entry is that of all.
        by_completion: the whole batches, by the index of the sample that completes them.
        digest: names the division into groups.
    """

    indices: NDArray[np.int64]
    sizes: list[int]
    firsts: list[int]
    first_batches: list[int]
    first_leftovers: list[int]
    by_completion: NDArray[np.int64]
    digest: str

    @classmethod
    def of(cls, flags: NDArray[Any], batch_size: int) -> _Members:
        groups, counts = np.unique(flags, return_inverse=True, return_counts=True)[1:]
        indices = np.argsort(groups, kind="stable").astype(np.int64)
        sizes: list[int] = counts.tolist()
        firsts = [0, *accumulate(sizes)]
        last_of_batch = [
            indices[first + batch_size - 1 : first + size : batch_size]
            for first, size in zip(firsts, sizes, strict=False)
        ]
        return cls(
            indices=indices,
            sizes=sizes,
            firsts=firsts,
            first_batches=[0, *accumulate(size // batch_size for size in sizes)],
            first_leftovers=[0, *accumulate(size % batch_size for size in sizes)],
            by_completion=np.argsort(np.concatenate(last_of_batch), kind="stable").astype(np.int64),
            digest=hashlib.blake2b(groups.astype("<i8").tobytes(), digest_size=8).hexdigest(),
        )
