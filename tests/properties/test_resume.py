"""However a run is cut and dealt out: the samples of an uninterrupted one, in its order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.options import FetchOptions
from asyncio_loader.order.ordering import Grouped, Weighted
from asyncio_loader.records import Buffer, Fetched
from asyncio_loader.stores.base import Admit
from asyncio_loader.stores.memory import MemoryStore

EXAMPLES = settings(max_examples=500, deadline=None)

COUNT = 40
NAMES = [f"memory://{n}" for n in range(COUNT)]


class RestlessStore(MemoryStore):
    """Answers each GET some turns of the loop later, in the pattern it is given."""

    def __init__(self, pauses: Sequence[int]) -> None:
        super().__init__({name: name.removeprefix("memory://").encode() for name in NAMES})
        self.pauses = pauses

    async def get(self, uri: str, *, admit: Admit | None = None) -> Buffer:
        for _ in range(self.pauses[int(uri.removeprefix("memory://")) % len(self.pauses)]):
            await asyncio.sleep(0)
        return await super().get(uri, admit=admit)


@dataclass(frozen=True)
class Place:
    """A sample, and where it was said to stand."""

    epoch: int
    position: int
    index: int
    is_padding: bool


def place_of(fetched: Fetched) -> Place:
    assert int(bytes(fetched.data)) == fetched.index
    return Place(fetched.epoch, fetched.position, fetched.index, fetched.is_padding)


def strided(epoch: int) -> list[int]:
    return [(n * 7 + epoch) % COUNT for n in range(COUNT + 5)]


ORDERS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(lambda shuffle, seed: {"shuffle": shuffle, "seed": seed}, st.booleans(), st.integers(0, 99)),
    st.builds(lambda seed: {"order": Weighted(np.arange(1.0, COUNT + 1), COUNT - 3, seed)}, st.integers(0, 99)),
    st.just({"order": strided}),
)


@EXAMPLES
@given(
    order=ORDERS,
    batch_size=st.integers(1, 50),
    threads=st.integers(1, 4),
    in_flight=st.integers(1, 16),
    window_items=st.integers(1, 20),
    window_bytes=st.integers(1, 100),
    pauses=st.lists(st.integers(0, 12), min_size=1, max_size=9),
    epoch=st.integers(0, 5),
)
def test_concurrency_threads_and_latency_make_no_difference(
    order: dict[str, Any],
    batch_size: int,
    threads: int,
    in_flight: int,
    window_items: int,
    window_bytes: int,
    pauses: list[int],
    epoch: int,
) -> None:
    options = FetchOptions(max_in_flight=in_flight, window_items=window_items, window_bytes=window_bytes)
    dataset = AsyncIterableDataset(
        NAMES, transform=place_of, storage=RestlessStore(pauses), options=options, epochs=epoch + 2, **order
    )
    with Loader(dataset, batch_size, threads=threads) as loader:
        # The second of them has been fetched ahead.
        for number in (epoch, epoch + 1):
            loader.set_epoch(number)
            expected = [Place(number, n, dataset.plan(1).index_at(n), False) for n in range(dataset.plan(1).length)]
            batches = list(loader)
            assert list(chain.from_iterable(batches)) == expected
            assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    assert dataset.stats().gets == 2 * len(expected)


@dataclass(frozen=True)
class Geometry:
    """On how many ranks and threads a part of an epoch runs, in which batches, and after which share it is cut off."""

    ranks: int
    threads: int
    batch_size: int
    share: float


GEOMETRIES = st.builds(
    Geometry,
    ranks=st.integers(1, 3),
    threads=st.integers(1, 2),
    batch_size=st.integers(1, 9),
    share=st.floats(0, 1),
)
STORE = RestlessStore([0, 3, 1])


def run(order: dict[str, Any], geometry: Geometry, state: Any, *, is_last: bool) -> tuple[list[Place], Any]:
    """All ranks of a run from a state on, up to its interruption: what they saw, step by step, and the state then."""
    ranks, states = [], []
    for rank in range(geometry.ranks):
        dataset = AsyncIterableDataset(NAMES, transform=place_of, storage=STORE, **order)
        dataset.set_rank(rank, geometry.ranks)
        batch_size = dataset.order.unit if dataset.order and dataset.order.unit else geometry.batch_size
        with Loader(dataset, batch_size, threads=geometry.threads) as loader:
            loader.load_state_dict(state)
            steps = dataset.plan(batch_size).steps_left
            taken = islice(loader, None if is_last else int(geometry.share * steps))
            ranks.append(list(taken))
            states.append(loader.state_dict())
    # Any rank may write the checkpoint.
    assert all(state == states[0] for state in states)
    return list(in_order(ranks)), json.loads(json.dumps(states[0]))


def in_order(ranks: list[list[list[Place]]]) -> Iterator[Place]:
    """Step by step, and in a step rank by rank; without padding."""
    for step in zip(*ranks, strict=True):
        yield from (place for batch in step for place in batch if not place.is_padding)


GROUPED = st.builds(
    lambda groups, size, seed: {"order": Grouped(np.arange(COUNT) % groups, size, shuffle=True, seed=seed)},
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 99),
)


@EXAMPLES
@given(
    order=st.one_of(ORDERS, GROUPED),
    epoch=st.integers(0, 5),
    before=st.lists(GEOMETRIES, min_size=1, max_size=2),
    last=GEOMETRIES,
)
def test_interrupted_runs_see_what_an_uninterrupted_one_sees(
    order: dict[str, Any], epoch: int, before: list[Geometry], last: Geometry
) -> None:
    state: Any = {"epoch": epoch, "consumed": 0}
    seen: list[Place] = []
    for geometry in before:
        places, state = run(order, geometry, state, is_last=False)
        seen += places
        assert state["consumed"] == len(seen)
    places, state = run(order, last, state, is_last=True)
    seen += places

    whole = AsyncIterableDataset(NAMES, **order)
    whole.set_epoch(epoch)
    plan = whole.plan(whole.order.unit if whole.order and whole.order.unit else 1)
    assert seen == [Place(epoch, n, plan.index_at(n), False) for n in range(plan.length)]
    assert state["consumed"] == plan.length
