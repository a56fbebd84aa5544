"""What is asked of a measuring process, and what it answers: values that cross as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from asyncio_loader.options import FetchOptions, RetryPolicy, S3Options
from asyncio_loader.records import ObjectRef
from asyncio_loader.trace import TraceFile

__all__ = ["Measurement", "Task", "options_for", "percentile"]

_MIB = 1024 * 1024
# What is in flight, and as much again that has come and waits for its turn.
_WINDOW_OF_FLIGHT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One setting to measure.

    Attributes:
        objects: URI and size in bytes of what to fetch, again and again, in an order by `seed`.
        storage: where S3 is.
        options: with the concurrency to measure.
        seconds: length of the steady state.
        decode: whether the bytes are decoded to pixels.
        threads: that decode in one process; 0 without `decode` and with `workers`.
        workers: of a torch DataLoader; 0: everything in one process.
        seed: of the order.
        trace: where it is recorded what becomes of each object; None: nowhere.
    """

    objects: Sequence[tuple[str, int | None]]
    storage: S3Options
    options: FetchOptions
    seconds: float
    decode: bool = False
    threads: int = 0
    workers: int = 0
    seed: int = 0
    trace: TraceFile | None = None

    @property
    def refs(self) -> list[ObjectRef]:
        """The objects, as the loader takes them."""
        return [ObjectRef(uri, size_bytes) for uri, size_bytes in self.objects]

    @property
    def mean_bytes(self) -> float:
        """Of an object, by those whose size is known; 0 where none is."""
        sizes = [size for _, size in self.objects if size is not None]
        return sum(sizes) / len(sizes) if sizes else 0.0

    def with_concurrency(self, concurrency: int) -> Task:
        """The same with another concurrency per process."""
        trace = self.trace and self.trace.labelled(f"{concurrency} in flight")
        return replace(self, options=options_for(concurrency, max(1, self.workers), self.mean_bytes), trace=trace)

    def dump(self) -> str:
        """As text for `load`."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Task:
        """What `dump` gave."""
        fields: dict[str, Any] = json.loads(text)
        options = fields.pop("options")
        retry = RetryPolicy(**options.pop("retry"))
        objects = [(uri, size_bytes) for uri, size_bytes in fields.pop("objects")]
        storage = S3Options(**fields.pop("storage"))
        trace = fields.pop("trace")
        return cls(
            objects=objects,
            storage=storage,
            options=FetchOptions(**options, retry=retry),
            trace=trace and TraceFile(**trace),
            **fields,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one setting gave, over its steady state.

    Attributes:
        concurrency: GETs in flight at the most, per process.
        elapsed_s: length of the steady state.
        samples: that came to the consumer.
        gets: that were made by all processes, retries included.
        retries: GETs because an earlier one failed.
        bytes_fetched: of bodies.
        cpu_s: CPU time of all processes and threads.
        latency_p50_s: of a GET that succeeded: from the call of the store to the last byte, without the time that
            a body rested for the window. A retry is a GET of its own.
        latency_p95_s: likewise.
        latency_p99_s: likewise.
        wait_share: share of the time, 0 to 1, that whoever consumes the bytes stood still for them: with `decode`
            the decoding threads or workers, else the thread that takes the objects and does nothing with them.
        peak_rss_bytes: resident memory at the most, summed over the processes.
        base_rss_bytes: what of it was there when all was imported and nothing open.
    """

    concurrency: int
    elapsed_s: float
    samples: int
    gets: int
    retries: int
    bytes_fetched: int
    cpu_s: float
    latency_p50_s: float
    latency_p95_s: float
    latency_p99_s: float
    wait_share: float
    peak_rss_bytes: int
    base_rss_bytes: int

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.samples / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10⁶ bytes) per second that came to the consumer: the rate by the mean size of what was fetched."""
        bodies = self.gets - self.retries
        return self.rate * self.bytes_fetched / bodies / 1e6 if bodies > 0 else 0.0

    @property
    def cpu_us_per_get(self) -> float:
        """Microseconds of CPU time per GET, all that the processes do included."""
        return self.cpu_s / self.gets * 1e6 if self.gets else 0.0

    def as_dict(self) -> dict[str, float]:
        """All of it, for a JSON file."""
        derived = {name: getattr(self, name) for name in ("rate", "mb_per_s", "cpu_us_per_get")}
        return {**asdict(self), **derived}


def options_for(concurrency: int, processes: int, mean_bytes: float) -> FetchOptions:
    """Options with which so many GETs per process can be in flight: nothing else stops them before.

    What a field needs not have raised keeps its default.
    """
    usual = FetchOptions()
    window_bytes = math.ceil(_WINDOW_OF_FLIGHT * concurrency * mean_bytes / _MIB) * _MIB
    return FetchOptions(
        max_in_flight=concurrency,
        max_in_flight_per_node=max(usual.max_in_flight_per_node, concurrency * processes),
        window_bytes=max(usual.window_bytes, window_bytes),
        window_items=max(usual.window_items, _WINDOW_OF_FLIGHT * concurrency),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of the values, in ascending order, that `share` (0 to 1) of them do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
