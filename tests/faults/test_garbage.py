"""Whatever a request meets, what it leaves behind is freed at once, and not when the garbage collector comes.

That comes more rarely the more objects there are: blocks of a hundred kilobytes would wait for it, hundreds of them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest
import uvloop

from asyncio_loader import AsyncIterableDataset, FetchOptions, Loader, RetryPolicy, S3Options
from asyncio_loader.allocation import BlockPool
from asyncio_loader.bridge import loop_thread
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.engine.race import HedgedGet
from asyncio_loader.engine.window import Credit
from asyncio_loader.options import Transport
from asyncio_loader.stores.s3.connection import Connection
from asyncio_loader.stores.s3.objects import ObjectReader
from asyncio_loader.testing import Fault, S3Simulator

OBJECTS, BATCH = 160, 16
KINDS = {BlockPool, Connection, Credit, Delivery, HedgedGet, ObjectReader, Prefetcher}
WEATHER = {
    "calm": (),
    "status": (Fault("status", rate=0.1),),
    "reset": (Fault("reset", rate=0.1),),
    "reset in the body": (Fault("reset", rate=0.1, after_bytes=700),),
    "short": (Fault("short", rate=0.1),),
    "stall": (Fault("stall", rate=0.03, times=1),),
    "slow": (Fault("slow", rate=0.05, delay_s=0.7),),
    "corrupt": (Fault("corrupt", rate=0.1),),
    "missing": (Fault("status", key="0*[05]", status=404),),
}


@pytest.fixture
def collects_by_itself() -> Iterator[None]:
    """Nothing is collected but when the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def alive() -> Counter[str]:
    # Not `isinstance`: some objects of others do something when they are asked for their class.
    return Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in KINDS)


@pytest.mark.usefixtures("collects_by_itself")
@pytest.mark.parametrize("is_left", [False, True], ids=["whole", "left"])
@pytest.mark.parametrize(
    ("transport", "loop"),
    [("http1", uvloop), ("http1", asyncio), ("aiohttp", uvloop)],
    ids=["http1-uvloop", "http1-asyncio", "aiohttp-uvloop"],
)
@pytest.mark.parametrize("weather", WEATHER)
def test_nothing_waits_for_the_collector(
    weather: str,
    transport: Transport,
    loop: object,
    is_left: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # It keeps the errors that are logged.
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(loop_thread, "_new_event_loop", loop.new_event_loop)  # type: ignore[attr-defined]
    bodies = ((f"{number:03d}", bytes(1000 + 300 * number)) for number in range(OBJECTS))
    retry = RetryPolicy(backoff_initial_s=0.01, first_byte_timeout_s=2.0, stall_timeout_s=1.0)
    before = alive()

    with S3Simulator(bodies, median_s=0.005, p99_s=0.02, faults=WEATHER[weather]) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = AsyncIterableDataset(
            [simulator.uri(f"{number:03d}") for number in range(OBJECTS)],
            transform=lambda fetched: len(fetched.data),
            storage=S3Options(transport=transport),
            options=FetchOptions(retry=retry),
            on_error="skip",
            max_failures=OBJECTS,
        )
        with Loader(dataset, BATCH, threads=1) as loader:
            for _ in islice(loader, 2 if is_left else len(loader)):
                pass

    assert alive() - before == Counter()
