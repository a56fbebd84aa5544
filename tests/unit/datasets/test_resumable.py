from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.utils.data import SequentialSampler

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import ConfigError, LoaderError, StateMismatch
from asyncio_loader.order.ordering import Grouped, Weighted
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

URIS = [f"memory://{n}" for n in range(20)]
STORE = MemoryStore({uri: uri.removeprefix("memory://").encode() for uri in URIS})


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def dataset(refs: Sequence[str] = URIS, **options: Any) -> AsyncIterableDataset:
    return AsyncIterableDataset(refs, **{"transform": number, "storage": STORE, "batch_size": 2, **options})


def take(samples: Any, count: int) -> list[int]:
    return [next(samples) for _ in range(count)]


def enter_worker(monkeypatch: pytest.MonkeyPatch, number: int, count: int) -> None:
    """From here on this process is a worker of a DataLoader."""
    info = SimpleNamespace(id=number, num_workers=count)
    for module in ("resumable", "dataset", "session"):
        monkeypatch.setattr(f"asyncio_loader.datasets.{module}.get_worker_info", lambda: info)


@pytest.mark.parametrize("consumed", [0, 1, 7, 19, 20])
def test_it_goes_on_with_exactly_what_is_not_consumed(consumed: int) -> None:
    shuffled = dataset(shuffle=True, seed=3)
    whole = list(shuffled)
    samples = iter(shuffled)
    assert take(samples, consumed) == whole[:consumed]
    state = json.loads(json.dumps(shuffled.state_dict()))

    resumed = dataset(shuffle=True, seed=3, batch_size=5)
    resumed.load_state_dict(state)

    assert list(resumed) == whole[consumed:]


def test_a_state_tells_epoch_and_position() -> None:
    shuffled = dataset(shuffle=True)
    shuffled.set_epoch(4)
    take(iter(shuffled), 6)

    state = shuffled.state_dict()
    assert (state["version"], state["epoch"], state["consumed"]) == (1, 4, 6)


def test_before_the_first_iteration_nothing_is_consumed() -> None:
    assert dataset().state_dict()["consumed"] == 0


def test_what_was_fetched_ahead_is_not_consumed() -> None:
    counted = dataset()
    samples = iter(counted)
    take(samples, 1)

    assert counted.state_dict()["consumed"] == 1


def test_another_epoch_begins_at_its_first_sample() -> None:
    shuffled = dataset(shuffle=True)
    take(iter(shuffled), 6)
    shuffled.set_epoch(1)

    assert shuffled.state_dict()["consumed"] == 0
    assert len(list(shuffled)) == 20


def test_a_state_that_was_loaded_is_the_state_until_an_iteration_begins() -> None:
    resumed = dataset()
    take(iter(resumed), 3)
    resumed.load_state_dict({"epoch": 2, "consumed": 8})

    assert (resumed.epoch, resumed.state_dict()["epoch"], resumed.state_dict()["consumed"]) == (2, 2, 8)


def test_choosing_the_epoch_of_a_loaded_state_keeps_its_position() -> None:
    resumed = dataset()
    resumed.load_state_dict({"epoch": 2, "consumed": 8})
    resumed.set_epoch(2)
    assert list(resumed) == list(range(8, 20))

    # It counts for one iteration.
    assert list(resumed) == list(range(20))


def test_a_resumed_iteration_can_be_interrupted_again() -> None:
    resumed = dataset()
    resumed.load_state_dict({"epoch": 0, "consumed": 8})
    samples = iter(resumed)
    assert take(samples, 3) == [8, 9, 10]

    assert resumed.state_dict()["consumed"] == 11


def test_the_epoch_of_a_state_that_is_over_has_nothing_left() -> None:
    first = dataset()
    list(first)
    resumed = dataset()
    resumed.load_state_dict(first.state_dict())

    assert list(resumed) == []


def test_the_state_of_an_epoch_that_is_over_leaves_a_later_one_that_was_chosen() -> None:
    resumed = dataset()
    resumed.set_epoch(4)
    resumed.load_state_dict({"epoch": 4, "consumed": 6})
    resumed.load_state_dict({"epoch": 3, "consumed": 20})
    assert (resumed.epoch, list(resumed)) == (4, list(range(20)))

    # What is left of an earlier epoch is gone back to.
    resumed.load_state_dict({"epoch": 3, "consumed": 19})
    assert (resumed.epoch, list(resumed)) == (3, [19])
    resumed.load_state_dict({"epoch": 3, "consumed": 20})
    assert (resumed.epoch, list(resumed)) == (3, [])


