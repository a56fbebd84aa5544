"""Where more concurrency stops to pay. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NEAR_BEST", "Knee", "find_knee"]

NEAR_BEST = 0.95
"""Share of the best rate that is as good as the best: two runs of the same setting differ by as much."""


@dataclass(frozen=True, slots=True)
class Knee:
    """Attributes:
    concurrency: the least one whose rate is near the best.
    share: its rate as a share of the best, 0.95 to 1.
    best: the concurrency of the best rate.
    still_grows: True if it is the largest of several that were tried: more might be better still.
    """

    concurrency: int
    share: float
    best: int
    still_grows: bool


def find_knee(rates: Mapping[int, float]) -> Knee | None:
    """The knee of rates by concurrency; None where nothing was measured, or nothing came.

    The order of the entries does not count. Of two equal best rates the smaller concurrency is the best one.
    """
    best = max(sorted(rates), key=lambda concurrency: rates[concurrency], default=None)
    if best is None or rates[best] <= 0:
        return None
    knee = min(concurrency for concurrency, rate in rates.items() if rate >= NEAR_BEST * rates[best])
    return Knee(knee, rates[knee] / rates[best], best, len(rates) > 1 and knee == max(rates))
