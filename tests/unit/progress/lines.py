"""A line to show."""

from __future__ import annotations

__all__ = ["Named"]


class Named:
    """Says its name.

    Args:
        name: what it says.
        rows: so many rows it has.
    """

    def __init__(self, name: str, rows: int = 1) -> None:
        self._name = name
        self._rows = rows

    def rows(self, width: int) -> list[str]:
        return [f"{self._name} row {n}" for n in range(self._rows)]

    def plain(self) -> str:
        return f"{self._name} goes"

    def summary(self, width: int | None = None) -> str:
        return f"{self._name} went"
