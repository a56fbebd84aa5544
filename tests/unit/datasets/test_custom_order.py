from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from asyncio_loader.datasets.custom_order import CustomOrder, OrderSource
from asyncio_loader.errors import ConfigError
from asyncio_loader.order.ordering import Ordering


def indices(source: OrderSource, epoch: int = 0, length: int = 20, seed: int = 0) -> list[int]:
    return [int(index) for index in CustomOrder(source, length=length, seed=seed).of_epoch(epoch)]


class Drawing(Sampler[int]):
    """Draws from a generator of its own, one after the other, as users write it."""

    def __init__(self, generator: object) -> None:
        self.rng = generator

    def __iter__(self) -> Iterator[int]:
        if isinstance(self.rng, random.Random):
            return iter(self.rng.sample(range(20), 20))
        assert isinstance(self.rng, np.random.Generator | np.random.RandomState)
        return iter(self.rng.permutation(20).tolist())

    def __len__(self) -> int:
        return 20


class Around(Sampler[int]):
    def __init__(self, inner: Sampler[int]) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator[int]:
        return iter(self.inner)


class Endless(Sampler[int]):
    """As mmengine's InfiniteSampler: it has a length and no end."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0

    def __len__(self) -> int:
        return 20


class Evens:
    """A sequence that is computed."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.used: set[int] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> int:
        self.used.add(position)
        return 2 * position


SAMPLERS = [
    RandomSampler(range(20)),
    RandomSampler(range(20), generator=torch.Generator()),
    WeightedRandomSampler([1.0] * 20, 30),
    Drawing(np.random.default_rng()),
    Drawing(np.random.RandomState()),
    Drawing(random.Random()),
    Around(RandomSampler(range(20), generator=torch.Generator())),
]
FUNCTIONS = [
    lambda epoch: np.random.permutation(20),
    lambda epoch: random.sample(range(20), 20),
    lambda epoch: torch.randperm(20),
]


def test_it_is_an_ordering() -> None:
    assert isinstance(CustomOrder(SequentialSampler(range(20)), length=20, seed=0), Ordering)


@pytest.mark.parametrize(
    "source",
    [
        SequentialSampler(range(20)),
        range(20),
        list(range(20)),
        dict.fromkeys(range(20)).keys(),
        lambda epoch: range(20),
        lambda epoch: iter(range(20)),
        lambda epoch: np.arange(20, dtype=np.uint8),
        lambda epoch: torch.arange(20),
    ],
    ids=lambda source: type(source).__name__,
)
def test_it_gives_what_the_source_gives(source: OrderSource) -> None:
    assert list(range(20)) == indices(source)


def test_a_function_is_asked_for_the_epoch() -> None:
    assert [3, 4] == indices(lambda epoch: [epoch, epoch + 1], epoch=3)


