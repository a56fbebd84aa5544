from __future__ import annotations

import pytest

from asyncio_loader.order.computed import ComputedSequence


class Squares(ComputedSequence):
    def __len__(self) -> int:
        return 5

    def _at(self, position: int) -> int:
        return position**2


def test_it_is_a_sequence() -> None:
    assert [0, 1, 4, 9, 16] == list(Squares())
    assert [4, 9, 16] == Squares()[2:]
    assert 9 in Squares()


@pytest.mark.parametrize("position", [-1, 5])
def test_a_position_outside_is_refused(position: int) -> None:
    with pytest.raises(IndexError, match=rf"^position {position} is outside 0 … 4$"):
        Squares()[position]
