"""Whoever works on an epoch, and however often it is interrupted: every sample once, where the order has it."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.datasets.custom_order import CustomOrder
from asyncio_loader.order.grouped import Grouped, GroupedSequence
from asyncio_loader.order.ordering import Ordering, Sequential, Shuffled, Weighted
from asyncio_loader.order.permutation import Permutation
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Slot

EXAMPLES = settings(max_examples=500, deadline=None)

ONE_IN_TEN_THOUSAND = 3.719
"""The quantile of the normal distribution that it exceeds with probability 1e-4."""

SEEDS = st.integers(0, 1000)
SIZES = st.integers(1, 9)
EPOCHS = st.integers(0, 50)
FLAGS = st.lists(st.integers(0, 2), min_size=1, max_size=80)
WEIGHTS = st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), max_size=40).map(lambda weights: [1.0, *weights])


def make_custom(length: int, seed: int) -> CustomOrder:
    return CustomOrder(lambda epoch: np.random.permutation(length).tolist(), length=length, seed=seed)


ORDERINGS: st.SearchStrategy[Ordering] = st.one_of(
    st.builds(Sequential, st.integers(1, 150)),
    st.builds(Shuffled, st.integers(1, 150), SEEDS),
    st.builds(Weighted, WEIGHTS, st.integers(1, 100), SEEDS),
    st.builds(make_custom, st.integers(1, 100), SEEDS),
    st.builds(Grouped, FLAGS, st.integers(1, 6), shuffle=st.booleans(), seed=SEEDS),
)


@dataclass(frozen=True)
class Geometry:
    """On how many ranks and workers a part of an epoch runs, in which batches, and after which share it is cut off."""

    ranks: int
    workers: int
    batch_size: int
    share: float
    interleaved: bool


GEOMETRIES = st.builds(
    Geometry,
    ranks=st.integers(1, 5),
    workers=st.integers(1, 4),
    batch_size=SIZES,
    share=st.floats(0, 1),
    interleaved=st.booleans(),
)


def make_plan(
    ordering: Ordering, epoch: int, geometry: Geometry, *, start: int = 0, drop_last: bool = False
) -> EpochPlan:
    return EpochPlan(
        order=ordering.of_epoch(epoch),
        batch_size=ordering.unit or geometry.batch_size,
        epoch=epoch,
        drop_last=drop_last,
        ranks=geometry.ranks,
        start=start,
        unit=ordering.unit,
        interleaved=geometry.interleaved and ordering.unit is None,
    )


def deal(plan: EpochPlan, workers: int) -> list[list[list[Slot]]]:
    """What every rank does in every step: its workers are asked in turn, as a torch DataLoader asks them."""
    steps: list[list[list[Slot]]] = [[] for _ in range(plan.steps_left)]
    for rank in range(plan.ranks):
        for worker in range(workers):
            slots = list(plan.slots(Shard(rank, worker, workers)))
            batches = [slots[i : i + plan.batch_size] for i in range(0, len(slots), plan.batch_size)]
            # An assertion by itself: as many batches as there are steps for this worker.
            for step, batch in zip(range(worker, plan.steps_left, workers), batches, strict=True):
                steps[step].append(batch)
    return steps


def dropped_at(plan: EpochPlan) -> int:
    """The position where `drop_last` ends an epoch."""
    stride = plan.batch_size * plan.ranks
    end = plan.length
    if isinstance(plan.order, GroupedSequence) and plan.order.leftover_items:
        # The last batch is one of leftovers, short or not: the reference drops it.
        end -= end % plan.batch_size or plan.batch_size
    return max(plan.start, end - (end - plan.start) % stride)


@EXAMPLES
@given(ordering=ORDERINGS, epoch=EPOCHS, geometry=GEOMETRIES, drop_last=st.booleans())
def test_shards_partition_every_epoch(ordering: Ordering, epoch: int, geometry: Geometry, drop_last: bool) -> None:
    plan = make_plan(ordering, epoch, geometry, drop_last=drop_last)

    slots = [slot for step in deal(plan, geometry.workers) for batch in step for slot in batch]
    assert len(slots) == plan.samples_per_rank * plan.ranks
    real = [slot for slot in slots if not slot.is_padding]
    end = dropped_at(plan) if drop_last else plan.length
    assert sorted(slot.position for slot in real) == list(range(end))
    order = list(plan.order)
    assert all(slot.index == order[slot.position] for slot in real)
    padding = sorted(slot.position for slot in slots if slot.is_padding)
    assert padding == list(range(plan.length, plan.length + len(padding)))
    assert len(padding) < (plan.ranks if plan.unit is None else plan.ranks * plan.unit)
    assert not (padding and (drop_last or plan.ranks == 1))


@EXAMPLES
@given(ordering=ORDERINGS, epoch=EPOCHS, geometry=GEOMETRIES, drop_last=st.booleans())
def test_every_rank_has_the_same_steps(ordering: Ordering, epoch: int, geometry: Geometry, drop_last: bool) -> None:
    plan = make_plan(ordering, epoch, geometry, drop_last=drop_last)

    sizes = [{len(batch) for batch in step} for step in deal(plan, geometry.workers)]
    assert all(len(size) == 1 for size in sizes)
    assert all(size == {plan.batch_size} for size in sizes[:-1])


@EXAMPLES
@given(
    ordering=ORDERINGS,
    epoch=EPOCHS,
    before=st.lists(GEOMETRIES, max_size=5),
    last=GEOMETRIES,
    drop_last=st.booleans(),
)
def test_interruptions_make_no_difference(
    ordering: Ordering, epoch: int, before: list[Geometry], last: Geometry, drop_last: bool
) -> None:
    consumed, seen = 0, list[Slot]()
    for geometry in before:
        plan = make_plan(ordering, epoch, geometry, start=consumed, drop_last=drop_last)
        # The last step ends the epoch, and that would be no interruption.
        steps = int(geometry.share * max(0, plan.steps_left - 1))
        seen += in_order(plan, deal(plan, geometry.workers)[:steps])
        consumed = plan.consumed_after(steps) if plan.steps_left else consumed
    plan = make_plan(ordering, epoch, last, start=consumed, drop_last=drop_last)
    seen += in_order(plan, deal(plan, last.workers))

    real = [slot for slot in seen if not slot.is_padding]
    end = dropped_at(plan) if drop_last else plan.length
    assert [slot.position for slot in real] == list(range(end))
    assert [slot.index for slot in real] == list(ordering.of_epoch(epoch))[:end]
    assert plan.length == plan.consumed_after(plan.steps_left)


def in_order(plan: EpochPlan, steps: list[list[list[Slot]]]) -> Iterator[Slot]:
    """The samples step by step, and in a step rank by rank, or with each rank's next one in turn."""
    for step in steps:
        for slots in zip(*step, strict=True) if plan.interleaved else step:
            yield from slots


