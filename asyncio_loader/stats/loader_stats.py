"""The figures of a dataset or loader: those that run, and a snapshot of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from asyncio_loader.errors import (
    ChecksumMismatch,
    ConnectionLost,
    FetchError,
    FetchTimeout,
    ServerFault,
    ShortRead,
    Throttled,
)
from asyncio_loader.stats.durations import Durations, LatencyHistogram
from asyncio_loader.stats.slowest import Slowest, SlowObject

__all__ = ["GAUGES", "NUMBERS", "Counters", "LoaderStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """A snapshot of what a dataset or loader did in this process since it was made.

    What follows from it, in words: `asyncio_loader.stats.judge`. Of what happened lately: `since`. The stages stand in
    the order in which a sample goes through them: order, fetch, window, transform, hand-over, consumer.

    Attributes:
        samples: samples handed to the consumer.
        gets: GETs made, retries and hedges included. Far above `samples` means an unhealthy server or network.
        retries: GETs made because an earlier one failed. Above 1 % of `gets`: look at the errors in the log.
        hedges: GETs made because an earlier one was slow. At most `FetchOptions.hedge` of `gets`.
        hedges_won: of these, the ones that answered first. Far below half of `hedges`: the server is slow for this
            object whoever asks, and hedging brings little.
        bytes_fetched: bytes of bodies received whole.
        wait_s: seconds the consumer stood still for the next sample. Its share of `elapsed_s` is what a faster
            loader could win; near 0 the loader is not the limit.
        elapsed_s: seconds from the first sample asked for to the last answer, summed over the iterations.
        peak_window_bytes: the most bytes that were reserved at once. Close to `window_bytes`: the consumer is the
            limit, or the window is too small for the latency; far below it: the network is.
        level: GETs that may be under way at once, as it is now: `FetchOptions.max_in_flight`, or what was found to pay.
            At its ceiling with a high `wait_share`: raise `max_in_flight_per_node`.
        pace: GETs per second that are not exceeded, because the server has refused more; 0: there is none.
        failed: samples that did not come, or that a transform raised upon: what `on_error` decides about.
        rejected: samples that a pipeline returned None for, so that another one came in their place.
        refetches: objects that were fetched a second time because they could not be decoded. Where `failed` does not
            grow with it, bytes are damaged on their way: `verify` finds that earlier.
        throttled: GETs that the server refused (503 SlowDown, 429). Some are how the pace is found; above 1 % of
            `gets`: others take from the same limit.
        timeouts: GETs that gave no answer, or no further byte, for too long, or were far slower than usual.
        lost_connections: GETs whose connection broke or could not be made.
        server_faults: GETs answered by 500, 502, 503 or 504, or by something that is not S3.
        damaged: GETs whose bytes were too few, or did not have the checksum.
        other_errors: GETs that failed otherwise: not there, not allowed.
        order_s: seconds it took to find out which objects come next. Above 1 % of `elapsed_s`: an order or a sequence
            of refs of your own is slow, and holds up every GET meanwhile.
        fetch_s: seconds from when there was room for an object to its last byte, summed over all objects, retries and
            waiting for a turn included. Divided by `elapsed_s` it is how many were under way on average.
        window_full_s: seconds during which an object waited for room in the window. Close to `elapsed_s` is healthy
            where the consumer is the limit; with a high `starved_s` beside it, the window is too small.
        starved_s: seconds that a transform had nothing to do because the next object in order was not there. Its share
            of `elapsed_s` is what a faster network could win.
        transform_s: seconds that transforms took, summed over all threads. Divided by `elapsed_s` it is how many were
            busy on average; as many as there are `threads`: decoding is the limit.
        blocked_s: seconds that a transform had to wait because enough samples lay ready: the consumer is the limit.
        startup_s: seconds that the first sample of an iteration was waited for, summed over the iterations; part of
            `wait_s`. Connections, credentials and the first GETs; near 0 where the epoch before has looked ahead.
        hand_over_s: seconds that batches took to be made of samples, in the thread that iterates.
        threads: that transform; 0: the consumer's own.
        in_flight: objects that are being fetched now.
        held_bytes: bytes of the window that were taken when the last object came: by what is under way, and by what
            waits for its turn.
        window_bytes: `FetchOptions.window_bytes`.
        most_in_flight: what `level` does not exceed: `max_in_flight`, or this process's share of
            `max_in_flight_per_node`.
        fetch: how `fetch_s` is made up, an entry per object.
        wait: how `wait_s` is made up, an entry per sample.
        transform: how `transform_s` is made up, an entry per sample.
        hand_over: how `hand_over_s` is made up, an entry per batch.
        slowest: the ten objects that transforms, or the consumer, waited for longest, the longest first. Where they
            make up most of `starved_s`, it is single objects that are slow, and not the network.
    """

    samples: int = 0
    gets: int = 0
    retries: int = 0
    hedges: int = 0
    hedges_won: int = 0
    bytes_fetched: int = 0
    wait_s: float = 0.0
    elapsed_s: float = 0.0
    peak_window_bytes: int = 0
    level: int = 0
    pace: float = 0.0
    failed: int = 0
    rejected: int = 0
    refetches: int = 0
    throttled: int = 0
    timeouts: int = 0
    lost_connections: int = 0
    server_faults: int = 0
    damaged: int = 0
    other_errors: int = 0
    order_s: float = 0.0
    fetch_s: float = 0.0
    window_full_s: float = 0.0
    starved_s: float = 0.0
    transform_s: float = 0.0
    blocked_s: float = 0.0
    startup_s: float = 0.0
    hand_over_s: float = 0.0
    threads: int = 0
    in_flight: int = 0
    held_bytes: int = 0
    window_bytes: int = 0
    most_in_flight: int = 0
    fetch: Durations = field(default_factory=Durations)
    wait: Durations = field(default_factory=Durations)
    transform: Durations = field(default_factory=Durations)
    hand_over: Durations = field(default_factory=Durations)
    slowest: tuple[SlowObject, ...] = ()

    @property
    def wait_share(self) -> float:
        """Share of the time, 0 to 1, that the consumer stood still for data."""
        return self.share(self.wait_s)

    @property
    def samples_per_s(self) -> float:
        """Samples handed to the consumer per second of `elapsed_s`."""
        return self.samples / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes that came per second of `elapsed_s`."""
        return self.bytes_fetched / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def share(self, seconds: float) -> float:
        """Of `elapsed_s`, 0 where there is none. Of what happens at several places at once it may exceed 1."""
        return seconds / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def __str__(self) -> str:
        """What is not zero, each in its own unit."""
        empty = LoaderStats()
        shown = []
        for name in (*NUMBERS, *_HISTOGRAMS):
            value = getattr(self, name)
            if value != getattr(empty, name):
                shown.append(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}")
        return f"LoaderStats({', '.join(shown)})"

    def __add__(self, other: LoaderStats) -> LoaderStats:
        """The figures of one after the other: sums; of what is no count, the larger of the two."""
        merged = {}
        for name in _NAMES:
            one, another = getattr(self, name), getattr(other, name)
            merged[name] = max(one, another) if name in GAUGES else one + another
        merged["slowest"] = tuple(sorted({*self.slowest, *other.slowest}, reverse=True)[:10])
        return LoaderStats(**merged)

    def since(self, earlier: LoaderStats) -> LoaderStats:
        """What has happened since an earlier snapshot of the same loader; what is no count is as it is now."""
        grown = {name: getattr(self, name) - getattr(earlier, name) for name in _NAMES if name not in GAUGES}
        fresh = tuple(slow for slow in self.slowest if slow not in earlier.slowest)
        return replace(self, **{**grown, "slowest": fresh})


