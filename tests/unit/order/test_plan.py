from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.ordering import Grouped
from asyncio_loader.order.permutation import Permutation
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.records import Slot

ORDERS = st.integers(1, 200).flatmap(lambda length: st.sampled_from([range(length), Permutation(length, "1:2")]))
PLANS = st.builds(
    EpochPlan,
    order=ORDERS,
    batch_size=st.integers(1, 9),
    drop_last=st.booleans(),
    ranks=st.integers(1, 5),
)


@given(plan=PLANS, workers=st.integers(1, 4))
def test_shards_are_disjoint_and_complete(plan: EpochPlan, workers: int) -> None:
    shards = [Shard(rank, worker, workers) for rank in range(plan.ranks) for worker in range(workers)]

    positions = sorted(slot.position for shard in shards for slot in plan.slots(shard))
    assert positions == list(range(len(positions)))
    assert len(positions) == plan.samples_per_rank * plan.ranks
    if plan.drop_last:
        assert len(positions) == plan.length - plan.length % (plan.batch_size * plan.ranks)
    else:
        assert plan.length <= len(positions) < plan.length + plan.ranks


@given(plan=PLANS)
def test_every_rank_has_equally_many_samples(plan: EpochPlan) -> None:
    counts = {len(list(plan.slots(Shard(rank)))) for rank in range(plan.ranks)}

    assert counts == {plan.samples_per_rank}


@given(plan=PLANS)
def test_only_what_lies_past_the_end_is_padding(plan: EpochPlan) -> None:
    slots = list(chain.from_iterable(plan.slots(Shard(rank)) for rank in range(plan.ranks)))

    assert all(slot.is_padding == (slot.position >= plan.length) for slot in slots)
    real = sorted(slot.index for slot in slots if not slot.is_padding)
    assert len(real) == len(set(real))
    if plan.ranks == 1:
        assert not any(slot.is_padding for slot in slots)


@given(plan=PLANS, workers=st.integers(1, 4))
def test_asking_workers_in_turn_gives_the_order_of_no_workers(plan: EpochPlan, workers: int) -> None:
    def batches(shard: Shard) -> list[list[int]]:
        positions = [slot.position for slot in plan.slots(shard)]
        return [positions[i : i + plan.batch_size] for i in range(0, len(positions), plan.batch_size)]

    alone = batches(Shard(0))
    in_turn = chain.from_iterable(zip_longest(*(batches(Shard(0, worker, workers)) for worker in range(workers))))
    assert [batch for batch in in_turn if batch] == alone