@EXAMPLES
@given(
    ordering=ORDERINGS,
    geometry=GEOMETRIES,
    drop_last=st.booleans(),
    skip=st.integers(0, 100),
    where=st.tuples(st.floats(0, 1), st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_skipping_leaves_out_the_first(
    ordering: Ordering, geometry: Geometry, drop_last: bool, skip: int, where: tuple[float, float, float]
) -> None:
    whole = make_plan(ordering, 0, geometry)
    start = whole.consumed_after(int(where[0] * whole.steps))
    plan = make_plan(ordering, 0, geometry, start=start, drop_last=drop_last)
    shard = Shard(int(where[1] * geometry.ranks), int(where[2] * geometry.workers), geometry.workers)

    assert list(plan.slots(shard))[skip:] == list(plan.slots(shard, skip=skip))


@EXAMPLES
@given(length=st.integers(1, 10**9), key=st.text(max_size=20), data=st.data())
def test_a_permutation_is_a_bijection(length: int, key: str, data: st.DataObject) -> None:
    permutation = Permutation(length, key)
    for place in data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=10)):
        assert 0 <= permutation[place] < length
        assert 0 <= permutation.position_of(place) < length
        assert place == permutation.position_of(permutation[place])
        assert place == permutation[permutation.position_of(place)]


