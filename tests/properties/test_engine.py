"""Whatever the store does and however slow the consumer is: nothing lost or doubled, in order, within the window."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.engine.window import SizeEstimate
from asyncio_loader.errors import ConnectionLost, FetchError, ObjectNotFound, ShortRead, Throttled
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import Buffer, Failed, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit
from asyncio_loader.testing import run_in_virtual_time

GUESS_BYTES = 100
FAULTS = (ConnectionLost, ShortRead, Throttled)


@dataclass(frozen=True)
class Script:
    """How the store answers for one object: after how long, with how many bytes, after how many failures."""

    delay_s: float
    size_bytes: int
    faults: int
    is_missing: bool
    is_size_known: bool


class ScriptedStore:
    def __init__(self, scripts: list[Script]) -> None:
        self.scripts = scripts
        self.failures = [script.faults for script in scripts]
        self.held_bytes = 0
        self.peak_bytes = 0

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        number = int(uri.removeprefix("m://"))
        script = self.scripts[number]
        await asyncio.sleep(script.delay_s)
        if script.is_missing:
            raise ObjectNotFound(f"{uri}: gone")
        if self.failures[number]:
            self.failures[number] -= 1
            raise FAULTS[number % len(FAULTS)](f"{uri}: passing")
        assert admit is not None
        await admit(script.size_bytes)
        self.held_bytes += script.size_bytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        return number.to_bytes(4, "big") * (script.size_bytes // 4)


SCRIPTS = st.builds(
    Script,
    delay_s=st.sampled_from([0.0, 0.01, 0.03, 1.0]),
    size_bytes=st.integers(1, 50).map(lambda n: 4 * n),
    faults=st.sampled_from([0, 0, 0, 1, 3]),
    is_missing=st.sampled_from([False, False, False, True]),
    is_size_known=st.booleans(),
)


@settings(deadline=None, max_examples=500)
@given(
    scripts=st.lists(SCRIPTS, min_size=1, max_size=40),
    in_flight=st.integers(1, 12),
    window_bytes=st.integers(1, 600),
    window_items=st.integers(1, 10),
    consumer_s=st.sampled_from([0.0, 0.005, 0.5]),
)
def test_nothing_is_lost_doubled_or_out_of_order(
    scripts: list[Script], in_flight: int, window_bytes: int, window_items: int, consumer_s: float
) -> None:
    options = FetchOptions(
        max_in_flight=in_flight,
        window_bytes=window_bytes,
        window_items=window_items,
        retry=RetryPolicy(max_attempts=5, deadline_s=1000.0),
    )
    counters = Counters()
    store = ScriptedStore(scripts)

    async def run() -> list[Delivery]:
        queue: asyncio.Queue[Delivery] = asyncio.Queue()
        jobs = [
            Job(ObjectRef(f"m://{n}", script.size_bytes if script.is_size_known else None), Slot(n, n))
            for n, script in enumerate(scripts)
        ]
        prefetcher = Prefetcher(
            store,  # type: ignore[arg-type]
            Agenda(jobs),
            options=options,
            deliver=queue.put_nowait,
            counters=counters,
            estimate=SizeEstimate(first_bytes=GUESS_BYTES),
        )
        taken = []
        async with asyncio.TaskGroup() as group:
            group.create_task(prefetcher.run())
            for _ in jobs:
                delivery = await queue.get()
                taken.append(delivery)
                await asyncio.sleep(consumer_s)
                delivery.credit.release()
                if isinstance(delivery.outcome, Fetched):
                    store.held_bytes -= len(delivery.outcome.data)
        assert queue.empty()
        assert prefetcher.window.held_bytes == prefetcher.window.held_items == 0
        return taken

    taken = run_in_virtual_time(run())

    assert [delivery.outcome.position for delivery in taken] == list(range(len(scripts)))
    for script, delivery in zip(scripts, taken, strict=True):
        outcome = delivery.outcome
        if script.is_missing:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, FetchError)
        else:
            assert isinstance(outcome, Fetched)
            assert outcome.data == outcome.index.to_bytes(4, "big") * (script.size_bytes // 4)
            assert outcome.attempts == script.faults + 1
    retries = sum(script.faults for script in scripts if not script.is_missing)
    assert counters.gets == len(scripts) + retries
    assert counters.retries == retries
    largest = max(script.size_bytes for script in scripts)
    assert counters.peak_window_bytes <= window_bytes + max(largest, GUESS_BYTES)
    assert store.peak_bytes <= window_bytes + largest
