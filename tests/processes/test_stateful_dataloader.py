"""torchdata's StatefulDataLoader over our dataset: its own resume, and its state on any other geometry."""

from __future__ import annotations

import functools
import json
import traceback
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.state import of_stateful_dataloader
from asyncio_loader.errors import StateMismatch
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

# torchdata 0.11 calls what newer versions of torch have only to say that it should not be called.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

COUNT = 23
BATCH = 2
STEPS = 12
URIS = [f"memory://{n}" for n in range(COUNT)]
EPOCH = 3

WORKERS = pytest.mark.parametrize("workers", [0, 1, 2])
# Before the first step, within, before and after the last one, which is short.
TAKEN = pytest.mark.parametrize("taken", [0, 1, 4, 5, STEPS - 1, STEPS])


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def make_dataset(**options: Any) -> AsyncIterableDataset:
    storage = MemoryStore({uri: uri.removeprefix("memory://").encode() for uri in URIS})
    defaults = {"transform": number, "shuffle": True, "seed": 7, "batch_size": BATCH, "storage": storage}
    dataset = AsyncIterableDataset(URIS, **{**defaults, **options})
    dataset.set_epoch(EPOCH)
    return dataset


def make_stateful(dataset: AsyncIterableDataset, workers: int, **options: Any) -> StatefulDataLoader[Any]:
    return StatefulDataLoader(dataset, dataset.batch_size, num_workers=workers, collate_fn=list, **options)


@functools.cache
def interrupt(workers: int, taken: int, **options: Any) -> dict[str, Any]:
    """The state after so many steps of an epoch."""
    loader = make_stateful(make_dataset(), workers, **options)
    iteration = iter(loader)
    assert list(islice(iteration, taken)) == whole()[:taken]
    # As a checkpoint has it.
    return json.loads(json.dumps(loader.state_dict()))


@functools.cache
def whole() -> list[list[int]]:
    """The steps of the epoch."""
    samples = list(make_dataset())
    return [samples[n : n + BATCH] for n in range(0, COUNT, BATCH)]


def left(taken: int) -> list[int]:
    """Samples that are not consumed after so many steps, in order."""
    return list(chain.from_iterable(whole()[taken:]))


@WORKERS
@TAKEN
def test_it_resumes_on_as_many_workers(workers: int, taken: int) -> None:
    state = interrupt(workers, taken)

    resumed = make_stateful(make_dataset(), workers)
    resumed.load_state_dict(state)

    assert list(resumed) == whole()[taken:]


@WORKERS
def test_a_resumed_epoch_can_be_interrupted_again(workers: int) -> None:
    state = interrupt(workers, 3)
    again = make_stateful(make_dataset(), workers)
    again.load_state_dict(state)
    assert list(islice(again, 4)) == whole()[3:7]
    state = json.loads(json.dumps(again.state_dict()))

    last = make_stateful(make_dataset(), workers)
    last.load_state_dict(state)
    assert list(last) == whole()[7:]
    assert of_stateful_dataloader(state)["consumed"] == 7 * BATCH


@WORKERS
@pytest.mark.parametrize("every", [1, 3, 5])
def test_it_resumes_from_a_snapshot_and_the_steps_since(workers: int, every: int) -> None:
    for taken in (2, 5, 7):
        state = interrupt(workers, taken, snapshot_every_n_steps=every)
        resumed = make_stateful(make_dataset(), workers, snapshot_every_n_steps=every)
        resumed.load_state_dict(state)

        assert list(resumed) == whole()[taken:]
        assert of_stateful_dataloader(state)["consumed"] == taken * BATCH


@pytest.mark.parametrize("persistent", [False, True], ids=["new", "persistent"])
def test_after_a_resumed_epoch_the_next_one_is_whole(persistent: bool) -> None:
    state = interrupt(2, 5)
    dataset = make_dataset()
    resumed = make_stateful(dataset, 2, persistent_workers=persistent)
    resumed.load_state_dict(state)
    assert list(resumed) == whole()[5:]

    dataset.set_epoch(EPOCH + 1)
    second = list(chain.from_iterable(resumed))

    plain = make_dataset()
    plain.set_epoch(EPOCH + 1)
    assert second == list(plain)


