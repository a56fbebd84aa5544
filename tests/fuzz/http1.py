"""Fuzzing of our HTTP client: hostile servers in memory, h11 as the judge.

    python -m tests.fuzz.http1 --cases 1000000 --seed 0

A case is a client, a server and up to three GETs: perhaps an honest one, which leaves a connection in the pool; one
that the server betrays; and an honest one at once behind it. Every case must end, in virtual time, with

* exactly the body that h11 reads out of the same bytes, or a `LoaderError`; never another exception, in a task or in a
  callback of the loop;
* the last GET answered with its own body, whatever came before;
* all connections closed, and no task or timer left;
* no connection used again but after one whole answer and not a byte more, as h11 reads what had come by then.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asyncio_loader.errors import LoaderError, ServerFault
from asyncio_loader.options import RetryPolicy, Verify
from asyncio_loader.stores.s3.address import Endpoint
from asyncio_loader.stores.s3.connections import Http1Transport
from asyncio_loader.stores.s3.exchange import Exchange
from asyncio_loader.stores.s3.objects import ObjectReader
from tests.fuzz.answers import Attack, honest, make_attack, packets_of
from tests.fuzz.memory_net import EOF, RESET, MemoryLoop, Packet, Server, memory_loop, timers_left
from tests.fuzz.reference import Reading, read_with_h11

__all__ = ["CORPUS", "Fault", "run_cases"]

CORPUS = Path(__file__).parents[1] / "data" / "http1"

_ENDPOINT = Endpoint.parse("http://s3.test", "path", source="the fuzz target")
# Objects are small.
_POOL_BYTES = 1024 * 1024
_TIMEOUTS = RetryPolicy()
# Connecting, head, and the slowest body of 60 KB that is still taken, all with their limits; and what `admit` waits.
_LONGEST_S = 200.0
_BEFORE, _BETRAYED, _AFTER = "s3://bucket/before", "s3://bucket/betrayed", "s3://bucket/after"
_BODIES = {_BEFORE: b"the body before", _AFTER: b"the body after"}
_LOOP_CASES = 500


class Fault(AssertionError):
    """The client did what it must not; names the case."""


class _OneClient:
    """What `Exchange` needs of `Transports`."""

    def __init__(self, transport: Http1Transport) -> None:
        self.reading = self.writing = self.ours = transport

    async def aclose(self) -> None:
        await self.reading.aclose()


class _Admit:
    """A window: it grants at once, or lets a body wait."""

    def __init__(self, pause_s: float, *, is_quick: bool) -> None:
        self._pause_s = pause_s
        self._is_quick = is_quick

    async def __call__(self, _: int) -> None:
        await asyncio.sleep(self._pause_s)

    def now(self, _: int) -> bool:
        return self._is_quick


class Case:
    """One case, made from its number alone."""

    def __init__(self, seed: int, number: int, corpus: list[bytes]) -> None:
        self.name = f"seed {seed}, case {number}"
        self._rng = rng = random.Random(f"{seed}/{number}")
        self.attack: Attack = make_attack(rng, corpus)
        self.packets = packets_of(rng, self.attack)
        greeting: list[Packet] = []
        if rng.random() < 0.01:
            greeting = [(0.0, rng.choice([b"x", b"HTTP/1.1 200 OK\r\n", EOF, RESET]))]
        reads_on, turns = rng.random() < 0.6, rng.randrange(1, 5) if greeting else 1
        self._server = Server(self._answer, greeting=greeting, reads_on=reads_on, turns=turns)
        self._method = rng.choices(["get", "head", "range"], [8, 1, 2])[0]
        self._admit = None
        if rng.random() < 0.7:
            self._admit = _Admit(rng.choice([0.0, 0.0, 50.0]), is_quick=rng.random() < 0.6)
        # The last one: a read that ends where the answer does.
        self._scratch_bytes = rng.choice([8192, 8192, 64, 16, self.attack.whole_bytes or 64])
        # At once, the last GET meets what has come and was not read yet; later, nothing is under way any more.
        self._is_patient = rng.random() < 0.3
        self._has_before = rng.random() < 0.5 or bool(greeting)
        self._is_cancelled = rng.random() < 0.02
        self._verify: Verify = rng.choice(["auto", "never"])

    async def run(self) -> str:
        """The kind of outcome.

        Raises:
            Fault: see there.
        """
        loop = memory_loop()
        loop.server = self._server
        transport = Http1Transport("http://s3.test", "http", None, timeouts=_TIMEOUTS)
        transport._scratch = memoryview(bytearray(self._scratch_bytes))
        exchange = Exchange(_OneClient(transport), _ENDPOINT, "us-east-1", None, max_connections=4)  # type: ignore[arg-type]
        reader = ObjectReader(exchange, pool_bytes=_POOL_BYTES, verify=self._verify)
        if self._has_before:
            await self._get_honestly(reader, _BEFORE)
        started_s = loop.time()
        outcome = await self._get_betrayed(reader)
        if loop.time() - started_s > _LONGEST_S:
            raise self._fault(f"it took {loop.time() - started_s:.0f} s")
        if self._is_patient:
            await asyncio.sleep(200.0)
        await self._get_honestly(reader, _AFTER)
        await exchange.aclose()
        self._check_left()
        return outcome

    async def _get_honestly(self, reader: ObjectReader, uri: str) -> None:
        try:
            data = await reader.get(uri, None)
        except ServerFault:
            # Bytes that nobody asked for came first.
            if self._server.greeting:
                return
            raise self._fault(f"{uri} failed") from None
        except LoaderError as error:
            if self._server.greeting:
                return
            raise self._fault(f"{uri}: {error!r}") from error
        if data != _BODIES[uri]:
            raise self._fault(f"{uri} got {bytes(data)[:80]!r}")

    async def _get_betrayed(self, reader: ObjectReader) -> str:
        # In this very task, so that the next GET follows in the same turn of the loop.
        task = asyncio.current_task()
        assert task is not None
        cancelling = None
        if self._is_cancelled:
            cancelling = asyncio.get_running_loop().call_later(self._rng.choice([0.0, 0.5]), task.cancel)
        try:
            return await self._call(reader)
        except asyncio.CancelledError:
            task.uncancel()
            return "cancelled"
        except Fault:
            raise
        except LoaderError as error:
            if self.attack.is_valid and self._method == "get" and not self._server.greeting and self._is_swift:
                raise self._fault(f"an honest answer was refused: {error!r}") from error
            return type(error).__name__
        except Exception as error:
            raise self._fault(f"it raised {error!r}") from error
        finally:
            if cancelling is not None:
                cancelling.cancel()

    async def _call(self, reader: ObjectReader) -> str:
        if self._method == "head":
            info = await reader.head(_BETRAYED)
            self._check_head(info.size_bytes)
            return "head"
        if self._method == "range":
            piece = await reader.get_range(_BETRAYED, 0, 5, None, None)
            self._check_range(bytes(piece.data), piece.size_bytes)
            return "range"
        self._check_body(bytes(await reader.get(_BETRAYED, self._admit)))
        return "delivered"

    @property
    def _is_swift(self) -> bool:
        return sum(pause_s for pause_s, _ in self.packets) < 25.0

    def _answer(self, request: bytes) -> list[Packet]:
        target = request.split(b" ", 2)[1].decode()
        if f"s3:/{target}" == _BETRAYED:
            return list(self.packets)
        return [(0.0, honest(_BODIES[f"s3:/{target}"]))]

    # The judge.

    def _check_body(self, body: bytes) -> None:
        reading = self._read(b"GET")
        if (reading.status, reading.is_whole, reading.body) != (200, True, body):
            raise self._fault(f"delivered {body[:80]!r}, h11 reads {reading}")

    def _check_head(self, size_bytes: int) -> None:
        reading = self._read(b"HEAD")
        if (reading.status, reading.content_length) != (200, size_bytes):
            raise self._fault(f"the size is {size_bytes}, h11 reads {reading}")

    def _check_range(self, body: bytes, size_bytes: int) -> None:
        reading = self._read(b"GET")
        if reading.status == 416:
            is_good = body == b"" and size_bytes == 0
        else:
            is_good = reading.status in (200, 206) and reading.is_whole and body == reading.body
        if not is_good:
            raise self._fault(f"the range is {body[:80]!r} of {size_bytes}, h11 reads {reading}")

    def _read(self, method: bytes) -> Reading:
        # What comes behind the end is judged by the last GET, so silence or end make no difference to h11 here.
        return read_with_h11(self.attack.data, method=method.decode(), is_closed=self.attack.end == EOF)

    def _check_left(self) -> None:
        for error in self._server.crashes:
            raise self._fault(f"a callback raised {error!r}") from error
        for request, arrived, unread_bytes in self._server.reuses:
            reading = read_with_h11(arrived, method=request.split(b" ", 1)[0].decode())
            if unread_bytes or reading.rest or reading.offence or not reading.is_whole:
                raise self._fault(f"a connection was used again, {unread_bytes} bytes unread, behind {reading}")
        if self._server.open_transports:
            raise self._fault(f"{len(self._server.open_transports)} connections are open")
        if len(asyncio.all_tasks()) > 1:
            raise self._fault(f"tasks are left: {asyncio.all_tasks()}")
        if timers_left():
            raise self._fault(f"timers are left: {timers_left()}")

    def _fault(self, what: str) -> Fault:
        return Fault(f"{self.name} ({self.attack.kind}, {self._method}): {what}\n{self.packets}"[:4000])


def load_corpus() -> list[bytes]:
    """The answers in `tests/data/http1`."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.http"))]


