"""What a peer is asked to do, and the two ways in which a client does it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop

from asyncio_loader.options import Verify
from bench.measure import Cost, cost_of

__all__ = ["BUCKET", "PREFIX", "REGION", "GetTask", "LoadTask", "key_of", "run_tasks", "run_threads"]

BUCKET = "bucket"
REGION = "us-east-1"
PREFIX = "train2017"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTask:
    """Attributes:
    endpoint_url: where the server is; credentials are in the environment.
    ca_bundle: PEM file of the authority to trust, for https.
    gets: GETs that count.
    warm_gets: GETs before them, which open the connections.
    keys: how many objects there are.
    size_bytes: of each.
    in_flight: GETs at the same time, or threads.
    verify: see `FetchOptions`; of ours alone.
    """

    endpoint_url: str
    ca_bundle: str | None = None
    gets: int
    warm_gets: int
    keys: int
    size_bytes: int
    in_flight: int
    verify: Verify = "auto"

    @property
    def address(self) -> tuple[str, int, bool]:
        """Host, port, and whether it is TLS."""
        parts = urlsplit(self.endpoint_url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port, parts.scheme == "https"

    def key(self, number: int) -> str:
        """The object of a GET."""
        return key_of(number % self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTask:
    """Attributes:
    endpoint_url: where the server is; credentials are in the environment.
    images: how many there are; every one is loaded once.
    batch: images in a batch.
    workers: threads or processes that decode.
    in_flight: GETs at the same time of a loader that can be told, its workers together. Ours finds its own.
    window_bytes: of the loaders of ours, see `FetchOptions`.
    jpegs: a directory of the different JPEGs that there are; image n is file n modulo their number, by name.
    """

    endpoint_url: str
    images: int
    batch: int
    workers: int
    in_flight: int
    window_bytes: int
    jpegs: str

    def shuffled_keys(self) -> list[str]:
        """The keys in the order of an epoch, for loaders that don't shuffle by themselves."""
        keys = [key_of(number) for number in range(self.images)]
        random.Random(1).shuffle(keys)
        return keys


def key_of(number: int) -> str:
    """The name of an object."""
    return f"{PREFIX}/{number:012d}.jpg"


def run_tasks(
    task: GetTask, open_get: Callable[[], AbstractAsyncContextManager[Callable[[str], Awaitable[int]]]]
) -> Cost:
    """Let `in_flight` tasks of one uvloop call what `open_get` opens: an async function, key to length of the body."""

    async def main() -> Cost:
        async with open_get() as get:
            await _get_all(task, get, task.warm_gets)
            with cost_of() as cost:
                await _get_all(task, get, task.gets)
        return cost

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def run_threads(task: GetTask, get: Callable[[str], int]) -> Cost:
    """Let `in_flight` threads call a function, key to length of the body."""

    def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            _check(task, get(task.key(number)))

    def get_all(pool: ThreadPoolExecutor, count: int) -> None:
        # One for all: the GIL lets one thread at a time take the next.
        numbers = iter(range(count))
        for _ in pool.map(work, [numbers] * task.in_flight):
            pass

    with ThreadPoolExecutor(task.in_flight) as pool:
        get_all(pool, task.warm_gets)
        with cost_of() as cost:
            get_all(pool, task.gets)
    return cost


async def _get_all(task: GetTask, get: Callable[[str], Awaitable[int]], count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            _check(task, await get(task.key(number)))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(task.in_flight, count)):
            group.create_task(work())


def _check(task: GetTask, length: int) -> None:
    if length != task.size_bytes:
        raise ValueError(f"a body of {length} bytes in place of {task.size_bytes}")
