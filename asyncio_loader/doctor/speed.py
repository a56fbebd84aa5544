"""How fast it is: the time to the first byte, and the rate with one and with many GETs in flight."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from asyncio_loader.doctor.findings import Finding, of_error
from asyncio_loader.errors import FetchError, Throttled
from asyncio_loader.stores.router import StoreRouter

__all__ = ["Rate", "check_first_byte", "check_rate", "judge_first_byte", "judge_rate", "percentile"]

_GETS = 20
_GET_BYTES = 1024

# "Performance design patterns for Amazon S3": 100–200 ms for small objects; a bucket in the machine's own region is
# mostly below the first.
_SLOW_S = 0.2

# Of a larger object only that much at a time, as the loader reads it.
_PART_BYTES = 8 << 20

# GETs that have begun may end so many times later than the measurement, on a slow line.
_PATIENCE = 3.0


@dataclass(slots=True)
class Rate:
    """What a measurement saw.

    Attributes:
        gets: that brought all they should.
        size_bytes: of these, together.
        elapsed_s: from the first question to the last answer.
        failed: GETs that brought an error.
        error: of the last of them.
    """

    gets: int = 0
    size_bytes: int = 0
    elapsed_s: float = 0.0
    failed: int = 0
    error: FetchError | None = None


async def check_first_byte(store: StoreRouter, objects: Sequence[tuple[str, int]], uri: str, seconds: float) -> Finding:
    """Time up to 20 GETs of the first KiB, one after the other on a connection that stands, for `seconds` at most."""
    until_s = time.perf_counter() + seconds
    times: list[float] = []
    error: FetchError | None = None
    failed = 0
    for number, (each, size_bytes) in enumerate(itertools.islice(itertools.cycle(objects), _GETS + 1)):
        begin_s = time.perf_counter()
        if begin_s >= until_s and times:
            break
        try:
            await store.get_range(each, 0, min(size_bytes, _GET_BYTES))
        except FetchError as caught:
            error, failed = caught, failed + 1
            continue
        if number:
            # The first one may have had to connect.
            times.append(time.perf_counter() - begin_s)
    return judge_first_byte(times, failed, error, uri)


def judge_first_byte(times: Sequence[float], failed: int, error: FetchError | None, uri: str) -> Finding:
    """What the times mean, in seconds, and the errors among them."""
    name = "first byte"
    if not times:
        return of_error(name, error, uri) if error is not None else Finding("failed", name, "nothing came in time")
    p50_s, p95_s = percentile(times, 0.5), percentile(times, 0.95)
    text = f"p50 {p50_s * 1e3:.3g} ms, p95 {p95_s * 1e3:.3g} ms of {len(times)} small GETs"
    if error is not None:
        finding = of_error(name, error, uri, level="warning")
        return Finding("warning", name, f"{text}; {failed} failed: {finding.text}", finding.advice)
    if p50_s > _SLOW_S:
        return Finding(
            "warning",
            name,
            text,
            "is the bucket far away? Train in its region, or with more in flight",
        )
    return Finding("ok", name, text)


async def check_rate(
    store: StoreRouter, objects: Sequence[tuple[str, int]], uri: str, *, in_flight: int, seconds: float, most_bytes: int
) -> Finding:
    """Get the objects again and again with so many GETs in flight, for `seconds` and `most_bytes` at the most.

    GETs under way at the end may take twice as long again; then they are cancelled.
    """
    return judge_rate(await _measure(store, objects, in_flight, seconds, most_bytes), in_flight, uri)


async def _measure(
    store: StoreRouter, objects: Sequence[tuple[str, int]], in_flight: int, seconds: float, most_bytes: int
) -> Rate:
    rate = Rate()
    begin_s = time.perf_counter()
    left_bytes = most_bytes
    turns = itertools.cycle(objects)

    async def get_some() -> None:
        nonlocal left_bytes
        while left_bytes > 0 and time.perf_counter() - begin_s < seconds:
            uri, size_bytes = next(turns)
            part_bytes = min(size_bytes, _PART_BYTES)
            left_bytes -= part_bytes
            try:
                if part_bytes == size_bytes:
                    came = len(await store.get(uri))
                else:
                    came = len((await store.get_range(uri, 0, part_bytes)).data)
            except FetchError as error:
                rate.failed += 1
                rate.error = error
            else:
                rate.gets += 1
                rate.size_bytes += came
                rate.elapsed_s = time.perf_counter() - begin_s

    try:
        async with asyncio.timeout(_PATIENCE * seconds), asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(get_some())
    except TimeoutError:
        # What came until then counts.
        rate.elapsed_s = time.perf_counter() - begin_s
    return rate


def judge_rate(rate: Rate, in_flight: int, uri: str) -> Finding:
    """What the rate means, and the errors on the way."""
    name = f"{in_flight} in flight"
    if not rate.gets:
        if rate.error is not None:
            return of_error(name, rate.error, uri)
        return Finding("failed", name, f"nothing came within {rate.elapsed_s:.1f} s", "look at the network")
    text = f"{rate.gets / rate.elapsed_s:,.0f} objects/s, {rate.size_bytes / rate.elapsed_s / 1e6:,.1f} MB/s"
    if rate.error is None:
        return Finding("ok", name, text)
    finding = of_error(name, rate.error, uri)
    advice = finding.advice
    if isinstance(rate.error, Throttled):
        advice = "leave FetchOptions.max_in_flight=None: the loader then keeps just under what the server takes"
    return Finding("warning", name, f"{text}; {rate.failed} failed: {finding.text}", advice)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
