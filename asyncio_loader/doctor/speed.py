"""How fast it is: the time to the first byte, and the rate with one and with many GETs in flight."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from asyncio_loader.doctor.findings import Finding, of_error
from asyncio_loader.errors import FetchError, Throttled
from asyncio_loader.options import RetryPolicy
from asyncio_loader.stores.retry import retry_calls
from asyncio_loader.stores.router import StoreRouter

__all__ = ["Rate", "Retries", "check_first_byte", "check_rate", "judge_first_byte", "judge_rate", "percentile"]

_GETS = 20
_GET_BYTES = 1024

# "Performance design patterns for Amazon S3": 100–200 ms for small objects; a bucket in the machine's own region is
# mostly below the first.
_SLOW_S = 0.2

# Of a larger object only that much at a time, as the loader reads it.
_PART_BYTES = 8 << 20

# GETs that have begun may end so much later than the measurement, on a slow line.
_PATIENCE_S = 5.0


@dataclass(slots=True)
class Retries:
    """GETs that brought an error, and were made anew or given up.

    Attributes:
        count: how many.
        error: of the last of them.
    """

    count: int = 0
    error: FetchError | None = None

    def note(self, error: FetchError, *_: object) -> None:
        """One more."""
        self.count += 1
        self.error = error


@dataclass(slots=True)
class Rate:
    """What a measurement saw.

    Attributes:
        gets: that brought all they should.
        size_bytes: of these, together.
        elapsed_s: from the first question to the last answer.
        retries: those that did not.
    """

    gets: int = 0
    size_bytes: int = 0
    elapsed_s: float = 0.0
    retries: Retries = field(default_factory=Retries)


async def check_first_byte(
    store: StoreRouter, objects: Sequence[tuple[str, int]], uri: str, *, seconds: float, retry: RetryPolicy
) -> Finding:
    """Time up to 20 GETs of the first KiB, one after the other on a connection that stands, for `seconds` at most.

    What has to be asked again counts with the answer that it got at last.
    """
    until_s = time.perf_counter() + seconds
    times: list[float] = []
    retries = Retries()
    for number, (each, size_bytes) in enumerate(itertools.islice(itertools.cycle(objects), _GETS + 1)):
        if time.perf_counter() >= until_s and times:
            break
        try:
            elapsed_s = await _time_get(store, each, min(size_bytes, _GET_BYTES), retry, retries)
        except FetchError as error:
            retries.note(error)
            break
        if number:
            # The first one may have had to connect.
            times.append(elapsed_s)
    return judge_first_byte(times, retries, uri)


async def _time_get(store: StoreRouter, uri: str, size_bytes: int, retry: RetryPolicy, retries: Retries) -> float:
    """Seconds that the attempt took which brought it."""

    async def attempt() -> float:
        begin_s = time.perf_counter()
        await store.get_range(uri, 0, size_bytes)
        return time.perf_counter() - begin_s

    elapsed_s, _ = await retry_calls(attempt, uri, retry=retry, on_retry=retries.note)
    return elapsed_s


def judge_first_byte(times: Sequence[float], retries: Retries, uri: str) -> Finding:
    """What the times mean, in seconds, and the errors among them."""
    name = "first byte"
    if not times:
        return _failed(name, retries, uri, "nothing came in time")
    p50_s, p95_s = percentile(times, 0.5), percentile(times, 0.95)
    text = f"p50 {p50_s * 1e3:.3g} ms, p95 {p95_s * 1e3:.3g} ms of {len(times)} small GETs"
    if retries.error is not None:
        return _warning(name, text, retries, uri)
    if p50_s > _SLOW_S:
        return Finding("warning", name, text, "is the bucket far away? Train in its region, or with more in flight")
    return Finding("ok", name, text)


async def check_rate(
    store: StoreRouter,
    objects: Sequence[tuple[str, int]],
    uri: str,
    *,
    in_flight: int,
    seconds: float,
    most_bytes: int,
    retry: RetryPolicy,
) -> Finding:
    """Get the objects again and again with so many GETs in flight, for `seconds` and `most_bytes` at the most.

    GETs under way at the end may take 5 s more; then they are cancelled.
    """
    rate = Rate()
    begin_s = time.perf_counter()
    left_bytes = most_bytes
    turns = itertools.cycle(objects)

    async def get_some() -> None:
        nonlocal left_bytes
        while left_bytes > 0 and time.perf_counter() - begin_s < seconds:
            each, size_bytes = next(turns)
            left_bytes -= min(size_bytes, _PART_BYTES)
            try:
                attempt = partial(_get, store, each, size_bytes)
                came, _ = await retry_calls(attempt, each, retry=retry, on_retry=rate.retries.note)
            except FetchError as error:
                rate.retries.note(error)
                # Given up after many tries: the others will see the same.
                return
            rate.gets += 1
            rate.size_bytes += came
            rate.elapsed_s = time.perf_counter() - begin_s

    try:
        async with asyncio.timeout(seconds + _PATIENCE_S), asyncio.TaskGroup() as tasks:
            for _ in range(in_flight):
                tasks.create_task(get_some())
    except TimeoutError:
        # What came until then counts.
        rate.elapsed_s = seconds + _PATIENCE_S
    return judge_rate(rate, in_flight, uri)


async def _get(store: StoreRouter, uri: str, size_bytes: int) -> int:
    """Get an object as the loader does, of a large one the first part; how many bytes came."""
    if size_bytes <= _PART_BYTES:
        return len(await store.get(uri))
    return len((await store.get_range(uri, 0, _PART_BYTES)).data)


def judge_rate(rate: Rate, in_flight: int, uri: str) -> Finding:
    """What the rate means, and the errors on the way."""
    name = f"{in_flight} in flight"
    if not rate.gets:
        return _failed(name, rate.retries, uri, f"nothing came within {rate.elapsed_s:.1f} s")
    text = f"{rate.gets / rate.elapsed_s:,.0f} objects/s, {rate.size_bytes / rate.elapsed_s / 1e6:,.1f} MB/s"
    return Finding("ok", name, text) if rate.retries.error is None else _warning(name, text, rate.retries, uri)


def _failed(name: str, retries: Retries, uri: str, otherwise: str) -> Finding:
    if retries.error is None:
        return Finding("failed", name, otherwise, "look at the network between this machine and the server")
    return of_error(name, retries.error, retries.error.key or uri)


def _warning(name: str, text: str, retries: Retries, uri: str) -> Finding:
    error = retries.error
    assert error is not None
    said = of_error(name, error, error.key or uri)
    advice = said.advice
    if isinstance(error, Throttled):
        advice = "leave FetchOptions.max_in_flight=None: the loader then keeps just under what the server takes"
    return Finding("warning", name, f"{text}; {retries.count:,} asked again: {said.text}", advice)


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
