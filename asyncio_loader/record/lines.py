"""`LoaderStats` as JSON and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from asyncio_loader.stats import NUMBERS, Durations, LoaderStats, SlowObject

__all__ = ["DURATIONS", "FORMAT", "RUN", "STEP", "WHOLE", "durations_json", "line_of", "numbers_json", "stats_of"]

FORMAT = 1
"""Of the file. Lines of another one are refused."""

RUN, STEP, WHOLE = "run", "step", "whole"

DURATIONS = ("fetch", "wait", "transform", "hand_over")
"""Fields of `LoaderStats` that are `Durations`."""

# As `Durations` has them: 24 doublings in 8 steps each.
_PLACES = 192


def line_of(document: Mapping[str, Any]) -> bytes:
    """A line of the file. ASCII, so that a key with broken surrogates is a line as any other."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def numbers_json(stats: LoaderStats) -> dict[str, int | float]:
    """The numbers that are not 0, seconds to the microsecond."""
    return {name: round(value, 6) for name in NUMBERS if (value := getattr(stats, name))}


def durations_json(stats: LoaderStats) -> dict[str, dict[str, Any]]:
    """The histograms that are not empty."""
    found = {name: getattr(stats, name) for name in DURATIONS}
    return {
        name: {
            "counts": [[place, count] for place, count in enumerate(durations.counts) if count],
            "sum_s": round(durations.sum_s, 6),
        }
        for name, durations in found.items()
        if durations.count
    }


def stats_of(document: Mapping[str, Any]) -> LoaderStats:
    """What a ``step`` or ``whole`` line says. Numbers of names that are not known are passed over.

    Raises:
        ValueError: it is no such line; says what is wrong.
    """
    numbers = _mapping(document, "stats")
    values: dict[str, Any] = {name: _number(f"stats.{name}", numbers[name]) for name in NUMBERS if name in numbers}
    durations = _mapping(document, "durations")
    values |= {name: _durations(name, durations[name]) for name in DURATIONS if name in durations}
    return LoaderStats(**values, slowest=_slowest(document.get("slowest", [])))


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be an object, not {value!r:.80}")  # noqa: TRY004 - of a file, all are values
    return value


def _number(name: str, value: Any) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        raise ValueError(f"{name} must be a number, not {value!r:.80}")
    return value


def _durations(name: str, value: Any) -> Durations:
    if not isinstance(value, Mapping) or not isinstance(value.get("counts"), list):
        raise ValueError(f"durations.{name} must have counts, not {value!r:.80}")  # noqa: TRY004 - as above
    counts = [0] * _PLACES
    for pair in value["counts"]:
        if not _is_pair_of_counts(pair):
            raise ValueError(f"durations.{name}.counts must hold [place below {_PLACES}, count], not {pair!r:.80}")
        counts[pair[0]] = pair[1]
    return Durations(tuple(counts), float(_number(f"durations.{name}.sum_s", value.get("sum_s"))))


def _is_pair_of_counts(pair: Any) -> bool:
    whole = isinstance(pair, list) and len(pair) == 2 and all(type(number) is int and number >= 0 for number in pair)
    return whole and pair[0] < _PLACES


def _slowest(value: Any) -> tuple[SlowObject, ...]:
    if not isinstance(value, list):
        raise ValueError(f"slowest must be a list, not {value!r:.80}")  # noqa: TRY004 - as above
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], str):
            raise ValueError(f"slowest must hold [seconds, URI], not {pair!r:.80}")
    return tuple(SlowObject(float(_number("slowest", wait_s)), uri) for wait_s, uri in value)