@WORKERS
def test_after_the_state_of_an_epoch_that_is_over_comes_the_one_that_was_chosen(workers: int) -> None:
    loader = make_stateful(make_dataset(), workers)
    list(loader)
    state = json.loads(json.dumps(loader.state_dict()))

    dataset = make_dataset()
    resumed = make_stateful(dataset, workers)
    resumed.load_state_dict(state)
    dataset.set_epoch(EPOCH + 1)

    plain = make_dataset()
    plain.set_epoch(EPOCH + 1)
    assert list(chain.from_iterable(resumed)) == list(plain)


@pytest.mark.parametrize(("workers", "batch_size"), [(1, BATCH), (2, BATCH + 1)])
def test_fewer_workers_and_another_batch_size_are_refused_with_the_way_to_go(workers: int, batch_size: int) -> None:
    resumed = make_stateful(make_dataset(batch_size=batch_size), workers)
    resumed.load_state_dict(interrupt(2, 3))

    with pytest.raises(StateMismatch, match=r"pass the whole state to .*of_stateful_dataloader") as caught:
        next(iter(resumed))
    # Workers that are left to the garbage collector, with their queues, are waited for: 5 s each.
    traceback.clear_frames(caught.tb)


def on_a_loader(state: dict[str, Any]) -> list[int]:
    with Loader(make_dataset(), 5) as loader:
        loader.load_state_dict(state)
        return list(chain.from_iterable(loader))


def on_four_workers(state: dict[str, Any]) -> list[int]:
    dataset = make_dataset(batch_size=3)
    dataset.load_state_dict(state)
    return list(chain.from_iterable(DataLoader(dataset, batch_size=3, num_workers=4, collate_fn=list)))


def on_no_workers(state: dict[str, Any]) -> list[int]:
    dataset = make_dataset()
    dataset.load_state_dict(state)
    return list(dataset)


def on_two_ranks(state: dict[str, Any]) -> list[int]:
    """Step by step, and in a step rank by rank; without the padding of the last one."""
    ranks = []
    for rank in range(2):
        dataset = make_dataset(transform=None)
        dataset.set_rank(rank, 2)
        with Loader(dataset, BATCH, threads=1) as loader:
            loader.load_state_dict(state)
            ranks.append(list(loader))
    steps = chain.from_iterable(zip(*ranks, strict=True))
    return [number(fetched) for fetched in chain.from_iterable(steps) if not fetched.is_padding]


GEOMETRIES = pytest.mark.parametrize("resume", [on_a_loader, on_four_workers, on_no_workers, on_two_ranks])


@GEOMETRIES
@WORKERS
@pytest.mark.parametrize("taken", [0, 5, STEPS])
def test_any_other_geometry_goes_on_with_exactly_what_was_not_consumed(
    workers: int, taken: int, resume: Callable[[dict[str, Any]], list[int]]
) -> None:
    # Workers have fetched ahead by now, which counts for nothing.
    state = of_stateful_dataloader(interrupt(workers, taken))

    assert resume(state) == left(taken)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_state_of_any_rank_will_do(rank: int) -> None:
    dataset = make_dataset()
    dataset.set_rank(rank, 2)
    loader = make_stateful(dataset, 2)
    list(islice(loader, 3))

    state = of_stateful_dataloader(json.loads(json.dumps(loader.state_dict())))

    assert state["consumed"] == 3 * BATCH * 2
    assert on_a_loader(state) == left(6)


def test_a_state_of_another_plan_is_refused_after_that_too() -> None:
    state = of_stateful_dataloader(interrupt(2, 3))

    with pytest.raises(StateMismatch, match="seed is 7 in the state and 8 here"):
        make_dataset(seed=8).load_state_dict(state)
