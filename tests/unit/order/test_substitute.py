from __future__ import annotations

from asyncio_loader.order.substitute import substitute_position


def test_it_is_the_same_wherever_it_is_asked() -> None:
    first = substitute_position(1000, seed=1, epoch=2, position=3, attempt=1)

    assert first == substitute_position(1000, seed=1, epoch=2, position=3, attempt=1)
    assert 0 <= first < 1000


def test_attempts_and_positions_differ() -> None:
    drawn = {
        substitute_position(10**9, seed=0, epoch=0, position=position, attempt=attempt)
        for position in range(5)
        for attempt in range(1, 5)
    }

    assert len(drawn) == 20