def test_a_sampler_is_told_the_epoch() -> None:
    class Told(Sampler[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            return iter([self.epoch])

    assert [7] == indices(Told(), epoch=7)


@pytest.mark.parametrize("source", [*SAMPLERS, *FUNCTIONS])
def test_every_process_reads_the_same(source: OrderSource) -> None:
    first = indices(source, epoch=3)
    torch.rand(1), np.random.rand(), random.random()

    assert first == indices(source, epoch=3)


@pytest.mark.parametrize("source", [*SAMPLERS, *FUNCTIONS])
def test_epochs_and_seeds_differ(source: OrderSource) -> None:
    orders = {tuple(indices(source, epoch, seed=seed)) for epoch in range(3) for seed in range(3)}

    assert len(orders) == 9


def test_the_generators_are_afterwards_what_they_were() -> None:
    sampler = RandomSampler(range(20), generator=torch.Generator().manual_seed(5))
    drawing = Drawing(np.random.default_rng(5))
    torch.manual_seed(5), np.random.seed(5), random.seed(5)

    indices(sampler), indices(drawing), indices(Drawing(random.Random(5)))
    drawn = (torch.rand(1).item(), np.random.rand(), random.random(), list(sampler), list(drawing))
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    sampler.generator.manual_seed(5)
    assert drawn[:3] == (torch.rand(1).item(), np.random.rand(), random.random())
    assert drawn[3:] == (list(sampler), list(Drawing(np.random.default_rng(5))))


def test_the_generators_are_put_back_after_an_error() -> None:
    def fail(epoch: int) -> list[int]:
        raise KeyError(epoch)

    torch.manual_seed(5)
    with pytest.raises(KeyError):
        indices(fail)

    assert torch.initial_seed() == 5


def test_it_is_read_once_per_epoch() -> None:
    asked = []

    def order(epoch: int) -> list[int]:
        asked.append(epoch)
        return [epoch]

    custom = CustomOrder(order, length=20, seed=0)
    for epoch in (0, 0, 1, 0, 1, 2, 1, 2):
        assert epoch == custom.of_epoch(epoch)[0]
    assert [0, 1, 2] == asked


def test_a_list_that_the_function_uses_again_stays_what_it_was() -> None:
    again = np.arange(20)

    def order(epoch: int) -> object:
        np.random.shuffle(again)
        return again

    custom = CustomOrder(order, length=20, seed=0)  # type: ignore[arg-type]
    first = custom.of_epoch(0)
    before = list(first)
    custom.of_epoch(1)
    assert before == list(first)


def test_a_memory_map_is_not_copied(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "order", dtype=np.int64, mode="w+", shape=(20,))
    order = CustomOrder(lambda epoch: mapped, length=20, seed=0).of_epoch(0)  # type: ignore[arg-type,return-value]
    mapped[3] = 17

    assert 17 == order[3]


def test_a_computed_sequence_is_asked_only_for_what_is_used() -> None:
    evens = Evens(10**9)
    order = CustomOrder(lambda epoch: evens, length=2 * 10**9, seed=0).of_epoch(0)  # type: ignore[arg-type,return-value]

    assert 10 == order[5]
    assert 10**9 == len(order)
    assert {0, 5, 10**9 - 1} == evens.used


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda epoch: [0, 1, 20, 3], r"^order of epoch 0: position 2 holds 20, which is no index of 20 samples$"),
        ([0, -1], "position 1 holds -1"),
        (lambda epoch: range(21), "position 20 holds 20"),
        (lambda epoch: [], "empty"),
        (lambda epoch: [0.5], "whole number per position, not an array of shape .* float64"),
        (lambda epoch: [[0], [1, 2]], "whole number per position"),
        (lambda epoch: [10**30], "whole number per position"),
        (lambda epoch: np.ones(20, dtype=bool), "whole number per position, not an array .* bool"),
        (lambda epoch: iter(["a"]), "must give whole numbers"),
        (lambda epoch: 7, "must give whole numbers"),
        (Endless(), "^order of epoch 0: Endless gives more than the 20 entries of its length$"),
    ],
)
def test_an_order_that_cannot_be_is_refused(source: OrderSource, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        indices(source)


def test_an_entry_of_a_computed_sequence_is_checked_when_it_is_used() -> None:
    order = CustomOrder(lambda epoch: Holey(), length=20, seed=0)  # type: ignore[arg-type,return-value]

    entries = order.of_epoch(0)
    with pytest.raises(ConfigError, match="position 1 holds 99"):
        entries[1]
    with pytest.raises(ConfigError, match="position 2 must hold a whole number, not 'x'"):
        entries[2]


class Holey:
    def __len__(self) -> int:
        return 4

    def __getitem__(self, position: int) -> object:
        return [0, 99, "x", 3][position]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (RandomSampler, "not a class"),
        (DistributedSampler(range(20), num_replicas=2, rank=0), "DistributedSampler deals to ranks"),
        (BatchSampler(SequentialSampler(range(20)), 2, drop_last=False), "makes batches"),
        (iter(range(20)), "only once"),
        ("shuffle", "not 'shuffle'"),
        (5, "not 5"),
    ],
)
def test_a_source_that_cannot_be_is_refused(source: OrderSource, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CustomOrder(source, length=20, seed=0)


def test_a_sampler_of_mmengine_on_several_ranks_is_refused() -> None:
    sampler = SequentialSampler(range(20))
    sampler.world_size = 2  # type: ignore[attr-defined]

    with pytest.raises(ConfigError, match="deals to ranks"):
        CustomOrder(sampler, length=20, seed=0)


def test_the_digest_is_that_of_what_was_read() -> None:
    def digest(source: OrderSource, epoch: int = 0) -> str | None:
        return CustomOrder(source, length=20, seed=0).digest(epoch)

    assert digest([0, 1, 2]) == digest(np.array([0, 1, 2], dtype=np.uint8))  # type: ignore[arg-type]
    assert digest([0, 1, 2]) != digest([0, 2, 1])
    assert digest([0, 1, 2]) != digest([0, 1])
    assert digest(RandomSampler(range(20)), 0) != digest(RandomSampler(range(20)), 1)


def test_the_digest_of_a_computed_sequence_looks_at_few_entries() -> None:
    evens = Evens(10**9)
    order = CustomOrder(lambda epoch: evens, length=2 * 10**9, seed=0)  # type: ignore[arg-type,return-value]

    assert order.digest(0) is not None
    assert len(evens.used) == 64


def test_what_was_read_does_not_travel() -> None:
    order = CustomOrder(RandomSampler(range(20)), length=20, seed=0)
    before = list(order.of_epoch(0))
    size_bytes = len(pickle.dumps(order))

    assert size_bytes == len(pickle.dumps(CustomOrder(RandomSampler(range(20)), length=20, seed=0)))
    assert before == list(pickle.loads(pickle.dumps(order)).of_epoch(0))


def test_it_describes_itself_in_a_few_bytes() -> None:
    assert {"order": "custom", "length": 20} == CustomOrder([1], length=20, seed=0).describe()