def test_a_state_of_several_ranks_counts_whole_steps_of_all() -> None:
    for rank in range(2):
        part = dataset(batch_size=3)
        part.set_rank(rank, 2)
        take(iter(part), 7)

        assert part.state_dict()["consumed"] == 12


def test_the_length_is_that_of_the_whole_epoch() -> None:
    resumed = dataset()
    resumed.load_state_dict({"epoch": 0, "consumed": 15})

    assert len(resumed) == 20


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"seed": 4}, "seed is 3 in the state and 4 here; sample_seed is 3 in the state and 4 here"),
        ({"shuffle": False}, "order is 'shuffled' in the state and 'sequential' here"),
        ({"refs": URIS[:-1]}, "samples is 20 in the state and 19 here"),
        ({"refs": [*URIS[:-1], "memory://other"]}, "names is '[0-9a-f]+' in the state and '[0-9a-f]+' here"),
        ({"order": Weighted([1.0] * 20, seed=3)}, "order is 'shuffled' in the state and 'weighted' here"),
        ({"order": list(range(20))}, "order is 'shuffled' .* digest is 'none' in the state and '[0-9a-f]+' here"),
    ],
)
def test_the_state_of_another_plan_is_refused_with_the_difference(changed: dict[str, Any], difference: str) -> None:
    state = dataset(shuffle=True, seed=3).state_dict()
    other = dataset(**{"shuffle": True, "seed": 3, **changed})

    with pytest.raises(StateMismatch, match=f"the state belongs to another plan: .*{difference}"):
        other.load_state_dict(state)


def test_a_refused_state_changes_nothing() -> None:
    other = dataset(seed=4)
    other.load_state_dict({"epoch": 1, "consumed": 4})
    with pytest.raises(StateMismatch):
        other.load_state_dict(dataset(seed=3).state_dict())
    with pytest.raises(StateMismatch, match="consumed=21: epoch 0 has only 20 positions here"):
        other.load_state_dict({"epoch": 0, "consumed": 21})

    assert (other.state_dict()["epoch"], other.state_dict()["consumed"]) == (1, 4)


def test_a_data_set_that_moved_is_the_same() -> None:
    moved = AsyncIterableDataset([f"s3://elsewhere/{n}" for n in range(20)], batch_size=2)

    moved.load_state_dict(AsyncIterableDataset([f"/data/{n}" for n in range(20)]).state_dict())


def test_what_else_may_change_is_no_other_plan() -> None:
    state = dataset().state_dict()

    dataset(drop_last=True, on_error="skip", epochs=7, transform=None).load_state_dict(state)


def grouped(batch_size: int) -> AsyncIterableDataset:
    return dataset(batch_size=batch_size, order=Grouped(np.arange(20) % 3, batch_size, shuffle=True))


def test_an_order_of_batches_goes_on_with_the_same_batch_size_and_refuses_another() -> None:
    whole = list(grouped(4))
    first = grouped(4)
    take(iter(first), 8)
    state = first.state_dict()

    resumed = grouped(4)
    resumed.load_state_dict(state)
    assert list(resumed) == whole[8:]

    with pytest.raises(StateMismatch, match="batch_size is 4 in the state and 2 here"):
        grouped(2).load_state_dict(state)


def test_an_order_of_batches_refuses_a_position_inside_one() -> None:
    grouped(4).load_state_dict({"epoch": 0, "consumed": 8})

    with pytest.raises(StateMismatch, match="cut for batches of 4: it cannot go on from 6, inside one"):
        grouped(4).load_state_dict({"epoch": 0, "consumed": 6})


ORDERS = [
    {"shuffle": True},
    {"order": Weighted(np.linspace(0.1, 1e300, 20), 10**6, 2**63)},
    {"order": lambda epoch: np.random.permutation(20)},
    {"order": SequentialSampler(URIS)},
    {"order": Grouped(np.arange(20) % 7, 2, shuffle=True, seed=2**63)},
]


