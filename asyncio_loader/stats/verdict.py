"""What the figures mean: what limits the rate, and which option to change. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from asyncio_loader.stats.loader_stats import LoaderStats

__all__ = ["Limit", "Verdict", "judge"]

MIB = 1024 * 1024

# Fewer samples, or less time, say nothing: connections open, the level of GETs is being found.
_LEAST_SAMPLES = 32
_LEAST_S = 0.5

# The loop stands still for less than this share: a faster loader could win hardly more than noise.
_NO_WAIT = 0.1

# Whoever makes batches of samples this much of the time is the limit, and not the training loop.
_MUCH_HAND_OVER = 0.5

# The rate of GETs against the pace that the server allows: so close, it is what holds them back.
_AT_PACE = 0.7
_MANY_REFUSED = 0.01

# Share of the time without objects that a few of them make up, by which they are the trouble.
_FEW_SLOW = 0.5
# But never where the slowest is no outlier: so many times of what 95 in 100 take.
_MUCH_SLOWER = 4.0

_WINDOW_FULL = 0.6
_AT_CEILING = 0.7


class Limit(enum.Enum):
    """What the rate is limited by."""

    UNKNOWN = "unknown"
    CONSUMER = "consumer"
    HAND_OVER = "hand-over"
    DECODE = "decode"
    NETWORK = "network"
    REQUEST_RATE = "request rate"
    IN_FLIGHT = "GETs in flight"
    WINDOW = "window"
    SLOW_OBJECTS = "slow objects"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What limits a loader.

    Attributes:
        limit: what it is.
        finding: in a few words, with the figure it was seen by.
        advice: what to change, an option by its name where there is one.
    """

    limit: Limit
    finding: str
    advice: str

    def __str__(self) -> str:
        """Both in one line."""
        return f"{self.finding}: {self.advice}"


def judge(stats: LoaderStats) -> Verdict:
    """What limited the rate while these figures came about.

    Who waits for whom decides: the loop that trains for samples, else it is the limit itself; whoever transforms for
    objects, else that is. Of what keeps objects from coming, the one that can be told apart most surely comes first:
    refused GETs, an order that is slow to read, single slow objects, a window or a number of GETs that is used up; what
    remains is the network. The figures of several processes, added up, give the verdict of all of them together.

    Args:
        stats: of a whole run, or better of its last seconds: `LoaderStats.since`.
    """
    stats = _without_startup(stats)
    if stats.samples < _LEAST_SAMPLES or stats.elapsed_s < _LEAST_S:
        so_far = f"{stats.samples} samples in {stats.elapsed_s:.1f} s so far"
        needs = f"a verdict takes {_LEAST_SAMPLES}, and {_LEAST_S:g} s after the first"
        return Verdict(Limit.UNKNOWN, "too early to tell", f"{so_far}; {needs}")
    busy, starved = _shares(stats)
    waits = stats.wait_share if stats.threads else starved + busy
    if waits < _NO_WAIT:
        return _consumer(stats, waits)
    if busy >= starved:
        return _decode(stats, busy)
    found = _refused(stats) or _order(stats) or _slow_objects(stats) or _window(stats, starved)
    return found or _in_flight(stats, starved) or _network(stats, starved)


def _without_startup(stats: LoaderStats) -> LoaderStats:
    """What a long run would have shown."""
    return replace(
        stats,
        elapsed_s=max(0.0, stats.elapsed_s - stats.startup_s),
        wait_s=max(0.0, stats.wait_s - stats.startup_s),
        starved_s=max(0.0, stats.starved_s - stats.startup_s),
    )


def _shares(stats: LoaderStats) -> tuple[float, float]:
    """What share of the time transforms were busy, and had no object; the rest they had nothing to do."""
    threads = max(1, stats.threads)
    busy = min(1.0, stats.share(stats.transform_s) / threads)
    if not stats.threads:
        return busy, min(1.0, stats.share(stats.starved_s))
    # One thread waits, for an object or for room; the others wait for it.
    idle, seen = 1.0 - busy, stats.starved_s + stats.blocked_s
    return busy, idle * stats.starved_s / seen if seen > 0 else 0.0


