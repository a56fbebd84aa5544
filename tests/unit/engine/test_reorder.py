from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.engine.reorder import ReorderBuffer


@given(st.permutations(range(12)))
def test_any_order_comes_out_in_order(arrivals: list[int]) -> None:
    delivered: list[int] = []
    buffer: ReorderBuffer[int] = ReorderBuffer(delivered.append)

    for order in arrivals:
        buffer.put(order, order)

    assert delivered == list(range(12))


def test_nothing_is_held_back_longer_than_needed() -> None:
    delivered: list[str] = []
    buffer: ReorderBuffer[str] = ReorderBuffer(delivered.append)

    buffer.put(1, "b")
    assert delivered == []
    buffer.put(0, "a")
    assert delivered == ["a", "b"]