@pytest.mark.parametrize("options", ORDERS, ids=["shuffle", "weighted", "function", "sampler", "grouped"])
def test_a_state_is_small_and_for_json_whatever_the_order(options: dict[str, Any]) -> None:
    uris = [f"memory://{'directory/' * 200}{n}{'name' * 200}" for n in range(20)]
    one = dataset(uris, seed=2**63, **options)
    one.load_state_dict({"epoch": 2**40, "consumed": 2})
    state = one.state_dict()

    assert len(json.dumps(state)) < 2048
    again = dataset(uris, seed=2**63, **options)
    again.load_state_dict(json.loads(json.dumps(state)))
    assert again.state_dict() == state


def test_a_custom_order_that_is_another_one_on_resume_is_refused() -> None:
    drawn = iter([list(range(20)), list(range(19, -1, -1))])
    shared: Any = {"order": lambda epoch: next(drawn)}
    state = dataset(**shared).state_dict()

    with pytest.raises(StateMismatch, match=r"digest is '[0-9a-f]+' in the state and '[0-9a-f]+' here"):
        dataset(**shared).load_state_dict(state)


def test_a_pickled_copy_has_the_position_but_not_the_iteration() -> None:
    original = dataset()
    original.load_state_dict({"epoch": 1, "consumed": 4})
    assert pickle.loads(pickle.dumps(original)).state_dict()["consumed"] == 4

    take(iter(original), 3)

    assert original.state_dict()["consumed"] == 7
    assert pickle.loads(pickle.dumps(original)).state_dict()["consumed"] == 0


def test_in_a_worker_a_state_has_the_workers_share(monkeypatch: pytest.MonkeyPatch) -> None:
    enter_worker(monkeypatch, 1, 2)
    part = dataset()
    samples = iter(part)
    # The second worker has the steps 1, 3, 5, …
    assert take(samples, 4) == [2, 3, 6, 7]
    state = json.loads(json.dumps(part.state_dict()))
    del samples

    # Before it begins, a worker is told its own state; after that, the parent decides.
    resumed = dataset()
    resumed.load_state_dict(state)
    assert list(resumed) == [10, 11, 14, 15, 18, 19]
    assert list(resumed) == [2, 3, 6, 7, 10, 11, 14, 15, 18, 19]


def test_a_worker_goes_on_from_its_own_state_whatever_the_parent_says(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = dataset()
    parent.load_state_dict({"epoch": 0, "consumed": 16})
    enter_worker(monkeypatch, 0, 1)
    parent.load_state_dict({"epoch": 3, "consumed": 5})

    assert list(parent) == list(range(5, 20))
    assert parent.epoch == 0


@pytest.mark.parametrize("place", [None, (0, 2), (1, 3)])
def test_the_state_of_a_worker_is_for_no_one_else(
    monkeypatch: pytest.MonkeyPatch, place: tuple[int, int] | None
) -> None:
    with monkeypatch.context() as patched:
        enter_worker(patched, 1, 2)
        part = dataset()
        samples = iter(part)
        take(samples, 2)
        state = part.state_dict()
    if place is not None:
        enter_worker(monkeypatch, *place)

    with pytest.raises(StateMismatch, match="of_stateful_dataloader"):
        dataset().load_state_dict(state)


def test_while_workers_iterate_the_parent_has_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = dataset()
    with monkeypatch.context() as patched:
        enter_worker(patched, 0, 1)
        list(shared)

    with pytest.raises(LoaderError, match=r'Count in the training loop and say load_state_dict\(\{"epoch": e'):
        shared.state_dict()
    # Of the next epoch nobody has begun anything.
    shared.set_epoch(1)
    assert shared.state_dict()["consumed"] == 0


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "1", None])
def test_no_epoch_is_refused(epoch: Any) -> None:
    with pytest.raises(ConfigError, match="epoch must be a whole number of at least 0"):
        dataset().set_epoch(epoch)


def test_it_remembers_whether_epochs_are_chosen() -> None:
    chosen = dataset()
    assert not chosen.sets_epochs

    chosen.set_epoch(0)
    assert chosen.sets_epochs


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, None])
def test_no_batch_size_is_refused(batch_size: Any) -> None:
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1"):
        dataset(batch_size=batch_size)
