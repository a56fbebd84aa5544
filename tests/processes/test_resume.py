"""A plain torch DataLoader goes on where its training loop says, on any number of workers."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import LoaderError, StateMismatch
from asyncio_loader.order.ordering import Grouped
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

COUNT = 23
URIS = [f"memory://{n}" for n in range(COUNT)]

PERSISTENT = pytest.mark.parametrize("persistent", [False, True], ids=["new", "persistent"])


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def make_dataset(**options: Any) -> AsyncIterableDataset:
    storage = MemoryStore({uri: uri.removeprefix("memory://").encode() for uri in URIS})
    defaults = {"transform": number, "shuffle": True, "seed": 7, "batch_size": 2, "storage": storage}
    return AsyncIterableDataset(URIS, **{**defaults, **options})


def make_loader(dataset: Any, workers: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset, dataset.batch_size, num_workers=workers, collate_fn=list, **options)


def samples_of(batches: Any) -> list[int]:
    return list(chain.from_iterable(batches))


def epoch(number: int) -> list[int]:
    dataset = make_dataset()
    dataset.set_epoch(number)
    return list(dataset)


@PERSISTENT
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("consumed", [0, 6, 7, 22, 23])
def test_workers_go_on_from_any_position_once(workers: int, consumed: int, persistent: bool) -> None:
    dataset = make_dataset(batch_size=3)
    loader = make_loader(dataset, workers, persistent_workers=persistent)

    dataset.load_state_dict({"epoch": 4, "consumed": consumed})
    assert samples_of(loader) == epoch(4)[consumed:]
    dataset.set_epoch(5)
    assert samples_of(loader) == epoch(5)


@PERSISTENT
def test_live_workers_learn_of_a_position_to_go_back_to(persistent: bool) -> None:
    dataset = make_dataset()
    loader = make_loader(dataset, 2, persistent_workers=persistent)
    assert samples_of(loader) == epoch(0)

    for consumed in (6, 17, 6):
        dataset.load_state_dict({"epoch": 0, "consumed": consumed})
        assert samples_of(loader) == epoch(0)[consumed:]
    assert samples_of(loader) == epoch(0)


@PERSISTENT
def test_a_loop_that_counts_its_steps_resumes_with_another_batch_size(persistent: bool) -> None:
    first = make_dataset(batch_size=2)
    loader = make_loader(first, 2, persistent_workers=persistent)
    first.set_epoch(1)
    trained = samples_of(islice(loader, 5))

    second = make_dataset(batch_size=3)
    # Batches × batch size × ranks.
    second.load_state_dict({"epoch": 1, "consumed": 5 * 2})
    rest = list(make_loader(second, 2, persistent_workers=persistent))

    assert trained + samples_of(rest) == epoch(1)
    assert [len(batch) for batch in rest] == [3, 3, 3, 3, 1]


def test_two_ranks_of_two_workers_resume_as_three_of_one() -> None:
    def steps(rank: int, ranks: int, workers: int, consumed: int) -> list[list[int]]:
        dataset = make_dataset(transform=None)
        dataset.set_rank(rank, ranks)
        dataset.load_state_dict({"epoch": 1, "consumed": consumed})
        batches = [[each for each in batch if not each.is_padding] for batch in make_loader(dataset, workers)]
        return [[number(fetched) for fetched in batch] for batch in batches]

    before = zip(*(steps(rank, 2, 2, 0)[:3] for rank in range(2)), strict=True)
    after = zip(*(steps(rank, 3, 1, 3 * 2 * 2) for rank in range(3)), strict=True)

    assert [n for step in (*before, *after) for batch in step for n in batch] == epoch(1)


def test_the_parent_of_workers_that_iterate_has_no_state() -> None:
    dataset = make_dataset()
    loader = make_loader(dataset, 2)
    assert dataset.state_dict()["consumed"] == 0

    for batch in loader:
        assert len(batch) == 2
        with pytest.raises(LoaderError, match="whose worker processes iterate"):
            dataset.state_dict()
        break
    with pytest.raises(LoaderError, match="whose worker processes iterate"):
        dataset.state_dict()

    dataset.load_state_dict({"epoch": 0, "consumed": 2})
    assert dataset.state_dict()["consumed"] == 2


def test_a_state_of_a_loader_goes_on_with_workers_and_back() -> None:
    with Loader(make_dataset(), 5) as loader:
        loader.set_epoch(1)
        trained = samples_of(islice(loader, 2))
        dataset = make_dataset()
        dataset.load_state_dict(loader.state_dict())
    trained += samples_of(islice(make_loader(dataset, 2), 3))

    with Loader(make_dataset(), 4) as loader:
        loader.load_state_dict({"epoch": 1, "consumed": 2 * 5 + 3 * 2})
        assert trained + samples_of(loader) == epoch(1)


def make_grouped(batch_size: int) -> AsyncIterableDataset:
    return make_dataset(batch_size=batch_size, order=Grouped(np.arange(COUNT) % 2, batch_size, shuffle=True))


@PERSISTENT
def test_batches_of_groups_go_on_and_refuse_another_batch_size(persistent: bool) -> None:
    whole = list(make_loader(make_grouped(4), 0))
    state = make_grouped(4).state_dict() | {"consumed": 8}

    resumed = make_grouped(4)
    resumed.load_state_dict(state)
    assert list(make_loader(resumed, 2, persistent_workers=persistent)) == whole[2:]

    with pytest.raises(StateMismatch, match="batch_size is 4 in the state and 2 here"):
        make_grouped(2).load_state_dict(state)
    with pytest.raises(StateMismatch, match="cut for batches of 5: it cannot go on from 8, inside one"):
        make_grouped(5).load_state_dict({"epoch": 0, "consumed": 8})


def test_workers_that_are_not_forked_go_on_too() -> None:
    dataset = make_dataset(transform=None)
    dataset.load_state_dict({"epoch": 2, "consumed": 9})
    loader = make_loader(dataset, 1, multiprocessing_context="spawn")

    # What is fetched crosses the border of processes whole.
    assert [number(fetched) for fetched in samples_of(loader)] == epoch(2)[9:]