def run_cases(numbers: Iterable[int], *, seed: int = 0, on_progress: object = None) -> Counter[tuple[str, str]]:
    """Run the cases of these numbers; how often which outcome came of which kind of attack.

    Raises:
        Fault: the first case that fails.
    """
    corpus = load_corpus()
    outcomes: Counter[tuple[str, str]] = Counter()
    waiting = list(numbers)

    async def main(some: list[int]) -> None:
        for number in some:
            case = Case(seed, number, corpus)
            outcomes[case.attack.kind, await case.run()] += 1

    for start in range(0, len(waiting), _LOOP_CASES):
        with asyncio.Runner(debug=False, loop_factory=MemoryLoop) as runner:
            runner.run(main(waiting[start : start + _LOOP_CASES]))
        if callable(on_progress):
            on_progress(min(start + _LOOP_CASES, len(waiting)))
    return outcomes


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()

    def show(done: int) -> None:
        if done % 20_000 == 0:
            print(f"{done:,} cases, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)

    numbers = range(options.first, options.first + options.cases)
    outcomes = run_cases(numbers, seed=options.seed, on_progress=show)
    kinds = sorted({kind for kind, _ in outcomes})
    for kind in kinds:
        found = sorted((count, outcome) for (of, outcome), count in outcomes.items() if of == kind)[::-1]
        print(f"{kind:16} " + ", ".join(f"{outcome} {count:,}" for count, outcome in found))
    total: Counter[str] = Counter()
    for (_, outcome), count in outcomes.items():
        total[outcome] += count
    print(f"{'all':16} " + ", ".join(f"{outcome} {count:,}" for outcome, count in total.most_common()))
    print(f"{total.total():,} cases, seed {options.seed}, {time.perf_counter() - started:.0f} s, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
