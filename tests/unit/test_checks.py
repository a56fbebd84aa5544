from __future__ import annotations

import numpy as np
import pytest
import torch

from asyncio_loader.checks import MOST_INT64, whole_number
from asyncio_loader.errors import ConfigError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_kind_become_ints(value: object) -> None:
    assert type(whole_number("n", value, least=3)) is int


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2, "n must be a whole number of at least 3, not 2"),
        (3.0, "n must be a whole number of at least 3, not 3.0"),
        ("3", "n must be a whole number of at least 3, not '3'"),
        (True, "n must be a whole number of at least 3, not True"),
        (None, "n must be a whole number of at least 3, not None"),
        (MOST_INT64 + 1, "n must be a whole number of at most 9223372036854775807, not 9223372036854775808"),
    ],
)
def test_anything_else_is_refused_by_name_and_value(value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        whole_number("n", value, least=3, most=MOST_INT64)

    assert str(caught.value) == said


def test_without_bounds_any_whole_number_will_do() -> None:
    assert whole_number("seed", -(2**100)) == -(2**100)
