"""Level and pace find what a server takes: whole prefetchers, against servers in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.pace import Pace
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.engine.pressure import Ended, Level
from asyncio_loader.engine.traffic import Gate
from asyncio_loader.errors import ConnectionLost, FetchError, Throttled
from asyncio_loader.options import FetchOptions, RetryPolicy
from asyncio_loader.records import Buffer, Fetched, ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.base import Admit
from asyncio_loader.testing.virtual_time import in_virtual_time

SIZE = 1000


class Server:
    """GETs take `latency_s`; at most `per_second` of them are taken (a token bucket of a tenth of a second), and all
    bodies together come at `bytes_per_s`.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.03,
        per_second: float | None = None,
        bytes_per_s: float | None = None,
        fails: Callable[[], FetchError | None] = lambda: None,
        most_at_once: int | None = None,
    ) -> None:
        self.latency_s = latency_s
        self.per_second = per_second
        self.bytes_per_s = bytes_per_s
        self.fails = fails
        self.most_at_once = most_at_once
        self.draw = random.Random(5)
        self.tokens = 0.0
        self.filled_s = 0.0
        self.wire_free_s = 0.0
        self.in_flight = 0
        self.log: list[tuple[float, bool, int]] = []

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        loop = asyncio.get_running_loop()
        self.in_flight += 1
        try:
            # No two requests take equally long to get there.
            await asyncio.sleep(self.draw.uniform(0.0, 0.02))
            if not self._takes(loop.time()):
                self.log.append((loop.time(), False, self.in_flight))
                await asyncio.sleep(self.latency_s)
                raise Throttled("503")
            self.log.append((loop.time(), True, self.in_flight))
            await asyncio.sleep(self.latency_s)
            if (error := self.fails()) is not None:
                raise error
            if self.most_at_once is not None and self.in_flight > self.most_at_once:
                raise ConnectionLost("too many connections")
            if self.bytes_per_s is not None:
                self.wire_free_s = max(self.wire_free_s, loop.time()) + SIZE / self.bytes_per_s
                await asyncio.sleep(self.wire_free_s - loop.time())
            assert admit is not None
            await admit(SIZE)
            return bytes(SIZE)
        finally:
            self.in_flight -= 1

    def _takes(self, now_s: float) -> bool:
        if self.per_second is None:
            return True
        self.tokens = min(self.per_second / 10, self.tokens + self.per_second * (now_s - self.filled_s))
        self.filled_s = now_s
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def between(self, start_s: float, end_s: float) -> tuple[float, float, float]:
        """GETs taken per second, share of the refused ones, mean in flight."""
        entries = [entry for entry in self.log if start_s <= entry[0] < end_s]
        taken = sum(is_taken for _, is_taken, _ in entries)
        return (
            taken / (end_s - start_s),
            1.0 - taken / len(entries),
            sum(in_flight for *_, in_flight in entries) / len(entries),
        )


async def fetch(
    *servers: Server,
    seconds: float,
    max_in_flight: int | None = None,
    counters: list[Counters] | None = None,
    changes: dict[float, Callable[[], None]] | None = None,
) -> list[Counters]:
    """Loaders that fetch for so long, one per server given (which may be the same one)."""

    def run(server: Server, counters: Counters) -> asyncio.Task[None]:
        work = (Job(ObjectRef(f"s3://bucket/{n}", SIZE), Slot(n, n)) for n in range(10**7))
        prefetcher = Prefetcher(
            server,  # type: ignore[arg-type]
            Agenda(work),
            options=FetchOptions(
                max_in_flight=max_in_flight,
                hedge=0.0,
                retry=RetryPolicy(backoff_initial_s=0.02, backoff_max_s=0.02),
            ),
            deliver=lambda delivery: delivery.credit.release(),
            counters=counters,
        )
        return asyncio.create_task(prefetcher.run())

    counters = counters or [Counters() for _ in servers]
    running = [run(server, count) for server, count in zip(servers, counters, strict=True)]
    loop = asyncio.get_running_loop()
    for at_s, change in (changes or {}).items():
        loop.call_at(at_s, change)
    await asyncio.sleep(seconds)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    return counters


@in_virtual_time
async def test_a_throttle_is_held_just_under_and_followed_when_it_changes() -> None:
    server = Server(per_second=200.0)

    def set_limit(per_second: float) -> Callable[[], None]:
        return lambda: setattr(server, "per_second", per_second)

    await fetch(server, seconds=34.0, changes={10.0: set_limit(400.0), 22.0: set_limit(200.0)})

    for start_s, end_s, limit in ((3.0, 10.0, 200.0), (17.0, 22.0, 400.0), (25.0, 34.0, 200.0)):
        rate, refused, _ = server.between(start_s, end_s)
        assert rate >= 0.9 * limit
        assert refused <= 0.02


@in_virtual_time
async def test_random_refusals_do_not_slow_it_down() -> None:
    def stormy() -> Server:
        draw = random.Random(1)
        return Server(latency_s=0.1, fails=lambda: Throttled("503") if draw.random() < 0.2 else None)

    # In order, 512 in flight wait for the one that is refused four times in a row, whatever the level does.
    (fixed,) = await fetch(stormy(), seconds=5.0, max_in_flight=512)
    (adaptive,) = await fetch(stormy(), seconds=5.0)

    assert adaptive.bytes_fetched >= 0.5 * fixed.bytes_fetched


