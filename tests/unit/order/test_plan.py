from __future__ import annotations

from itertools import chain, zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.order.permutation import Permutation
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard

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


@pytest.mark.parametrize(("rank", "worker", "workers"), [(-1, 0, 1), (0, 2, 2), (0, -1, 1), (0, 0, 0)])
def test_a_shard_that_cannot_be_is_refused(rank: int, worker: int, workers: int) -> None:
    with pytest.raises(ValueError, match="no such shard"):
        Shard(rank, worker, workers)
