"""What a GET costs the client, layer by layer, when the store answers at once and nothing is decoded.

* ``store``: the GETs alone, through `StoreRouter.get`.
* ``engine``: with the window, the retry policy and the restored order of `Prefetcher` around them.
* ``dataset``: what `AsyncIterableDataset` hands to the training loop, the hop between threads included.
* ``aioboto3``: `get_object` and `read()`, for orientation, over fewer objects.

CPU time is that of the whole client process, kernel included; the store is another process. Each measurement has a
process of its own, and starts when its connections are open and its code is warm.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from statistics import median

from asyncio_loader.engine.agenda import Agenda, Job
from asyncio_loader.engine.prefetch import Delivery, Prefetcher
from asyncio_loader.options import FetchOptions, S3Options
from asyncio_loader.records import ObjectRef, Slot
from asyncio_loader.stats import Counters
from asyncio_loader.stores.router import StoreRouter
from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.measure import Cost, call_in_fresh_process, cost_of
from bench.report import Report

GETS = 20_000
PEER_GETS = 2_000
WARM_GETS = 500
KEYS = 1000
SIZE_BYTES = 115_000
IN_FLIGHT = 64


def run(settings: Settings) -> Report:
    """Measure every layer."""
    contenders = {"store": GETS, "engine": GETS, "dataset": GETS, "aioboto3": PEER_GETS}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    with S3Simulator(_objects()) as simulator:
        for _ in range(settings.repeats):
            for name, full in contenders.items():
                result = call_in_fresh_process(
                    f"{__name__}:get_through_{name}",
                    gets=settings.count(full),
                    endpoint_url=simulator.endpoint_url,
                    environ=simulator.environ,
                )
                runs[name].append(result)
    return Report(
        case="get_cost",
        title=f"{SIZE_BYTES / 1000:.0f} KB objects, {IN_FLIGHT} in flight, no latency, median of {settings.repeats}",
        columns=("layer", "CPU µs/GET", "least", "most", "GET/s"),
        rows=[_row(name, results) for name, results in runs.items()],
        raw=dict(runs),
    )


def get_through_store(gets: int, endpoint_url: str) -> dict[str, float]:
    """GETs by 64 tasks, without anything around them."""

    async def main() -> Cost:
        store = _open_store(endpoint_url)

        async def get(key: str) -> int:
            return len(await store.get(f"s3://bucket/{key}"))

        await _get_all(get, WARM_GETS)
        with cost_of() as cost:
            await _get_all(get, gets)
        await store.aclose()
        return cost

    return _result(_run(main()), gets)


def get_through_engine(gets: int, endpoint_url: str) -> dict[str, float]:
    """GETs by the prefetcher, in the loop it lives in."""

    async def main() -> Cost:
        store = _open_store(endpoint_url)
        await _prefetch(store, WARM_GETS)
        with cost_of() as cost:
            await _prefetch(store, gets)
        await store.aclose()
        return cost

    return _result(_run(main()), gets)


def get_through_dataset(gets: int, endpoint_url: str) -> dict[str, float]:
    """GETs as the training loop sees them."""
    # It imports torch, which the layers below do without.
    from asyncio_loader.datasets.dataset import AsyncIterableDataset

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{_key(number)}" for number in range(WARM_GETS + gets)],
        options=FetchOptions(max_in_flight=IN_FLIGHT),
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    samples = iter(dataset)
    for _ in range(WARM_GETS):
        next(samples)
    with cost_of() as cost:
        count = sum(1 for _ in samples)
    assert count == gets
    return _result(cost, gets)


def get_through_aioboto3(gets: int, endpoint_url: str) -> dict[str, float]:
    """GETs by the client that the asyncio world uses."""
    import aioboto3
    from botocore.config import Config

    async def main() -> Cost:
        config = Config(max_pool_connections=IN_FLIGHT)
        async with aioboto3.Session().client("s3", endpoint_url=endpoint_url, config=config) as client:

            async def get(key: str) -> int:
                answer = await client.get_object(Bucket="bucket", Key=key)
                return len(await answer["Body"].read())

            await _get_all(get, min(WARM_GETS, gets))
            with cost_of() as cost:
                await _get_all(get, gets)
        return cost

    return _result(_run(main()), gets)


async def _get_all(get: Callable[[str], Awaitable[int]], count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            assert await get(_key(number)) == SIZE_BYTES

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


async def _prefetch(store: StoreRouter, count: int) -> None:
    counters = Counters()

    def consume(delivery: Delivery) -> None:
        delivery.credit.release()

    jobs = (Job(ObjectRef(f"s3://bucket/{_key(number)}"), Slot(number, number)) for number in range(count))
    options = FetchOptions(max_in_flight=IN_FLIGHT)
    await Prefetcher(store, Agenda(jobs), options=options, deliver=consume, counters=counters).run()
    assert counters.bytes_fetched == count * SIZE_BYTES


def _open_store(endpoint_url: str) -> StoreRouter:
    return StoreRouter(S3Options(endpoint_url=endpoint_url, region_name="us-east-1"), max_connections=IN_FLIGHT)


def _run(main: Awaitable[Cost]) -> Cost:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


def _result(cost: Cost, gets: int) -> dict[str, float]:
    return {"cpu_us": cost.cpu_s / gets * 1e6, "rate": gets / cost.wall_s}


def _key(number: int) -> str:
    return f"train2017/{number % KEYS:012d}.jpg"


def _objects() -> Iterator[tuple[str, bytes]]:
    source = random.Random(0)
    return ((_key(number), source.randbytes(SIZE_BYTES)) for number in range(KEYS))


def _row(name: str, results: list[dict[str, float]]) -> tuple[str, ...]:
    costs = [result["cpu_us"] for result in results]
    rates = [result["rate"] for result in results]
    return (name, f"{median(costs):.0f}", f"{min(costs):.0f}", f"{max(costs):.0f}", f"{median(rates):.0f}")
