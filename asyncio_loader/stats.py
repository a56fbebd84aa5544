"""What happened, in numbers that answer a question."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Counters", "LoaderStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """A snapshot of what a dataset or loader did in this process since it was made.

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

    @property
    def wait_share(self) -> float:
        """Share of the time, 0 to 1, that the consumer stood still for data."""
        return self.wait_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def __add__(self, other: LoaderStats) -> LoaderStats:
        """The figures of one after the other: sums; of what is no count, the larger of the two."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return LoaderStats(**{name: max(pair) if name in _LARGER else sum(pair) for name, pair in pairs.items()})


_LARGER = ("peak_window_bytes", "level", "pace")


class Counters:
    """The running figures behind a `LoaderStats`.

    Each field has one writing thread, so that no lock is needed: the loop thread writes `gets`, `retries`, `hedges`,
    `hedges_won`, `bytes_fetched`, `refetches`, `peak_window_bytes`, `level` and `pace`, the consumer the
    rest. Reading from any thread gives whole numbers that may be one event apart.
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

    def __init__(self) -> None:
        for f in fields(LoaderStats):
            setattr(self, f.name, f.default)

    def count_get(self, attempt: int) -> None:
        """Count a GET that is about to be made, the `attempt`-th (from 1) for its object. In the loop thread."""
        self.gets += 1
        self.retries += attempt > 1

    def count_hedge(self) -> None:
        """Count a GET that is about to be made because another one is slow. In the loop thread."""
        self.gets += 1
        self.hedges += 1

    def snapshot(self) -> LoaderStats:
        """The figures now."""
        return LoaderStats(**{name: getattr(self, name) for name in Counters.__slots__})
