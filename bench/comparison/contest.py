"""Contenders that take turns, and the table of what they did. Pure, but for the call that measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from bench.peers import Peer

__all__ = ["Entry", "bar", "failures", "label", "ratio", "spread", "take_turns"]

Figures = Mapping[str, Any]


@dataclass
class Entry:
    """What one contender did.

    Attributes:
        peer: who.
        runs: its figures, turn by turn; None for a turn in which it failed or did not start.
        failure: why it is out, in a line. It does not start again then, and its figures are not shown.
    """

    peer: Peer
    runs: list[Figures | None] = field(default_factory=list)
    failure: str = ""

    def values(self, figure: str) -> list[float]:
        """A figure of every turn."""
        return [run[figure] for run in self.runs if run is not None]

    def middle(self, figure: str) -> float:
        """The median of a figure."""
        return median(self.values(figure))


def take_turns(
    peers: Sequence[Peer],
    measure: Callable[[Peer], Figures],
    *,
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Entry]:
    """Let each contender have its turn, `repeats` times.

    Args:
        peers: the contenders, in the order of the turns and of the result.
        measure: one measurement. One that fails returns ``{"failed": reason}`` or raises RuntimeError, as
            `call_in_fresh_process` does where the process broke down; that contender is out.
        repeats: turns.
        say: gets a line about every measurement.
    """
    entries = {peer.name: Entry(peer) for peer in peers}
    for turn in range(repeats):
        for entry in entries.values():
            if entry.failure:
                entry.runs.append(None)
                continue
            try:
                figures = measure(entry.peer)
            except RuntimeError as error:
                figures = {"failed": str(error)}
            if "failed" in figures:
                entry.failure = figures["failed"]
            entry.runs.append(None if entry.failure else figures)
            say(f"  {turn + 1}/{repeats} {entry.peer.name}: {entry.failure or _short(figures)}")
    return entries


def ratio(entries: Mapping[str, Entry], one: str, other: str, figure: str) -> str:
    """How `one` compares with `other`: the median over the turns, so that a slow minute of the machine hits both.

    A dash where either is missing, failed, or is the other.
    """
    first, second = entries.get(one), entries.get(other)
    if first is None or second is None or first is second or first.failure or second.failure:
        return "–"
    pairs = [(a[figure], b[figure]) for a, b in zip(first.runs, second.runs, strict=True) if a and b]
    return f"{median(a / b for a, b in pairs):.2f}"


def spread(entry: Entry, figure: str, form: str = "{:.0f}") -> tuple[str, str, str]:
    """Median, least and most of a figure."""
    if entry.failure:
        return "failed", "–", "–"
    values = entry.values(figure)
    return form.format(median(values)), form.format(min(values)), form.format(max(values))


def bar(entry: Entry, figure: str) -> tuple[float, float, float]:
    """Median, least and most of a figure for a plot; NaN for one that is out."""
    if entry.failure:
        return (math.nan,) * 3
    values = entry.values(figure)
    return median(values), min(values), max(values)


def failures(entries: Mapping[str, Entry]) -> list[str]:
    """A line about each contender that is out."""
    return [f"{name} failed: {entry.failure}" for name, entry in entries.items() if entry.failure]


def label(peer: Peer) -> str:
    """The name with the version of what it shows."""
    if peer.distribution is None:
        return peer.name
    try:
        return f"{peer.name} {version(peer.distribution)}"
    except PackageNotFoundError:
        return peer.name


def _short(figures: Figures) -> str:
    return ", ".join(
        f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, int | float) and value
    )
