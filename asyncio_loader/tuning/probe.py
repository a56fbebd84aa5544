"""One setting, measured: a warm-up, then a steady state that the clock ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from asyncio_loader.errors import LoaderError
from asyncio_loader.tuning.flows import Flow
from asyncio_loader.tuning.gauge import measurement_between, peak_rss_bytes
from asyncio_loader.tuning.measurement import Measurement

__all__ = ["Progress", "measure"]

# The warm-up is over when the connections are open and the rate has settled: two samples for each GET in flight, and a
# second, or as long as is measured if that is less. A store that is too slow for it is measured as it is, once every
# worker has delivered: all that one had done before its first report would count as done in the steady state.
_WARM_SAMPLES = 2
_WARM_S = 1.0
_WARM_AT_MOST_S = 15.0

_TELL_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """Attributes:
    is_warm: whether the steady state has begun.
    elapsed_s: since it has, or else since the start.
    samples: in this time.
    """

    is_warm: bool
    elapsed_s: float
    samples: int


def measure(
    flow: Flow,
    *,
    concurrency: int,
    processes: int,
    seconds: float,
    tell: Callable[[Progress], object],
    clock: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Measure a flow, and end it.

    Args:
        flow: what to measure.
        concurrency: GETs in flight per process, for the length of the warm-up and for the record.
        processes: how many fetch.
        seconds: length of the steady state. It ends with the first step after that, and counts until then.
        tell: called now and then, in between.
        clock: seconds.

    Raises:
        FetchError: an object could not be had, whatever the retries; likewise DecodeError and ConfigError.
    """
    base_rss_bytes = peak_rss_bytes()
    enough = _WARM_SAMPLES * concurrency * processes
    warm_s = min(_WARM_S, seconds)

    def is_warm(samples: int, elapsed_s: float) -> bool:
        is_enough = elapsed_s >= warm_s and (samples >= enough or elapsed_s >= _WARM_AT_MOST_S)
        return is_enough and flow.is_complete

    with closing(flow.counts()) as counts:
        _count(counts, is_warm, lambda elapsed_s, samples: tell(Progress(False, elapsed_s, samples)), clock)
        before = flow.read()
        samples, elapsed_s = _count(
            counts,
            lambda _, elapsed_s: elapsed_s >= seconds,
            lambda elapsed_s, samples: tell(Progress(True, elapsed_s, samples)),
            clock,
        )
        after = flow.read()
    return measurement_between(
        before,
        after,
        flow.latencies_s,
        concurrency=concurrency,
        elapsed_s=elapsed_s,
        samples=samples,
        base_rss_bytes=base_rss_bytes,
    )


def _count(
    counts: Iterator[int],
    is_over: Callable[[int, float], bool],
    tell: Callable[[float, int], object],
    clock: Callable[[], float],
) -> tuple[int, float]:
    """Take samples until it is over; their number, and the seconds it took until the last of them."""
    started_s = told_s = clock()
    samples = 0
    for count in counts:
        samples += count
        now_s = clock()
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            tell(now_s - started_s, samples)
        if is_over(samples, now_s - started_s):
            return samples, now_s - started_s
    raise LoaderError("the samples came to an end while they were counted")
