from __future__ import annotations

import pytest

from asyncio_loader.tuning.knee import Knee, find_knee


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        pytest.param({16: 400, 64: 1000, 256: 1000}, Knee(64, 1.0, 64, False), id="plateau"),
        pytest.param({16: 400, 64: 960, 256: 1000}, Knee(64, 0.96, 256, False), id="within 5 %"),
        pytest.param({16: 400, 64: 950, 256: 1000}, Knee(64, 0.95, 256, False), id="exactly 5 %"),
        pytest.param({16: 400, 64: 949, 256: 1000}, Knee(256, 1.0, 256, True), id="beyond 5 %"),
        pytest.param({16: 990, 32: 940, 64: 1000, 128: 900}, Knee(16, 0.99, 64, False), id="noise"),
        pytest.param({16: 100, 32: 200, 64: 400}, Knee(64, 1.0, 64, True), id="it still grows"),
        pytest.param({16: 400, 32: 200, 64: 100}, Knee(16, 1.0, 16, False), id="it falls"),
        pytest.param({16: 400}, Knee(16, 1.0, 16, False), id="one value"),
        pytest.param({256: 1000, 16: 400, 64: 1000}, Knee(64, 1.0, 64, False), id="any order"),
    ],
)
def test_the_knee_is_the_least_concurrency_near_the_best(rates: dict[int, float], expected: Knee) -> None:
    assert find_knee(rates) == expected


@pytest.mark.parametrize("rates", [{}, {16: 0.0, 64: 0.0}])
def test_there_is_no_knee_where_nothing_came(rates: dict[int, float]) -> None:
    assert find_knee(rates) is None