@EXAMPLES
@given(flags=FLAGS, batch_size=st.integers(1, 6), seed=SEEDS, epoch=EPOCHS)
def test_shuffled_groups_are_pure_and_complete(flags: list[int], batch_size: int, seed: int, epoch: int) -> None:
    order = Grouped(flags, batch_size, shuffle=True, seed=seed).of_epoch(epoch)

    entries = list(order)
    assert sorted(entries) == list(range(len(flags)))
    whole = len(flags) - order.leftover_items
    assert whole == sum(flags.count(flag) // batch_size * batch_size for flag in set(flags))
    for first in range(0, whole, batch_size):
        assert 1 == len({flags[index] for index in entries[first : first + batch_size]})


@EXAMPLES
@given(flags=FLAGS, batch_size=st.integers(1, 6), geometry=GEOMETRIES, shuffle=st.booleans())
def test_no_rank_gets_a_mixed_cut_of_whole_batches(
    flags: list[int], batch_size: int, geometry: Geometry, shuffle: bool
) -> None:
    ordering = Grouped(flags, batch_size, shuffle=shuffle)
    plan = make_plan(ordering, 0, geometry)

    entries = list(plan.order)
    cuts = {frozenset(entries[first : first + batch_size]) for first in range(0, len(entries), batch_size)}
    for step in deal(plan, geometry.workers):
        assert all(frozenset(slot.index for slot in batch) in cuts for batch in step)


def chi_squared(counts: list[int], expected: list[float]) -> float:
    return sum((count - want) ** 2 / want for count, want in zip(counts, expected, strict=True))


def bound(degrees: int) -> float:
    """What chi-squared exceeds with probability 1e-4 (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + ONE_IN_TEN_THOUSAND * math.sqrt(spread)) ** 3


def test_positions_look_uniform() -> None:
    """Cells of (position, index), 16 × 16, over 40 epochs; rows and columns are full, so 15 × 15 degrees remain."""
    cells, length, epochs = 16, 1600, 40
    counts = Counter(
        (place * cells // length, index * cells // length)
        for epoch in range(epochs)
        for place, index in enumerate(Shuffled(length, seed=0).of_epoch(epoch))
    )

    want = length * epochs / cells**2
    statistic = chi_squared([counts[row, column] for row in range(cells) for column in range(cells)], [want] * cells**2)
    assert statistic < bound((cells - 1) ** 2)


def test_positions_of_a_billion_look_uniform() -> None:
    """Neighbours of a large set must not stay together: cells of (position, index) of drawn positions."""
    cells, length, draws = 16, 10**9, 40_000
    permutation = Permutation(length, "0:0")
    generator = random.Random(0)
    places = [generator.randrange(length) for _ in range(draws)]
    counts = Counter((place * cells // length, permutation[place] * cells // length) for place in places)

    want = draws / cells**2
    statistic = chi_squared([counts[row, column] for row in range(cells) for column in range(cells)], [want] * cells**2)
    assert statistic < bound(cells**2 - 1)


def test_the_next_position_holds_anything() -> None:
    """The distance from one position's sample to the next one's, modulo the length, is anything, too."""
    cells, length, draws = 64, 10**8, 40_000
    permutation = Permutation(length, "3:1")
    first = [permutation[place] for place in range(draws + 1)]
    counts = Counter((after - before) % length * cells // length for before, after in pairwise(first))

    assert chi_squared([counts[cell] for cell in range(cells)], [draws / cells] * cells) < bound(cells - 1)


def test_samples_are_drawn_in_proportion_to_their_weights() -> None:
    weights = [0.1, 1, 2, 3, 0.5, 7, 1, 0.4]
    draws, epochs = 5000, 8
    ordering = Weighted(weights, length=draws, seed=0)
    counts = Counter(index for epoch in range(epochs) for index in ordering.of_epoch(epoch))

    expected = [weight / sum(weights) * draws * epochs for weight in weights]
    assert chi_squared([counts[index] for index in range(len(weights))], expected) < bound(len(weights) - 1)
