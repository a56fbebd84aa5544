from __future__ import annotations

import pickle
from typing import Any

import pytest
from torch.utils.data import SequentialSampler

from asyncio_loader.datasets.custom_order import CustomOrder
from asyncio_loader.datasets.distributed import RankAndWorld
from asyncio_loader.datasets.ordered import OrderedRefs
from asyncio_loader.datasets.position import Position
from asyncio_loader.errors import ConfigError, StateMismatch
from asyncio_loader.order.ordering import Grouped, Ordering, Sequential, Shuffled, Weighted
from asyncio_loader.order.plan import EpochPlan

URIS = [f"m://{n}" for n in range(20)]


def ordered(refs: Any = URIS, **options: Any) -> OrderedRefs:
    defaults = {"shuffle": False, "seed": 0, "drop_last": False, "order": None, "epochs": None}
    return OrderedRefs(refs, **{**defaults, **options})


def indices(plan: EpochPlan) -> list[int]:
    return [plan.index_at(position) for position in range(plan.length)]


def backwards(epoch: int) -> range:
    return range(19, -1, -1)


def test_without_shuffle_every_epoch_goes_by_index() -> None:
    refs = ordered()
    refs._position.set_epoch(3)

    assert indices(refs.plan(4)) == list(range(20))
    assert refs.plan(4).epoch == 3


def test_with_shuffle_the_order_is_that_of_seed_and_epoch() -> None:
    refs = ordered(shuffle=True, seed=5)
    refs._position.set_epoch(3)

    assert indices(refs.plan(4)) == list(Shuffled(20, 5).of_epoch(3))


@pytest.mark.parametrize("order", [Weighted([1.0] * 20, length=7, seed=1), Grouped([0, 1] * 10, 4, shuffle=True)])
def test_an_order_of_ours_comes_before_shuffle(order: Any) -> None:
    plan = ordered(order=order, shuffle=True).plan(4)

    assert indices(plan) == list(order.of_epoch(0))
    assert plan.unit == order.unit


@pytest.mark.parametrize("order", [backwards, list(backwards(0))], ids=["function", "list"])
def test_an_order_from_outside_is_read_for_every_epoch(order: Any) -> None:
    refs = ordered(order=order)

    assert isinstance(refs.order, CustomOrder)
    assert indices(refs.plan(4)) == list(range(19, -1, -1))


def test_a_sampler_is_an_order() -> None:
    assert indices(ordered(order=SequentialSampler(URIS)).plan(4)) == list(range(20))


def test_a_plan_goes_on_from_where_the_next_iteration_begins() -> None:
    refs = ordered(drop_last=True)
    refs._position.load(Position(2, 8))
    refs.set_rank(1, 3)
    plan = refs.plan(4)

    assert (plan.epoch, plan.start, plan.batch_size, plan.ranks, plan.drop_last) == (2, 8, 4, 3, True)


def test_an_epoch_that_is_over_may_be_planned() -> None:
    refs = ordered()
    refs._position.load(Position(0, 20))

    assert refs.plan(4).steps_left == 0


def test_a_position_beyond_the_epoch_is_refused() -> None:
    refs = ordered()
    refs._position.load(Position(2, 21))

    with pytest.raises(StateMismatch, match="consumed=21: epoch 2 has only 20 positions here"):
        refs.plan(4)


def test_an_order_of_batches_refuses_another_batch_size() -> None:
    refs = ordered(order=Grouped([0, 1] * 10, 4, shuffle=True))

    with pytest.raises(ConfigError, match="cut for batches of 4: they cannot have 5 samples"):
        refs.plan(5)


def describe(refs: OrderedRefs, epoch: int = 0) -> dict[str, Any]:
    return refs._describe(4, epoch)


def test_two_orders_are_described_alike_exactly_if_they_are_equal() -> None:
    described = describe(ordered(shuffle=True, seed=1))

    assert described == describe(ordered(shuffle=True, seed=1), epoch=9)
    assert described != describe(ordered(shuffle=True, seed=2))
    assert described != describe(ordered(shuffle=False, seed=1))
    assert described != describe(ordered(URIS[:-1], shuffle=True, seed=1))
    assert described != describe(ordered([*URIS[:-1], "m://other"], shuffle=True, seed=1))
    assert described != describe(ordered(order=Weighted([1.0] * 20, seed=1), seed=1))