GAUGES = frozenset(
    (
        "peak_window_bytes",
        "level",
        "pace",
        "threads",
        "in_flight",
        "held_bytes",
        "window_bytes",
        "most_in_flight",
    )
)
"""Fields of `LoaderStats` that say how something is now, rather than count what happened."""

_NAMES = tuple(f.name for f in fields(LoaderStats) if f.name != "slowest")

NUMBERS = tuple(f.name for f in fields(LoaderStats) if type(f.default) in (int, float))
"""Fields of `LoaderStats` that are a number, in their order."""

# The first that fits; all other errors are other ones.
_KINDS = (
    (Throttled, "throttled"),
    (FetchTimeout, "timeouts"),
    (ConnectionLost, "lost_connections"),
    (ServerFault, "server_faults"),
    ((ShortRead, ChecksumMismatch), "damaged"),
    (FetchError, "other_errors"),
)

_HISTOGRAMS = ("fetch", "wait", "transform", "hand_over")


class Counters:
    """The running figures behind a `LoaderStats`.

    Each field has one writing thread at a time, so that no lock is needed: the loop thread writes those of order, fetch
    and window, whoever transforms `transform`, `transform_s`, `starved_s`, `blocked_s` and `slowest` (one thread after
    the other, by a lock of theirs), the consumer the rest. Reading from any thread gives whole numbers that may be one
    event apart.
    """

    __slots__ = tuple(f.name for f in fields(LoaderStats))

    samples: int
    gets: int
    retries: int
    hedges: int
    hedges_won: int
    bytes_fetched: int
    wait_s: float
    elapsed_s: float
    peak_window_bytes: int
    level: int
    pace: float
    failed: int
    rejected: int
    refetches: int
    throttled: int
    timeouts: int
    lost_connections: int
    server_faults: int
    damaged: int
    other_errors: int
    order_s: float
    fetch_s: float
    window_full_s: float
    starved_s: float
    transform_s: float
    blocked_s: float
    startup_s: float
    hand_over_s: float
    threads: int
    in_flight: int
    held_bytes: int
    window_bytes: int
    most_in_flight: int
    fetch: LatencyHistogram
    wait: LatencyHistogram
    transform: LatencyHistogram
    hand_over: LatencyHistogram
    slowest: Slowest

    def __init__(self) -> None:
        for f in fields(LoaderStats):
            if f.name in _HISTOGRAMS:
                setattr(self, f.name, LatencyHistogram(memory=None))
            elif f.name == "slowest":
                self.slowest = Slowest()
            else:
                setattr(self, f.name, f.default)

    def count_get(self, attempt: int) -> None:
        """Count a GET that is about to be made, the `attempt`-th (from 1) for its object. In the loop thread."""
        self.gets += 1
        self.retries += attempt > 1

    def count_hedge(self) -> None:
        """Count a GET that is about to be made because another one is slow. In the loop thread."""
        self.gets += 1
        self.hedges += 1

    def count_error(self, error: FetchError) -> None:
        """Count a GET that has failed, by its kind. In the loop thread."""
        name = next(name for kind, name in _KINDS if isinstance(error, kind))
        setattr(self, name, getattr(self, name) + 1)

    def note_fetch(self, seconds: float) -> None:
        """An object has come, so long after there was room for it. In the loop thread."""
        self.fetch_s += seconds
        self.fetch.add(seconds)

    def note_wait(self, seconds: float) -> None:
        """The consumer has waited for a sample. In its thread."""
        self.wait_s += seconds
        self.wait.add(seconds)

    def note_transform(self, seconds: float) -> None:
        """A sample has been made. One thread at a time."""
        self.transform_s += seconds
        self.transform.add(seconds)

    def note_starved(self, seconds: float, uri: str) -> None:
        """An object was waited for by whoever transforms it. One thread at a time."""
        self.starved_s += seconds
        self.slowest.add(seconds, uri)

    def note_hand_over(self, seconds: float) -> None:
        """A batch has been made of samples. In the consumer's thread."""
        self.hand_over_s += seconds
        self.hand_over.add(seconds)

    def snapshot(self) -> LoaderStats:
        """The figures now."""
        figures = {name: getattr(self, name) for name in Counters.__slots__}
        for name in (*_HISTOGRAMS, "slowest"):
            figures[name] = figures[name].frozen()
        return LoaderStats(**figures)
