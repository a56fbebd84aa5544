"""The sections of `compare`, by name: what each measures, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from asyncio_loader.options import FetchOptions
from bench.peers import Peer
from bench.report import Report

__all__ = ["Figure", "Options", "Outcome", "Section"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Attributes:
    repeats: turns of each contender; the median counts.
    scale: share of the full amount of work, for a quick look.
    only: names of contenders; all of them where it is empty.
    sizes_bytes: sizes of the objects of the GETs; the section's own where it is empty.
    in_flight: GETs at the same time; the section's own where it is empty.
    tls: measure the GETs over https, too.
    workers: threads or processes of a loader that decode.
    loader_in_flight: GETs at the same time of each loader that can be told; ours finds its own.
    window_bytes: see `FetchOptions`; of our loaders.
    say: gets a line about every measurement.
    """

    repeats: int = 5
    scale: float = 1.0
    only: Sequence[str] = ()
    sizes_bytes: Sequence[int] = ()
    in_flight: Sequence[int] = ()
    tls: bool = False
    workers: int = 2
    loader_in_flight: int = 128
    window_bytes: int = FetchOptions().window_bytes
    say: Callable[[str], None] = field(default=lambda line: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a plot shows.

    Attributes:
        title: what was measured.
        axis: what the values are, with their unit.
        lines: names, and for each of its groups median, least and most; NaN where there is nothing.
        groups: what the values of a line belong to.
    """

    title: str
    axis: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float, float]]]]
    groups: Sequence[str] = ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A table, what has to be said below it, and a plot."""

    report: Report
    notes: Sequence[str]
    figure: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One of the comparisons.

    Attributes:
        summary: what it finds out, in a line.
        choose: its contenders among the names in ``--only``; empty: those that it has by itself.
        compare: measures them.
    """

    summary: str
    choose: Callable[[Sequence[str]], Sequence[Peer]]
    compare: Callable[[Options], Iterator[Outcome]]
