"""An epoch over a store with the latency of S3: how near to RAM, how far from what people do today.

Three contenders make RGB tensors of the same JPEGs with the same decoder:

* ``RAM``: the bytes lie in memory, two threads decode. Nothing can be faster; it is the 1.00.
* ``Loader``: one process, `asyncio_loader.Loader` with two threads, over the simulator.
* ``boto3``: a torch DataLoader with two worker processes, a map-style dataset that calls `get_object`.

Each measurement has a process of its own, and contenders take turns. RAM and Loader are timed over a whole epoch from
`iter()` to the last batch, after an epoch that warms caches and connections; that first epoch is shown, too, since a
short job pays for it. boto3 is timed from its first batch, so that the start of its workers is not counted against
it, and over fewer images, since its speed does not depend on their number.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.images import MEAN_BYTES, decode, decode_fetched, jpeg_objects, key_of
from bench.measure import call_in_fresh_process
from bench.report import Report, median_share, spread

IMAGES = 1000
PEER_IMAGES = 240
BATCH = 16
THREADS = 2
MEDIAN_S, P99_S = 0.030, 0.150


def run(settings: Settings) -> Report:
    """Measure all three."""
    images, peer_images = settings.count(IMAGES), settings.count(PEER_IMAGES)
    runs: dict[str, list[dict[str, float]]] = {"RAM": [], "Loader": [], "boto3": []}
    with S3Simulator(jpeg_objects(images), median_s=MEDIAN_S, p99_s=P99_S) as simulator:
        for _ in range(settings.repeats):
            place: dict[str, Any] = {"endpoint_url": simulator.endpoint_url, "environ": simulator.environ}
            runs["RAM"].append(call_in_fresh_process(f"{__name__}:decode_from_ram", images=images))
            runs["Loader"].append(call_in_fresh_process(f"{__name__}:load_with_loader", images=images, **place))
            runs["boto3"].append(call_in_fresh_process(f"{__name__}:load_with_boto3", images=peer_images, **place))
    return Report(
        case="epoch",
        title=f"{images} JPEGs of {MEAN_BYTES / 1000:.0f} KB at {MEDIAN_S * 1000:.0f} ms median, {P99_S * 1000:.0f} ms "
        f"99th percentile, {THREADS} threads or workers, median of {settings.repeats}",
        columns=("contender", "images/s", "least", "most", "of RAM", "first epoch"),
        rows=[_row(name, results, runs["RAM"]) for name, results in runs.items()],
        raw=dict(runs),
    )


def decode_from_ram(images: int) -> dict[str, float]:
    """Decode the bytes of every image, in threads."""
    bodies = [body for _, body in jpeg_objects(images)]
    rates = []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(2):
            started_s = time.perf_counter()
            for _ in pool.map(_decode_all, [bodies[thread::THREADS] for thread in range(THREADS)]):
                pass
            rates.append(images / (time.perf_counter() - started_s))
    return {"rate": rates[1], "first_rate": rates[0]}


def load_with_loader(images: int, endpoint_url: str) -> dict[str, float]:
    """Two epochs with our Loader."""
    from asyncio_loader import AsyncIterableDataset, Loader, S3Options

    dataset = AsyncIterableDataset(
        [f"s3://bucket/{key_of(number)}" for number in range(images)],
        transform=decode_fetched,
        shuffle=True,
        seed=1,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    rates = []
    with Loader(dataset, BATCH, threads=THREADS) as loader:
        for epoch in range(2):
            loader.set_epoch(epoch)
            started_s = time.perf_counter()
            count = sum(len(batch) for batch in loader)
            rates.append(count / (time.perf_counter() - started_s))
            assert count == images
    return {"rate": rates[1], "first_rate": rates[0]}


def load_with_boto3(images: int, endpoint_url: str) -> dict[str, float]:
    """One epoch with the DataLoader that one finds in most repositories."""
    from bench.peers.boto import open_loader

    keys = [key_of(number) for number in range(images)]
    loader = open_loader(endpoint_url, keys, batch=BATCH, workers=THREADS)
    started_s = time.perf_counter()
    ends_s = []
    for batch in loader:
        assert batch
        ends_s.append(time.perf_counter())
    return {
        "rate": (images - BATCH) / (ends_s[-1] - ends_s[0]),
        "first_rate": images / (ends_s[-1] - started_s),
    }


def _decode_all(bodies: list[bytes]) -> None:
    for body in bodies:
        decode(body)


def _row(name: str, results: list[dict[str, float]], ram: list[dict[str, float]]) -> tuple[str, ...]:
    rates = [result["rate"] for result in results]
    return (
        name,
        *spread(rates),
        f"{median_share(rates, [result['rate'] for result in ram]):.2f}",
        f"{median(result['first_rate'] for result in results):.0f}",
    )