@given(plan=PLANS)
def test_the_number_of_steps_is_what_the_slots_make(plan: EpochPlan) -> None:
    slots = list(plan.slots(Shard(0)))

    assert plan.steps == -(-len(slots) // plan.batch_size)


def test_without_shuffle_the_order_is_the_index() -> None:
    plan = EpochPlan(order=range(5), batch_size=2)

    assert [0, 1, 2, 3, 4] == [slot.index for slot in plan.slots(Shard())]


def test_more_ranks_do_not_change_what_stands_where() -> None:
    def by_position(ranks: int) -> dict[int, int]:
        plan = EpochPlan(order=Permutation(23, "1:0"), batch_size=2, ranks=ranks)
        slots = chain.from_iterable(plan.slots(Shard(rank)) for rank in range(ranks))
        return {slot.position: slot.index for slot in slots if not slot.is_padding}

    assert by_position(1) == by_position(2) == by_position(4)


def dealt(plan: EpochPlan, rank: int = 0) -> list[list[int]]:
    """The positions of a rank, by its steps."""
    slots = plan.slots(Shard(rank))
    return [[slot.position for slot in islice(slots, plan.batch_size)] for _ in range(plan.steps_left)]


def grouped(flags: list[int], **changes: Any) -> EpochPlan:
    order = Grouped(flags, 2, shuffle=False)
    return EpochPlan(**{"order": order.of_epoch(0), "batch_size": 2, "unit": order.unit, **changes})


def indices(slots: Iterable[Slot]) -> list[tuple[int, bool]]:
    return [(slot.index, slot.is_padding) for slot in slots]


def test_ranks_take_their_batches_side_by_side() -> None:
    plan = EpochPlan(order=range(11), batch_size=2, ranks=2)

    assert [[0, 1], [4, 5], [8, 9]] == dealt(plan, 0)
    assert [[2, 3], [6, 7], [10, 11]] == dealt(plan, 1)


def test_interleaved_ranks_take_turns() -> None:
    plan = EpochPlan(order=range(11), batch_size=2, ranks=2, interleaved=True)

    assert [[0, 2], [4, 6], [8, 10]] == dealt(plan, 0)
    assert [[1, 3], [5, 7], [9, 11]] == dealt(plan, 1)


@given(plan=PLANS)
def test_interleaved_ranks_zipped_are_the_canonical_order(plan: EpochPlan) -> None:
    plan = replace(plan, interleaved=True)
    parts = [[slot.position for slot in plan.slots(Shard(rank))] for rank in range(plan.ranks)]

    zipped = list(chain.from_iterable(zip(*parts, strict=True)))
    assert zipped == list(range(plan.samples_per_rank * plan.ranks))


def test_it_goes_on_from_a_position_that_is_no_whole_step() -> None:
    plan = EpochPlan(order=range(11), batch_size=2, ranks=2, start=3)

    assert [[3, 4], [7, 8]] == dealt(plan, 0)
    assert [[5, 6], [9, 10]] == dealt(plan, 1)


def test_where_it_starts_makes_no_difference_to_the_size_of_the_epoch() -> None:
    whole, rest = (EpochPlan(order=range(11), batch_size=2, ranks=2, start=start) for start in (0, 7))

    assert (3, 6, 3) == (whole.steps, whole.samples_per_rank, whole.steps_left)
    assert (3, 6, 1) == (rest.steps, rest.samples_per_rank, rest.steps_left)


def test_what_steps_have_consumed() -> None:
    plan = EpochPlan(order=range(13), batch_size=2, ranks=2, start=3)

    assert [3, 7, 11, 13, 13] == [plan.consumed_after(steps) for steps in range(5)]


def test_after_the_last_step_the_epoch_is_over_also_where_something_was_dropped() -> None:
    plan = EpochPlan(order=range(11), batch_size=4, drop_last=True)

    assert [0, 4, 11] == [plan.consumed_after(steps) for steps in range(3)]
    assert 0 == replace(plan, start=11).steps_left
    assert 0 == replace(plan, start=8).steps_left


@given(plan=PLANS, data=st.data(), workers=st.integers(1, 3), skip=st.integers(0, 60))
def test_what_is_skipped_is_only_missing(plan: EpochPlan, data: st.DataObject, workers: int, skip: int) -> None:
    plan = replace(plan, start=data.draw(st.integers(0, plan.length)))
    for rank in range(plan.ranks):
        for worker in range(workers):
            shard = Shard(rank, worker, workers)
            assert list(plan.slots(shard))[skip:] == list(plan.slots(shard, skip=skip))


@given(plan=PLANS, data=st.data(), workers=st.integers(1, 3))
def test_the_count_of_a_shard_is_that_of_its_slots(plan: EpochPlan, data: st.DataObject, workers: int) -> None:
    plan = replace(plan, start=data.draw(st.integers(0, plan.length)))
    shards = [Shard(rank, worker, workers) for rank in range(plan.ranks) for worker in range(workers)]

    assert [len(list(plan.slots(shard))) for shard in shards] == [plan.count(shard) for shard in shards]


def test_skipping_costs_nothing() -> None:
    plan = EpochPlan(order=range(10**15), batch_size=2)

    assert 10**14 == next(plan.slots(Shard(), skip=10**14)).position


def test_the_order_is_asked_only_for_what_is_dealt() -> None:
    class Counting(list[int]):
        asked = 0

        def __getitem__(self, position: Any) -> Any:
            self.asked += 1
            return super().__getitem__(position)

    order = Counting(range(100))
    list(EpochPlan(order=order, batch_size=5, start=80).slots(Shard()))
    assert 20 == order.asked


def test_an_order_may_be_an_array_of_numpy() -> None:
    slots = list(EpochPlan(order=np.array([2, 0, 1]), batch_size=2).slots(Shard()))  # type: ignore[arg-type]

    assert [2, 0, 1] == [slot.index for slot in slots]
    assert {int} == {type(slot.index) for slot in slots}


def test_drop_last_leaves_out_the_last_batch_of_leftovers_even_if_it_is_full() -> None:
    plan = grouped([0, 0, 0, 1, 1, 1], drop_last=True)

    assert [[0, 1], [2, 3]] == dealt(plan)
    assert (2, 4, 6) == (plan.steps, plan.samples_per_rank, plan.consumed_after(2))


def test_without_leftovers_drop_last_leaves_nothing_out() -> None:
    assert 2 == grouped([0, 0, 1, 1], drop_last=True).steps


def test_one_rank_gets_the_leftovers_without_padding() -> None:
    assert [[0, 1], [2, 3], [4]] == dealt(grouped([0, 0, 1, 1, 1]))


def test_several_ranks_get_whole_batches() -> None:
    plan = grouped([0, 0, 1, 1, 1], ranks=4)

    assert [(0, False), (1, False)] == indices(plan.slots(Shard(0)))
    assert [(2, False), (3, False)] == indices(plan.slots(Shard(1)))
    # A short batch is filled up with its own samples, and who has none gets the first one of the epoch.
    assert [(4, False), (4, True)] == indices(plan.slots(Shard(2)))
    assert [(0, True), (1, True)] == indices(plan.slots(Shard(3)))
    assert 2 == plan.samples_per_rank


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 3}, "^the order is cut for batches of 2: they cannot have 3 samples$"),
        ({"start": 3}, "cannot go on from 3, inside one"),
        ({"interleaved": True, "ranks": 2}, "sample by sample"),
        ({"start": 6}, "the epoch has 5 positions: it cannot go on from 6"),
        ({"start": -2}, "cannot go on from -2"),
        ({"ranks": 0}, "on 0 ranks"),
        ({"batch_size": 0}, "batches of 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grouped([0, 0, 1, 1, 1], **changes)


def test_an_epoch_of_groups_may_have_ended() -> None:
    assert 0 == grouped([0, 0, 1, 1, 1], start=5).steps_left


@pytest.mark.parametrize(("rank", "worker", "workers"), [(-1, 0, 1), (0, 2, 2), (0, -1, 1), (0, 0, 0)])
def test_a_shard_that_cannot_be_is_refused(rank: int, worker: int, workers: int) -> None:
    with pytest.raises(ValueError, match="no such shard"):
        Shard(rank, worker, workers)
