from __future__ import annotations

import pickle
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.grouped import Grouped

FLAGS = st.lists(st.integers(-2, 3), min_size=1, max_size=60)


def batches_of_the_reference(flags: list[int], batch_size: int) -> list[list[int]]:
    """What mmdet 3.x's AspectRatioBatchSampler does, for any groups."""
    buckets: dict[int, list[int]] = {flag: [] for flag in sorted(set(flags))}
    batches = []
    for index, flag in enumerate(flags):
        buckets[flag].append(index)
        if len(buckets[flag]) == batch_size:
            batches.append(buckets[flag])
            buckets[flag] = []
    leftovers = [index for bucket in buckets.values() for index in bucket]
    return batches + [leftovers[i : i + batch_size] for i in range(0, len(leftovers), batch_size)]


@given(flags=FLAGS, batch_size=st.integers(1, 7))
def test_without_shuffle_it_is_the_order_of_the_reference(flags: list[int], batch_size: int) -> None:
    order = Grouped(flags, batch_size, shuffle=False, seed=9).of_epoch(4)

    assert list(chain.from_iterable(batches_of_the_reference(flags, batch_size))) == list(order)


@given(flags=FLAGS, batch_size=st.integers(1, 7))
def test_leftovers_stand_at_the_end_by_ascending_group(flags: list[int], batch_size: int) -> None:
    order = Grouped(flags, batch_size, shuffle=True).of_epoch(0)

    left = [flags[index] for index in list(order)[len(order) - order.leftover_items :]]
    assert left == sorted(left)
    assert {flag: left.count(flag) for flag in set(flags)} == {
        flag: flags.count(flag) % batch_size for flag in set(flags)
    }


def test_the_same_seed_gives_the_same_order_for_ever() -> None:
    """These numbers are part of the resume format: if they change, old runs cannot be resumed."""
    grouped = Grouped([0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0], 3, shuffle=True, seed=5)

    assert [2, 0, 10, 4, 7, 1, 9, 6, 5, 8, 3] == list(grouped.of_epoch(0))
    assert [0, 6, 9, 4, 3, 1, 5, 8, 2, 10, 7] == list(grouped.of_epoch(1))


def test_epochs_and_seeds_differ() -> None:
    flags = [0, 1, 1] * 20
    orders = {
        tuple(Grouped(flags, 4, shuffle=True, seed=seed).of_epoch(epoch)) for seed in range(3) for epoch in range(3)
    }

    assert len(orders) == 9


def test_groups_are_told_apart_by_their_order_alone() -> None:
    low, high = (Grouped(flags, 2, shuffle=True) for flags in ([0, 1, 0, 1, 0], [-7, 900, -7, 900, -7]))

    assert list(low.of_epoch(0)) == list(high.of_epoch(0))
    assert low.describe() == high.describe()


def test_without_shuffle_the_seed_makes_no_difference() -> None:
    first, second = (Grouped([0, 1, 0], 2, shuffle=False, seed=seed) for seed in (1, 2))

    assert first.describe() == second.describe()


def test_it_travels_as_its_flags() -> None:
    grouped = Grouped(np.zeros(100_000, dtype=np.uint8), 2, shuffle=True)
    grouped.of_epoch(0)

    assert 100_000 < len(pickle.dumps(grouped)) < 101_000


def test_flags_that_change_later_make_no_difference() -> None:
    flags = np.array([0, 1, 0, 1])
    grouped = Grouped(flags, 2, shuffle=False)
    flags[:] = 0

    assert [0, 2, 1, 3] == list(grouped.of_epoch(0))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "one whole number per sample"),
        ([0.5, 1.0], "not an array of shape .* float64"),
        ([[0, 1]], r"not an array of shape \(1, 2\)"),
        (["tall"], "one whole number per sample"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags: ArrayLike, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grouped(flags, 2, shuffle=True)


def test_batches_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch_size .* not 0"):
        Grouped([0], 0, shuffle=True)
