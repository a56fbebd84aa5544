"""What happened, in numbers that answer a question; and the answer, in words."""

from __future__ import annotations

from asyncio_loader.stats.durations import Durations
from asyncio_loader.stats.loader_stats import GAUGES, NUMBERS, Counters, LoaderStats
from asyncio_loader.stats.slowest import SlowObject
from asyncio_loader.stats.verdict import Limit, Verdict, judge

__all__ = ["GAUGES", "NUMBERS", "Counters", "Durations", "Limit", "LoaderStats", "SlowObject", "Verdict", "judge"]