def test_the_seed_of_random_transforms_is_described_even_where_nothing_is_shuffled() -> None:
    assert describe(ordered(seed=1)) != describe(ordered(seed=2))


def test_an_order_from_outside_is_described_by_what_it_gives_in_the_epoch() -> None:
    def by_epoch(epoch: int) -> list[int]:
        return [epoch, 0, 1]

    assert describe(ordered(order=by_epoch), 1) == describe(ordered(order=[1, 0, 1]), 1)
    assert describe(ordered(order=by_epoch), 1) != describe(ordered(order=by_epoch), 2)
    assert describe(ordered(order=[0, 1, 2])) != describe(ordered(order=[0, 2, 1]))


@pytest.mark.parametrize(
    ("options", "epoch", "is_likely", "goes_on"),
    [
        ({"epochs": 3}, 0, False, True),
        ({"epochs": 3}, 1, False, True),
        ({"epochs": 3}, 2, True, False),
        ({"epochs": 3}, 7, True, False),
        ({"epochs": 3, "order": backwards}, 0, False, True),
        ({"shuffle": True}, 0, True, True),
        ({"shuffle": True}, 0, False, False),
        ({"shuffle": False}, 0, True, False),
        ({"shuffle": True, "order": backwards}, 0, True, False),
    ],
)
def test_a_further_epoch_is_expected_where_it_is_known_or_likely(
    options: dict[str, Any], epoch: int, is_likely: bool, goes_on: bool
) -> None:
    assert ordered(**options)._goes_on_after(epoch, is_likely) == goes_on


def test_the_rank_is_asked_for_anew_at_every_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    refs = ordered()
    assert refs.plan(1).ranks == 1

    monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda: RankAndWorld(2, 5))
    assert refs.plan(1).ranks == 5
    assert refs._rank_and_world() == RankAndWorld(2, 5)


def test_a_rank_that_is_given_comes_before_the_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda: RankAndWorld(2, 5))
    refs = ordered()
    refs.set_rank(0, 2)

    assert refs._rank_and_world() == RankAndWorld(0, 2)


def test_a_pickled_copy_takes_the_rank_along_and_a_group_of_its_own_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place: RankAndWorld | None = RankAndWorld(2, 5)
    monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda: place)
    pickled = pickle.dumps(ordered())

    place = None
    assert pickle.loads(pickled)._rank_and_world() == RankAndWorld(2, 5)
    place = RankAndWorld(0, 3)
    assert pickle.loads(pickled)._rank_and_world() == RankAndWorld(0, 3)


@pytest.mark.parametrize(
    ("rank", "world", "message"),
    [
        (-1, 2, "rank must be a whole number of at least 0, not -1"),
        ("0", 2, "rank must be a whole number of at least 0, not '0'"),
        (2, 2, "rank must be at least 0 and below world_size=2, not 2"),
        (0, 0, "world_size must be a whole number of at least 1, not 0"),
        (0, 2.0, r"world_size must be a whole number of at least 1, not 2\.0"),
    ],
)
def test_no_rank_is_refused(rank: Any, world: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ordered().set_rank(rank, world)


@pytest.mark.parametrize("order", [Weighted([1.0] * 5), Grouped([0] * 200, 2, shuffle=True), Sequential(3)])
def test_an_order_for_other_samples_is_refused(order: Ordering) -> None:
    with pytest.raises(ConfigError, match=rf"order is made for {order.samples} samples, and there are \d+ refs"):
        ordered(order=order)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"refs": "s3://bucket/key"}, "refs must be a sequence of URIs, paths or ObjectRef, not str"),
        ({"refs": {"s3://a"}}, "refs must be a sequence of URIs, paths or ObjectRef, not set"),
        ({"refs": []}, "refs is empty"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": True}, "epochs must be a whole number of at least 1, not True"),
        ({"epochs": 1.5}, r"epochs must be a whole number of at least 1, not 1\.5"),
        ({"seed": "0"}, "seed must be a whole number, not '0'"),
        ({"seed": True}, "seed must be a whole number, not True"),
        ({"order": Shuffled}, "order must be a sampler or a function, not a class"),
        ({"order": 5}, "order must be an Ordering, a sampler, indices or a function of the epoch, not 5"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ordered(**arguments)


def test_the_order_may_be_another_one_at_the_next_plan() -> None:
    refs = ordered()
    refs.order = Sequential(5)

    assert refs.plan(1).length == 5
