"""What a GET costs the client, layer by layer, when the store answers at once and nothing is decoded.

* ``store``: the GETs alone, through `StoreRouter.get`.
* ``engine``: with the window, the retry policy and the restored order of `Prefetcher` around them.
* ``dataset``: what `AsyncIterableDataset` hands to the training loop, the hop between threads included.
* ``aioboto3``: `get_object` and `read()`, for orientation, over fewer objects.

They are those of `bench.peers`. CPU time is that of the whole client process, kernel included; the store is another
process. Each measurement has a process of its own, and starts when its connections are open and its code is warm.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from statistics import median

from asyncio_loader.options import Verify
from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.measure import call_in_fresh_process
from bench.peers.tasks import GetTask, key_of
from bench.report import Report

GETS = 20_000
PEER_GETS = 2_000
WARM_GETS = 500
KEYS = 1000
SIZE_BYTES = 115_000
IN_FLIGHT = 64
# Names, targets below `bench.peers`, and the full number of GETs.
LAYERS = (
    ("store", "ours:get_from_store", GETS),
    ("engine", "ours:get_through_engine", GETS),
    ("dataset", "ours_dataset:get_through_dataset", GETS),
    ("aioboto3", "boto:get_with_aioboto3", PEER_GETS),
)


def run(settings: Settings) -> Report:
    """Measure every layer."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in LAYERS}
    with S3Simulator(make_objects()) as simulator:
        for _ in range(settings.repeats):
            for name, target, full in LAYERS:
                runs[name].append(measure(target, settings.count(full), simulator))
    return Report(
        case="get_cost",
        title=f"{SIZE_BYTES / 1000:.0f} KB objects, {IN_FLIGHT} in flight, no latency, median of {settings.repeats}",
        columns=("layer", "CPU µs/GET", "least", "most", "GET/s"),
        rows=[row_of(name, results) for name, results in runs.items()],
        raw=dict(runs),
    )


def measure(target: str, gets: int, simulator: S3Simulator, *, verify: Verify = "auto") -> dict[str, float]:
    """So many GETs by a client, in a process of its own."""
    task = GetTask(
        endpoint_url=simulator.endpoint_url,
        gets=gets,
        warm_gets=min(WARM_GETS, gets),
        keys=KEYS,
        size_bytes=SIZE_BYTES,
        in_flight=IN_FLIGHT,
        verify=verify,
    )
    result: dict[str, float] = call_in_fresh_process(
        "bench.peers.run:run_client", peer=target, task=asdict(task), environ=simulator.environ
    )
    if "failed" in result:
        raise RuntimeError(f"{target} failed: {result['failed']}")
    return result


def make_objects() -> Iterator[tuple[str, bytes]]:
    """What the server has."""
    source = random.Random(0)
    return ((key_of(number), source.randbytes(SIZE_BYTES)) for number in range(KEYS))


def row_of(name: str, results: list[dict[str, float]]) -> tuple[str, ...]:
    """Of the measurements of one contender."""
    costs = [result["cpu_us"] for result in results]
    rates = [result["rate"] for result in results]
    return (name, f"{median(costs):.0f}", f"{min(costs):.0f}", f"{max(costs):.0f}", f"{median(rates):.0f}")