@in_virtual_time
async def test_two_loaders_share_a_throttle() -> None:
    server = Server(per_second=200.0)
    shares: list[tuple[int, int]] = []
    counters = [Counters(), Counters()]
    await fetch(
        *(server, server),
        seconds=40.0,
        counters=counters,
        changes={25.0: lambda: shares.append((counters[0].bytes_fetched, counters[1].bytes_fetched))},
    )
    first, second = (count.bytes_fetched - before for count, before in zip(counters, shares[0], strict=True))

    assert 0.5 < first / second < 2.0
    assert server.between(25.0, 40.0)[0] >= 180.0


@pytest.mark.parametrize(("latency_s", "most"), [(0.04, 128), (0.8, 512)])
@in_virtual_time
async def test_the_level_rises_as_long_as_that_pays(latency_s: float, most: int) -> None:
    # Little's law: at 500 objects per second 20 or 400 are on the way.
    server = Server(latency_s=latency_s, bytes_per_s=500.0 * SIZE)
    await fetch(server, seconds=16.0)
    rate, _, in_flight = server.between(10.0, 16.0)

    assert rate >= 0.93 * 500.0
    assert in_flight <= most


@in_virtual_time
async def test_it_starts_gently() -> None:
    server = Server(latency_s=0.1)
    await fetch(server, seconds=1.5)

    assert max(in_flight for at_s, _, in_flight in server.log if at_s < 0.1) == 32
    assert max(in_flight for *_, in_flight in server.log) == 512


def test_what_the_level_does_not_hold_back_leaves_it_alone() -> None:
    level = Level(512, 0.0)
    now_s = 0.0
    for _ in range(20_000):
        now_s += 0.001
        level.note(Ended.WELL, SIZE, 0.03, now_s, is_bound=False)

    assert level.limit == 32


@in_virtual_time
async def test_a_server_that_drops_connections_gets_fewer_of_them() -> None:
    server = Server(latency_s=0.2, most_at_once=100)
    (counters,) = await fetch(server, seconds=15.0)

    assert counters.bytes_fetched / SIZE / 15.0 > 0.5 * 100 / 0.2
    assert server.between(5.0, 15.0)[2] <= 130


def test_a_level_keeps_to_its_ceiling() -> None:
    level = Level(8, 0.0)
    assert level.limit == 8
    now_s = 0.0
    for _ in range(20_000):
        now_s += 0.001
        level.note(Ended.WELL, SIZE, 0.008, now_s, is_bound=True)
        assert 4 <= level.limit <= 8


def test_a_level_that_has_come_up_against_the_pace_stays_there() -> None:
    """The pace grows only while it is kept: gone back, level and pace would wait for each other."""
    level = Level(512, 0.0)
    latency_s, least, now_s = 0.04, 512, 0.0
    while now_s < 30.0:
        # For ten seconds the server takes 1,600 GET/s at the most, then as many as are sent at the pace.
        most = 1600.0 if now_s < 10.0 else 1750.0
        offered = level.limit / latency_s
        is_paced = now_s >= 10.0 and offered >= most
        rate = min(offered, most)
        now_s += 1 / rate
        level.note(Ended.WELL, SIZE, level.limit / rate, now_s, is_bound=not is_paced, is_paced=is_paced)
        if now_s > 25.0:
            least = min(least, level.limit)

    assert least / latency_s >= 1750.0


class Unreachable:
    """Nobody is there for the first two seconds; then bodies come, of a size that nobody knows before."""

    BODY = bytes(5_000_000)

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        await asyncio.sleep(0.03)
        if asyncio.get_running_loop().time() < 2.0:
            raise ConnectionLost("refused", key=uri)
        assert admit is not None
        await admit(len(self.BODY))
        await asyncio.sleep(0.05)
        return self.BODY


@pytest.mark.parametrize("seed", range(6))
@in_virtual_time
async def test_who_waits_for_room_does_not_keep_the_oldest_from_the_gate(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level has come down to a few, which wait for the window; the window waits for the oldest, at the gate."""
    monkeypatch.setattr("asyncio_loader.stores.retry.random.random", random.Random(seed).random)
    loop = asyncio.get_running_loop()
    positions: list[int] = []
    gates = []

    def take(delivery: Delivery) -> None:
        assert isinstance(delivery.outcome, Fetched)
        positions.append(delivery.outcome.position)
        loop.call_soon(delivery.credit.release)

    class Watched(Gate):
        def __init__(self, level: Level, pace: Pace) -> None:
            super().__init__(level, pace)
            gates.append(self)

    monkeypatch.setattr("asyncio_loader.engine.traffic.Gate", Watched)
    prefetcher = Prefetcher(
        Unreachable(),  # type: ignore[arg-type]
        Agenda([Job(ObjectRef(f"s3://bucket/{n}"), Slot(n, n)) for n in range(200)]),
        options=FetchOptions(),
        deliver=take,
        counters=Counters(),
    )

    async with asyncio.timeout(600):
        await prefetcher.run()

    assert positions == list(range(200))
    assert [gate.under_way for gate in gates] == [0]
