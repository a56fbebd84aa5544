"""Which fields a row has room for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Field", "fit_row", "whole_row"]

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a row.

    Attributes:
        rank: what has the highest is left out first; what has the lowest never is, but cut off.
        forms: what it may look like, the longest and best first.
    """

    rank: int
    forms: tuple[str, ...]


def fit_row(fields: Iterable[Field], width: int) -> str:
    """A row of at most `width` characters, with as many of the fields as possible, in their order.

    First as many as there is room for in their shortest form, then, the lowest rank first, the longest form that fits.
    """
    kept = [field for field in fields if field.forms]
    while len(kept) > 1 and _width(_shortest(kept)) > width:
        kept.remove(max(kept, key=lambda field: field.rank))
    chosen = _shortest(kept)
    for place in sorted(range(len(kept)), key=lambda n: kept[n].rank):
        for form in kept[place].forms:
            tried = [*chosen[:place], form, *chosen[place + 1 :]]
            if _width(tried) <= width:
                chosen = tried
                break
    return _GAP.join(chosen)[: max(0, width)]


def whole_row(fields: Sequence[Field]) -> str:
    """All fields in their longest form, the first as a head: for a log, whose lines may have any length."""
    head, *rest = [field.forms[0] for field in fields if field.forms]
    return f"{head}: {', '.join(rest)}"


def _shortest(fields: Sequence[Field]) -> list[str]:
    return [min(field.forms, key=len) for field in fields]


def _width(texts: Sequence[str]) -> int:
    return sum(map(len, texts)) + len(_GAP) * (len(texts) - 1)
