from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from numpy.typing import ArrayLike

from asyncio_loader.errors import ConfigError
from asyncio_loader.order.weighted import Weighted


def test_the_same_seed_gives_the_same_draws_for_ever() -> None:
    """These numbers are part of the resume format: if they change, old runs cannot be resumed."""
    draws = Weighted([1, 2, 3, 4], length=12, seed=5).of_epoch(2)

    assert [2, 3, 0, 3, 3, 3, 3, 2, 3, 2, 2, 2] == list(draws)


def test_a_sample_of_no_weight_is_never_drawn() -> None:
    drawn = set(Weighted([0, 1, 0, 0, 2, 0], length=2000).of_epoch(0))

    assert {1, 4} == drawn


def test_epochs_and_seeds_and_positions_differ() -> None:
    orders = {tuple(Weighted(np.ones(1000), 20, seed).of_epoch(epoch)) for seed in range(3) for epoch in range(3)}

    assert len(orders) == 9
    assert all(len(set(order)) > 10 for order in orders)


@pytest.mark.parametrize(("length", "expected"), [(None, 3), (1, 1), (50, 50)])
def test_an_epoch_has_as_many_draws_as_wanted(length: int | None, expected: int) -> None:
    assert expected == len(Weighted([1, 2, 3], length).of_epoch(0))


def test_it_costs_eight_bytes_per_sample() -> None:
    weights = np.ones(100_000)

    assert 800_000 < len(pickle.dumps(Weighted(weights))) < 801_000


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1], r"^weights\[1\] must be a finite number of 0 or more, not -1.0$"),
        ([1, 2, math.nan], r"weights\[2\] .* not nan"),
        ([math.inf], r"weights\[0\] .* not inf"),
        ([1e308] * 3, "finite sum above 0, not inf"),
        ([0, 0], "finite sum above 0, not 0"),
        ([], "one number per sample"),
        ([[1, 2]], r"one number per sample, not an array of shape \(1, 2\)"),
        (["a"], "weights must be numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: ArrayLike, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Weighted(weights)


def test_an_epoch_of_no_draws_is_refused() -> None:
    with pytest.raises(ConfigError, match="not 0"):
        Weighted([1], length=0)
