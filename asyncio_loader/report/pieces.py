"""A run in pieces that are long enough to be judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from asyncio_loader.record.reading import Step
from asyncio_loader.stats import LoaderStats, Verdict, judge

__all__ = ["judged_pieces"]

# What `judge` wants to see, and more pieces than this nobody tells apart on a screen.
_LEAST_SAMPLES = 32
_LEAST_S = 1.0
_LEAST_JUDGED_S = 0.5
_MOST_PIECES = 80


def judged_pieces(steps: Sequence[Step], total: LoaderStats) -> list[tuple[Step, Verdict]]:
    """The steps of a loader, as many together as it takes, each piece with what limited it.

    Args:
        steps: in their order.
        total: of the whole run: what fetching usually takes is known by it alone.
    """
    least_s = max(_LEAST_S, sum(step.over_s for step in steps) / _MOST_PIECES)
    pieces: list[Step] = []
    begin, stats, over_s = None, LoaderStats(), 0.0
    for step in steps:
        begin = begin or step.begin
        stats, over_s = stats + step.stats, over_s + step.over_s
        # What an iteration takes to begin is no part of what is judged.
        judged_s = min(over_s, stats.elapsed_s - stats.startup_s)
        if stats.samples >= _LEAST_SAMPLES and over_s >= least_s and judged_s >= _LEAST_JUDGED_S:
            pieces.append(Step(end=step.end, over_s=(step.end - begin).total_seconds(), stats=stats))
            begin, stats, over_s = None, LoaderStats(), 0.0
    return [(piece, judge(replace(piece.stats, fetch=total.fetch))) for piece in pieces]
