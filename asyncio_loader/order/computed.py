"""Sequences whose entries are computed when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

__all__ = ["ComputedSequence"]


class ComputedSequence(Sequence[int]):
    """A sequence of integers that is nowhere stored. A subclass says how long it is and what stands at a position.

    A negative position is a mistake here, not the end: positions are arithmetic, and arithmetic goes wrong.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, position: int) -> int: ...

    @overload
    def __getitem__(self, position: slice) -> list[int]: ...

    def __getitem__(self, position: int | slice) -> int | list[int]:
        """The entry at a position, 0 ≤ position < length; of a slice a list."""
        if isinstance(position, slice):
            return [self._at(place) for place in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside 0 … {len(self) - 1}")
        return self._at(position)

    @abstractmethod
    def _at(self, position: int) -> int:
        """The entry at a position that is known to be inside."""
