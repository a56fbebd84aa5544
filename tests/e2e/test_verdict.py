"""The verdict on loaders whose limit is known: one seed of ``python -m bench verdict``."""

from __future__ import annotations

import pytest

from bench.cases.verdict import SET_UPS, SetUp, judge_once


@pytest.mark.parametrize("set_up", SET_UPS, ids=lambda set_up: set_up.name.replace(" ", "-"))
def test_the_verdict_is_right(set_up: SetUp) -> None:
    result = judge_once(set_up, seed=100)

    assert result["whole"] == set_up.limit.value, result["said"]