def _consumer(stats: LoaderStats, waits: float) -> Verdict:
    if stats.share(stats.hand_over_s) >= _MUCH_HAND_OVER:
        finding = f"making batches takes {stats.share(stats.hand_over_s):.0%} of the time"
        return Verdict(Limit.HAND_OVER, finding, "hand over less (uint8, smaller images), or another collate")
    finding = f"the training loop is the limit, it waits for data {waits:.0%} of the time"
    return Verdict(Limit.CONSUMER, finding, "nothing to gain in the loader")


def _decode(stats: LoaderStats, busy: float) -> Verdict:
    finding = f"decoding and transforms are the limit, busy {busy:.0%} of the time"
    each = f"{1000 * stats.transform_s / stats.samples:.1f} ms a sample"
    if stats.threads:
        advice = f"threads={stats.threads} at {each}; more where cores are idle, else a cheaper pipeline"
    else:
        advice = f"{each}; a Loader with threads, more num_workers where cores are idle, or a cheaper pipeline"
    return Verdict(Limit.DECODE, finding, advice)


def _refused(stats: LoaderStats) -> Verdict | None:
    rate = stats.gets / stats.elapsed_s
    is_paced = stats.pace > 0 and rate >= _AT_PACE * stats.pace
    if not is_paced and stats.throttled < _MANY_REFUSED * stats.gets:
        return None
    taken = (stats.gets - stats.throttled) / stats.elapsed_s
    finding = f"the server takes {taken:,.0f} GETs per second, and refuses the rest ({stats.throttled} so far)"
    return Verdict(Limit.REQUEST_RATE, finding, "spread the keys over more prefixes, or pack small objects together")


def _order(stats: LoaderStats) -> Verdict | None:
    share = stats.share(stats.order_s)
    if share < _MUCH_HAND_OVER:
        return None
    finding = f"reading the order and the refs takes {share:.0%} of the time"
    return Verdict(Limit.ORDER, finding, "a sequence of refs, or a sampler, that is faster to read")


def _slow_objects(stats: LoaderStats) -> Verdict | None:
    waits_s = sum(slow.wait_s for slow in stats.slowest)
    if not stats.slowest or waits_s < _FEW_SLOW * stats.starved_s:
        return None
    usual_s = stats.fetch.p95_s
    worst = stats.slowest[0]
    if worst.wait_s < _MUCH_SLOWER * usual_s:
        return None
    finding = f"{len(stats.slowest)} slow objects make up {waits_s / stats.starved_s:.0%} of the waiting for objects"
    return Verdict(
        Limit.SLOW_OBJECTS, finding, f"the slowest, {worst.wait_s:.1f} s: {worst.uri}; a larger hedge, or window_bytes"
    )


def _window(stats: LoaderStats, starved: float) -> Verdict | None:
    if stats.share(stats.window_full_s) < _WINDOW_FULL:
        return None
    window = f"the window of {stats.window_bytes / MIB:.3g} MiB"
    finding = f"{window} is full, yet objects are missing {starved:.0%} of the time"
    return Verdict(Limit.WINDOW, finding, "raise window_bytes (or window_items, for small objects)")


def _in_flight(stats: LoaderStats, starved: float) -> Verdict | None:
    under_way, most = stats.share(stats.fetch_s), stats.most_in_flight
    if under_way < _AT_CEILING * max(1, most):
        return None
    finding = f"{under_way:.0f} of {most} GETs are under way, yet objects are missing {starved:.0%} of the time"
    return Verdict(Limit.IN_FLIGHT, finding, "raise max_in_flight, or max_in_flight_per_node where that is None")


def _network(stats: LoaderStats, starved: float) -> Verdict:
    rate = f"{stats.bytes_per_s / 1e6:,.1f} MB/s"
    finding = f"the network is the limit, {rate} with {stats.share(stats.fetch_s):.0f} GETs under way"
    return Verdict(
        Limit.NETWORK,
        finding,
        f"objects are missing {starved:.0%} of the time; a region nearer by, more bandwidth, or smaller objects",
    )
