from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import LoaderError
from asyncio_loader.openmmlab.progress import EndlessPasses, Passage
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

COUNT = 7


def number(fetched: Fetched) -> int:
    return fetched.index


class Batches:
    """A dataloader: batches of two."""

    batch_size = 2

    def __init__(self, **options: Any) -> None:
        uris = [f"memory://{n}" for n in range(COUNT)]
        self.dataset = AsyncIterableDataset(
            uris, transform=number, batch_size=2, storage=MemoryStore(dict.fromkeys(uris, b"")), **options
        )

    def __iter__(self) -> Iterator[list[int]]:
        samples = list(self.dataset)
        return (samples[start : start + 2] for start in range(0, len(samples), 2))


def consumed(passage: Passage, steps: int) -> tuple[int, int]:
    state = passage.state_after(steps)
    return state["epoch"], state["consumed"]


def test_steps_of_a_run_are_positions_of_the_epoch() -> None:
    passage = Passage.begin(Batches(), 10)
    assert [consumed(passage, steps) for steps in range(10, 15)] == [(0, 0), (0, 2), (0, 4), (0, 6), (0, 7)]


def test_a_passage_may_begin_within_the_epoch() -> None:
    batches = Batches()
    batches.dataset.load_state_dict({"epoch": 3, "consumed": 5})
    assert consumed(Passage.begin(batches, 10), 11) == (3, 7)


def test_steps_of_all_ranks_count() -> None:
    batches = Batches()
    batches.dataset.set_rank(1, 3)
    assert consumed(Passage.begin(batches, 0), 1) == (0, 6)


def test_passes_follow_each_other_each_an_epoch() -> None:
    batches = Batches(shuffle=True)
    orders = []
    for epoch in range(2):
        batches.dataset.set_epoch(epoch)
        orders.append(list(batches))
    batches.dataset.set_epoch(0)

    assert list(islice(EndlessPasses(batches, lambda: 0), 8)) == orders[0] + orders[1]


def test_the_first_pass_begins_where_the_dataset_says() -> None:
    batches = Batches()
    batches.dataset.load_state_dict({"epoch": 2, "consumed": 5})
    passes = EndlessPasses(batches, lambda: 9)

    assert [next(passes), next(passes)] == [[5, 6], [0, 1]]
    assert passes.passage is not None
    assert passes.passage.plan.epoch == 3


def test_a_pass_that_was_over_is_passed_over() -> None:
    batches = Batches()
    batches.dataset.load_state_dict({"epoch": 0, "consumed": COUNT})
    assert next(EndlessPasses(batches, lambda: 4)) == [0, 1]


def test_it_knows_at_which_step_the_pass_began() -> None:
    done = iter(range(100))
    passes = EndlessPasses(Batches(), lambda: next(done))
    for _ in range(5):
        next(passes)

    assert passes.passage is not None
    assert passes.passage.steps_before == 1


def test_blank_items_start_nothing() -> None:
    passes = EndlessPasses(Batches(), lambda: 3, blank_items=3)

    assert [next(passes) for _ in range(3)] == [None] * 3
    assert passes.passage is None
    assert next(passes) == [0, 1]


def test_a_skip_changes_nothing() -> None:
    passes = EndlessPasses(Batches(), lambda: 3)
    passes.skip_iter(3)
    assert next(passes) == [0, 1]


def test_an_epoch_without_a_batch_is_an_error_not_an_endless_search() -> None:
    batches = Batches(drop_last=True)
    batches.dataset.set_rank(0, 4)
    with pytest.raises(LoaderError, match="has no batch at all"):
        next(EndlessPasses(batches, lambda: 0))
