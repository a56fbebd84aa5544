from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.order.permutation import Permutation


@given(length=st.integers(1, 3000), key=st.text(max_size=20))
def test_it_is_a_permutation(length: int, key: str) -> None:
    permutation = Permutation(length, key)

    assert list(range(length)) == sorted(permutation[i] for i in range(length))


def test_the_same_key_gives_the_same_order_for_ever() -> None:
    """These numbers are part of the resume format: if they change, old runs cannot be resumed."""
    permutation = Permutation(10, "0:0")

    assert [3, 6, 7, 0, 8, 5, 9, 4, 1, 2] == [permutation[i] for i in range(10)]


@pytest.mark.parametrize("length", [2, 3, 5, 10, 97])
def test_every_element_is_equally_likely_at_a_position(length: int) -> None:
    """Chi-squared over 200 keys per element; the bound is passed by chance once in about a million."""
    keys = 200 * length
    counts = Counter(Permutation(length, f"{key}:0")[length // 2] for key in range(keys))

    chi_squared = sum((counts[i] - 200) ** 2 / 200 for i in range(length))
    degrees = length - 1
    assert chi_squared < degrees + 5 * (2 * degrees) ** 0.5 + 20


def test_all_orders_of_four_elements_occur() -> None:
    orders = Counter(tuple(Permutation(4, f"{key}")[i] for i in range(4)) for key in range(2400))

    assert len(orders) == 24
    assert min(orders.values()) > 50


def test_a_hundred_million_elements_need_no_memory() -> None:
    permutation = Permutation(100_000_000, "7:3")

    assert len({permutation[i * 99_991] for i in range(1000)}) == 1000


@pytest.mark.parametrize("position", [-1, 10])
def test_a_position_outside_is_refused(position: int) -> None:
    with pytest.raises(IndexError, match="outside"):
        Permutation(10, "0")[position]


@given(length=st.integers(1, 3000), key=st.text(max_size=20))
def test_the_inverse_finds_every_element(length: int, key: str) -> None:
    permutation = Permutation(length, key)

    assert list(range(length)) == [permutation.position_of(permutation[i]) for i in range(length)]


@pytest.mark.parametrize("index", [-1, 10])
def test_an_element_outside_has_no_position(index: int) -> None:
    with pytest.raises(IndexError, match="outside"):
        Permutation(10, "0").position_of(index)


def test_equal_is_what_gives_the_same_order() -> None:
    assert Permutation(10, "0") == Permutation(10, "0")
    assert 3 == len({Permutation(10, "0"), Permutation(10, "0"), Permutation(11, "0"), Permutation(10, "1")})
    assert Permutation(1, "0") != range(1)


def test_it_travels_to_another_process() -> None:
    assert Permutation(10, "0") == pickle.loads(pickle.dumps(Permutation(10, "0")))
