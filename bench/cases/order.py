"""What a long list costs: from ten thousand to a hundred million refs, of which none is in memory.

For each length a text with so many URIs is written and indexed, and a fresh process measures

* what a position of a shuffled epoch costs, as the order gives it and as a plan deals it out, and what it costs to look
  its ref up in the text, each as the least of five rounds;
* the time from the construction of `RefFile` and dataset to the first sample of a shuffled epoch, over the simulator
  without latency, and how much the process has grown after some thousand samples.

Imports are not counted. The lines point to a thousand small objects, so that what grows is not the window: 1,024 of
them make 10 MB. The text is in the page cache when it is read, for its index has just been made; from a disk that has
to seek a look-up takes as long as a seek.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median

from asyncio_loader.datasets.ref_file import RefFile, build_index
from asyncio_loader.order.ordering import Shuffled
from asyncio_loader.order.plan import EpochPlan
from asyncio_loader.order.shard import Shard
from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.measure import MIB, call_in_fresh_process, memory_bytes
from bench.report import Report

LENGTHS = tuple(10**power for power in range(4, 9))
KEYS = 1000
SIZE_BYTES = 10_000
POSITIONS = 20_000
ROUNDS = 5
SAMPLES = 5_000
BATCH = 32


def run(settings: Settings) -> Report:
    """Measure every length, one text at a time."""
    lengths = sorted({settings.count(full) for full in LENGTHS})
    raw: dict[str, list[dict[str, float]]] = {}
    with S3Simulator(_objects()) as simulator:
        for length in lengths:
            raw[f"{length:,}"] = _measure(length, settings, simulator)
    return Report(
        case="order",
        title=f"shuffled refs of a text, {lengths[-1] * len(_line(0)) / 1e6:.0f} MB at the longest, "
        f"median of {settings.repeats}",
        columns=(
            "refs",
            "order, µs/position",
            "plan, µs/position",
            "look-up, µs",
            "index made in, s",
            "first sample, ms",
            "growth, MiB",
        ),
        rows=[*(_row(name, results) for name, results in raw.items()), _spread(list(raw.values()))],
        raw=dict(raw),
    )


def count_costs(path: str) -> dict[str, float]:
    """Seconds per position, by all that is asked on the way from it to a ref."""
    refs = RefFile(path)
    order = Shuffled(len(refs), seed=1).of_epoch(0)
    plan = EpochPlan(order=order, batch_size=BATCH)
    positions = random.Random(0).choices(range(len(refs)), k=POSITIONS)
    indices = [order[position] for position in positions]
    # As from the middle of an epoch: the first positions would be the same for every length.
    skip = len(refs) // 2
    return {
        "order_s": _seconds_each(lambda: map(order.__getitem__, positions)),
        "plan_s": _seconds_each(lambda: itertools.islice(plan.slots(Shard(), skip=skip), POSITIONS)),
        "look_up_s": _seconds_each(lambda: map(refs.__getitem__, indices)),
    }


def load_first_samples(path: str, samples: int, endpoint_url: str) -> dict[str, float]:
    """Seconds to the first sample, and bytes that the process has grown by after the last."""
    # The store is imported with its first use otherwise.
    import asyncio_loader.stores.s3.store  # noqa: F401
    from asyncio_loader import AsyncIterableDataset, S3Options

    before_bytes, started_s = memory_bytes(), time.perf_counter()
    dataset = AsyncIterableDataset(
        RefFile(path),
        shuffle=True,
        seed=1,
        batch_size=BATCH,
        storage=S3Options(endpoint_url=endpoint_url, region_name="us-east-1"),
    )
    stream = iter(dataset)
    assert len(next(stream).data) == SIZE_BYTES
    first_s = time.perf_counter() - started_s
    for _ in itertools.islice(stream, samples - 1):
        pass
    return {
        "first_s": first_s,
        "grown_bytes": memory_bytes() - before_bytes,
        "peak_bytes": memory_bytes("VmHWM") - before_bytes,
    }


def _measure(length: int, settings: Settings, simulator: S3Simulator) -> list[dict[str, float]]:
    results = []
    with tempfile.TemporaryDirectory(prefix="bench-order-") as directory:
        path = os.path.join(directory, "refs.txt")
        _write_lines(path, length)
        for _ in range(settings.repeats):
            started_s = time.perf_counter()
            build_index(path)
            built_s = time.perf_counter() - started_s
            costs = call_in_fresh_process(f"{__name__}:count_costs", path=path)
            loaded = call_in_fresh_process(
                f"{__name__}:load_first_samples",
                path=path,
                samples=min(length, SAMPLES),
                endpoint_url=simulator.endpoint_url,
                environ=simulator.environ,
            )
            results.append({"index_s": built_s, **costs, **loaded})
    return results


def _seconds_each(make: Callable[[], Iterator[object]]) -> float:
    """The least of some rounds: microseconds of pure CPU time, to which a neighbour can only add."""
    rounds_s = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        count = sum(1 for _ in make())
        rounds_s.append((time.perf_counter() - started_s) / count)
    return min(rounds_s)


def _write_lines(path: str, count: int) -> None:
    cycle = "".join(map(_line, range(KEYS))).encode()
    rounds, rest = divmod(count, KEYS)
    with open(path, "wb") as file:
        for first in range(0, rounds, 1000):
            file.write(cycle * min(1000, rounds - first))
        file.write(cycle[: rest * len(_line(0))])


def _line(number: int) -> str:
    return f"s3://bucket/{_key(number)}\n"


def _key(number: int) -> str:
    return f"{number:011d}"


def _objects() -> Iterator[tuple[str, bytes]]:
    return ((_key(number), bytes(SIZE_BYTES)) for number in range(KEYS))


def _row(name: str, results: list[dict[str, float]]) -> tuple[str, ...]:
    return (
        name,
        *(f"{_middle(results, field) * 1e6:.2f}" for field in _COSTS),
        f"{_middle(results, 'index_s'):.2f}",
        f"{_middle(results, 'first_s') * 1000:.0f}",
        f"{_middle(results, 'grown_bytes') / MIB:.1f}",
    )


def _spread(lengths: list[list[dict[str, float]]]) -> tuple[str, ...]:
    def ratio(field: str) -> str:
        costs = [_middle(results, field) for results in lengths]
        return f"{max(costs) / min(costs):.2f}"

    return ("most / least", *map(ratio, _COSTS), "", "", "")


def _middle(results: list[dict[str, float]], field: str) -> float:
    return median(result[field] for result in results)


_COSTS = ("order_s", "plan_s", "look_up_s")
