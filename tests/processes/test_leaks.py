"""Iterations that are begun, left and dropped in every way leave nothing: no thread, file, process, task or credit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, S3Options
from asyncio_loader.bridge.feed import Feed
from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.datasets.session import Session
from asyncio_loader.datasets.source import SampleSource
from asyncio_loader.errors import TransformError
from asyncio_loader.testing import S3Simulator

OBJECTS = 400
BATCH = 4
IN_FLIGHT = 32
ROUNDS = 5


@pytest.fixture(scope="module")
def simulator() -> Iterator[S3Simulator]:
    # A latency keeps GETs under way at any moment.
    with S3Simulator({f"{n}": b"x" * 1000 for n in range(OBJECTS)}, median_s=0.02, p99_s=0.1) as simulator:
        yield simulator


def length_of(fetched: Fetched) -> int:
    return len(fetched.data)


def reject(fetched: Fetched) -> int:
    if fetched.position == 2 * BATCH:
        raise ValueError("not this one")
    return len(fetched.data)


def make_dataset(simulator: S3Simulator, **options: Any) -> AsyncIterableDataset:
    defaults: dict[str, Any] = {
        "transform": length_of,
        "batch_size": BATCH,
        "options": FetchOptions(max_in_flight=IN_FLIGHT, window_items=64),
        "storage": S3Options(endpoint_url=simulator.endpoint_url, anonymous=True),
    }
    return AsyncIterableDataset([simulator.uri(f"{n}") for n in range(OBJECTS)], **{**defaults, **options})


def take(batches: Any, count: int = 3) -> None:
    assert list(islice(batches, count)) == [[1000] * BATCH] * count


def close_a_loader(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator), BATCH, threads=2) as loader:
        take(loader)


def close_it_before_the_first_batch(simulator: S3Simulator) -> None:
    loader = Loader(make_dataset(simulator), BATCH, threads=2)
    iter(loader)
    loader.close()
    loader.close()


def drop_a_loader(simulator: S3Simulator) -> None:
    take(Loader(make_dataset(simulator), BATCH, threads=2))


def drop_its_iteration_and_go_on_with_another(simulator: S3Simulator) -> None:
    loader = Loader(make_dataset(simulator), BATCH, threads=1)
    take(loader)
    take(loader)
    loader.set_epoch(1)
    take(loader)


def drop_it_within_look_ahead(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=2), BATCH, threads=1) as loader:
        take(loader, OBJECTS // BATCH)


def fail_in_the_transform(simulator: S3Simulator) -> None:
    with contextlib.suppress(TransformError), Loader(make_dataset(simulator, transform=reject), BATCH) as loader:
        take(loader, 4)


def drop_an_iterator_of_the_dataset(simulator: S3Simulator) -> None:
    assert list(islice(make_dataset(simulator), 3)) == [1000] * 3


def leave_it_to_the_collector(simulator: S3Simulator) -> None:
    circle: list[Any] = [iter(Loader(make_dataset(simulator), BATCH, threads=2))]
    circle.append(circle)
    take(circle[0])


def drop_a_dataloader(simulator: S3Simulator) -> None:
    take(DataLoader(make_dataset(simulator), BATCH, collate_fn=list))


def drop_workers(simulator: S3Simulator) -> None:
    take(DataLoader(make_dataset(simulator), BATCH, collate_fn=list, num_workers=1, multiprocessing_context="fork"))


def drop_persistent_workers(simulator: S3Simulator) -> None:
    loader: DataLoader[Any] = DataLoader(
        make_dataset(simulator),
        BATCH,
        collate_fn=list,
        num_workers=2,
        multiprocessing_context="fork",
        persistent_workers=True,
    )
    take(loader)
    take(loader)


# Where torch, a circle or an exception's frames hold on to it, the collector has to come.
COLLECTED = [fail_in_the_transform, leave_it_to_the_collector, drop_workers, drop_persistent_workers]
WAYS: list[Callable[[S3Simulator], None]] = [
    close_a_loader,
    close_it_before_the_first_batch,
    drop_a_loader,
    drop_its_iteration_and_go_on_with_another,
    drop_it_within_look_ahead,
    drop_an_iterator_of_the_dataset,
    drop_a_dataloader,
    *COLLECTED,
]


@dataclass(frozen=True)
class Held:
    """What this process has. Of files what they are; numbers are used again."""

    threads: frozenset[str]
    files: tuple[str, ...]
    children: tuple[int | None, ...]
    tasks: int
    ours: tuple[str, ...]


def held() -> Held:
    objects = gc.get_objects()
    ours = [type(thing).__name__ for thing in objects if type(thing) in (Feed, LoopThread, SampleSource, Session)]
    return Held(
        threads=frozenset(os.listdir("/proc/self/task")),
        files=tuple(sorted(_kind_of(path) for path in Path("/proc/self/fd").iterdir())),
        children=tuple(process.pid for process in multiprocessing.active_children()),
        # By type: some of torch's objects warn when they are asked for their class.
        tasks=sum(issubclass(type(thing), asyncio.Task) and not thing.done() for thing in objects),
        ours=tuple(sorted(ours)),
    )


def _kind_of(path: Path) -> str:
    # The directory itself is open while it is read.
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(path).partition(":")[0].replace(f"/proc/{os.getpid()}/fd", "")
    return ""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_left(simulator: S3Simulator, way: Callable[[S3Simulator], None]) -> None:
    # Once for what is imported and opened for the life of a process.
    way(simulator)
    gc.collect()
    before = held()

    for _ in range(ROUNDS):
        way(simulator)
        if way in COLLECTED:
            gc.collect()
        assert held() == before


def test_one_loader_may_be_iterated_for_ever(simulator: S3Simulator) -> None:
    async def count_tasks() -> int:
        return len(asyncio.all_tasks())

    def inside() -> tuple[int, Held]:
        assert loader._reader is not None
        return loader._reader._session.loop_thread.run(count_tasks()), held()

    def without_sockets(now: Held) -> Held:
        return replace(now, files=tuple(name for name in now.files if name != "socket"))

    before = held().files.count("socket")
    with Loader(make_dataset(simulator), BATCH, threads=2) as loader:
        list(loader)
        first_tasks, first = inside()
        for _ in range(20):
            take(loader)
        list(loader)
        last_tasks, last = inside()

    assert last_tasks == first_tasks
    assert without_sockets(last) == without_sockets(first)
    # Connections that are idle are kept; one more is the loop's own.
    assert last.files.count("socket") <= before + IN_FLIGHT + 2


@pytest.mark.parametrize("taken", [0, 3, OBJECTS // BATCH])
def test_every_credit_is_back_after_the_end(simulator: S3Simulator, taken: int) -> None:
    with Loader(make_dataset(simulator), BATCH, threads=2) as loader:
        batches = iter(loader)
        assert loader._reader is not None
        assert loader._reader._source is not None
        window = loader._reader._source._feed.window
        take(batches, taken)
        assert (next(batches, None) is None) == (taken == OBJECTS // BATCH)

    assert (window.held_items, window.held_bytes) == (0, 0)
    assert window.peak_bytes > 0
