from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.ordering import Grouped, Ordering, Sequential, Shuffled, Weighted

ORDERINGS: list[Ordering] = [
    Sequential(100),
    Sequential(101),
    Shuffled(100, seed=1),
    Shuffled(100, seed=2),
    Shuffled(101, seed=1),
    Weighted([1.0] * 100, seed=1),
    Weighted([1.0] * 100, seed=2),
    Weighted([1.0] * 100, length=50, seed=1),
    Weighted([1.0] * 99 + [2.0], seed=1),
    Grouped([0, 1] * 50, 4, shuffle=True, seed=1),
    Grouped([0, 1] * 50, 4, shuffle=True, seed=2),
    Grouped([0, 1] * 50, 4, shuffle=False, seed=1),
    Grouped([0, 1] * 50, 5, shuffle=True, seed=1),
    Grouped([0, 0, 1, 1] * 25, 4, shuffle=True, seed=1),
]


@pytest.mark.parametrize("ordering", ORDERINGS, ids=str)
def test_it_is_an_ordering(ordering: Ordering) -> None:
    assert isinstance(ordering, Ordering)
    assert ordering.digest(0) is None


@pytest.mark.parametrize("ordering", ORDERINGS, ids=str)
def test_a_copy_in_another_process_is_the_same(ordering: Ordering) -> None:
    copy = pickle.loads(pickle.dumps(ordering))

    assert list(ordering.of_epoch(3)) == list(copy.of_epoch(3))
    assert ordering.describe() == copy.describe()


def test_no_two_orders_describe_themselves_alike() -> None:
    descriptions = {json.dumps(ordering.describe()) for ordering in ORDERINGS}

    assert len(ORDERINGS) == len(descriptions)
    assert all(len(description) < 500 for description in descriptions)


def test_a_description_is_part_of_the_resume_format() -> None:
    """If these change, runs that are under way cannot be resumed."""
    assert {"order": "sequential", "length": 3} == Sequential(3).describe()
    assert {"order": "shuffled", "length": 3, "seed": 7} == Shuffled(3, 7).describe()


def test_sequential_is_the_order_of_the_indices_in_every_epoch() -> None:
    assert [0, 1, 2, 3] == list(Sequential(4).of_epoch(0)) == list(Sequential(4).of_epoch(9))


def test_shuffled_is_another_permutation_for_every_epoch_and_seed() -> None:
    orders = {tuple(Shuffled(50, seed).of_epoch(epoch)) for seed in range(3) for epoch in range(3)}

    assert len(orders) == 9
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_a_hundred_million_samples_cost_nothing() -> None:
    assert 100_000_000 == len(Shuffled(100_000_000).of_epoch(0)) == len(Sequential(100_000_000).of_epoch(0))


@pytest.mark.parametrize("make", [Sequential, Shuffled])
def test_an_order_of_nothing_is_refused(make: type[Sequential] | type[Shuffled]) -> None:
    with pytest.raises(ConfigError, match="at least one sample, not 0"):
        make(0)


@pytest.mark.parametrize(
    "ordering",
    [
        Shuffled(4, seed=np.int64(3)),  # type: ignore[arg-type]
        Weighted([1, 2], seed=np.int64(3)),  # type: ignore[arg-type]
        Grouped([0, 1], 1, shuffle=True, seed=np.int64(3)),  # type: ignore[arg-type]
    ],
    ids=lambda ordering: type(ordering).__name__,
)
def test_a_seed_of_numpys_is_described_as_json_takes_it(ordering: Ordering) -> None:
    assert json.loads(json.dumps(ordering.describe()))["seed"] == 3
