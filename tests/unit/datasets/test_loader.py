from __future__ import annotations

import json
import os
import pickle
import threading
import weakref
from typing import Any

import pytest
import torch

from asyncio_loader.datasets import pinned
from asyncio_loader.datasets.custom_order import CustomOrder
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound, StateMismatch
from asyncio_loader.options import FetchOptions
from asyncio_loader.order.ordering import Grouped
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.transforms.formatting import DataContainer

URIS = [f"memory://{n}" for n in range(20)]


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def dataset(held: int = 20, **options: Any) -> AsyncIterableDataset:
    storage = MemoryStore({f"memory://{n}": str(n).encode() for n in range(held)})
    return AsyncIterableDataset(URIS, transform=number, storage=storage, **options)


def engine_threads() -> list[str]:
    names = {thread.name for thread in threading.enumerate()}
    # FileClient keeps one for the life of the process.
    return sorted(name for name in names if name.startswith("asyncio-loader") and name != "asyncio-loader-files")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_come_in_order_from_any_number_of_threads(threads: int) -> None:
    with Loader(dataset(), 6, threads=threads) as loader:
        assert list(loader) == [list(range(n, min(n + 6, 20))) for n in range(0, 20, 6)]


@pytest.mark.parametrize("batch_size", [3, 16, 64])
@pytest.mark.parametrize("budget", [{}, {"decoded_bytes": 1}, {"window_items": 2}])
def test_an_epoch_smaller_than_a_batch_is_not_waited_for_beyond_its_end(
    batch_size: int, budget: dict[str, int]
) -> None:
    """A consumer is woken for a whole batch at once: of this epoch, whatever is fetched ahead of the next one."""
    short = dataset(epochs=3, options=FetchOptions(**budget))
    with Loader(short, batch_size, threads=2) as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            batches = list(loader)
            assert [sample for batch in batches for sample in batch] == list(range(20))


def test_it_has_the_order_of_the_dataset() -> None:
    shuffled = dataset(shuffle=True, seed=9, batch_size=4)
    with Loader(shuffled, 4) as loader:
        assert [sample for batch in loader for sample in batch] == list(shuffled)


def test_its_length_is_the_number_of_batches() -> None:
    with Loader(dataset(), 6) as loader, Loader(dataset(drop_last=True), 6) as dropping:
        assert (len(loader), len(list(loader))) == (4, 4)
        assert (len(dropping), len(list(dropping))) == (3, 3)


def test_epochs_follow_set_epoch_on_the_same_connections() -> None:
    with Loader(dataset(shuffle=True), 20) as loader:
        (first,) = loader
        (again,) = loader
        loader.set_epoch(1)
        (second,) = loader

    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)


def test_it_keeps_nothing_of_a_batch_that_was_handed_out() -> None:
    class Sample:
        pass

    made: list[weakref.ref[Any]] = []

    def make(_: Fetched) -> Sample:
        sample = Sample()
        made.append(weakref.ref(sample))
        return sample

    objects = MemoryStore(dict.fromkeys(URIS, b"x"))
    with Loader(AsyncIterableDataset(URIS, transform=make, storage=objects), 7, threads=1, collate=len) as loader:
        # Neither while the consumer works with it, nor what it was made of.
        left = [[sample() is None for sample in made[7 * step : 7 * (step + 1)]] for step, _ in enumerate(loader)]
    assert left == [[True] * 7, [True] * 7, [True] * 6]

    with Loader(dataset(), 7, collate=lambda samples: {*samples}) as loader:
        batches = iter(loader)
        for _ in range(3):
            batch = weakref.ref(next(batches))
            assert batch() is None


def test_collate_makes_the_batch() -> None:
    with Loader(dataset(), 10, collate=sum) as loader:
        assert list(loader) == [45, 145]


def test_a_new_iteration_ends_the_old_one() -> None:
    with Loader(dataset(), 5) as loader:
        old = iter(loader)
        next(old)
        new = iter(loader)

        with pytest.raises(LoaderError, match="newer iter"):
            next(old)
        assert next(new) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_close_leaves_no_thread_in_any_state(batches: int) -> None:
    loader = Loader(dataset(), 5)
    iteration = iter(loader)
    for _ in range(batches):
        next(iteration)

    loader.close()
    loader.close()

    assert engine_threads() == []


def test_dropping_it_leaves_no_thread() -> None:
    loader = Loader(dataset(), 5)
    next(iter(loader))

    del loader

    assert engine_threads() == []


def test_after_close_it_opens_again() -> None:
    loader = Loader(dataset(), 20)
    list(loader)
    loader.close()

    assert list(loader) == [list(range(20))]
    loader.close()


def test_a_missing_object_raises_in_its_place() -> None:
    with Loader(dataset(held=7), 3) as loader:
        iteration = iter(loader)
        assert [next(iteration), next(iteration)] == [[0, 1, 2], [3, 4, 5]]
        with pytest.raises(ObjectNotFound, match="memory://7"):
            next(iteration)


def test_skip_fills_the_batches_with_what_comes() -> None:
    with Loader(dataset(held=7, on_error="skip", max_failures=13), 3) as loader:
        assert list(loader) == [[0, 1, 2], [3, 4, 5], [6]]
        assert loader.stats().failed == 13


def test_it_pickles_and_opens_where_it_is_used() -> None:
    with Loader(dataset(), 20) as loader:
        list(loader)
        copied = pickle.loads(pickle.dumps(loader))
        assert list(copied) == [list(range(20))]
        copied.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"batch_size": 1, "threads": 0}, "threads must be a whole number of at least 1, not 0"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Loader(dataset(), **arguments)


def test_another_kind_of_dataset_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes an AsyncIterableDataset, not list"):
        Loader([1, 2], 1)  # type: ignore[arg-type]


def test_one_that_was_used_may_be_used_in_a_forked_child_too() -> None:
    with Loader(dataset(), 20) as loader:
        next(iter(loader))
        child = os.fork()
        if child == 0:
            try:
                os._exit(7 if list(loader) == [list(range(20))] else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 7
        assert list(loader) == [list(range(20))]


def test_samples_of_types_nobody_knows_are_not_made_without_end() -> None:
    class Opaque:
        pass

    made = []

    def transform(fetched: Fetched) -> Opaque:
        made.append(fetched.index)
        return Opaque()

    storage = MemoryStore({f"memory://{n}": b"x" for n in range(500)})
    many = AsyncIterableDataset(
        [f"memory://{n}" for n in range(500)],
        transform=transform,
        storage=storage,
        options=FetchOptions(window_items=8),
    )
    with Loader(many, 1, threads=2) as loader:
        iteration = iter(loader)
        for _ in range(50):
            next(iteration)
        # What was handed over, what waits, what each thread has in hand.
        assert len(made) <= 50 + 8 + 2


def take(batches: Any, count: int) -> list[Any]:
    return [next(batches) for _ in range(count)]


def test_a_state_counts_the_samples_of_the_batches_that_were_handed_out() -> None:
    with Loader(dataset(), 6) as loader:
        consumed = [loader.state_dict()["consumed"]]
        consumed += [loader.state_dict()["consumed"] for _ in loader]

        assert consumed == [0, 6, 12, 18, 20]
        assert loader.state_dict()["consumed"] == 20


def test_a_batch_that_could_not_be_made_is_not_consumed() -> None:
    def collate(samples: list[int]) -> list[int]:
        if 6 in samples:
            raise ValueError("no batch")
        return samples

    with Loader(dataset(), 6, collate=collate) as loader:
        batches = iter(loader)
        next(batches)
        with pytest.raises(ValueError, match="no batch"):
            next(batches)
        assert loader.state_dict()["consumed"] == 6


def test_a_sample_that_was_left_out_counts_with_its_batch() -> None:
    def odd(fetched: Fetched) -> int:
        if fetched.index % 2 == 0:
            raise ValueError("even")
        return fetched.index

    storage = MemoryStore(dict.fromkeys(URIS, b""))
    lossy = AsyncIterableDataset(URIS, transform=odd, storage=storage, on_error="skip")
    with Loader(lossy, 4) as loader:
        assert take(iter(loader), 1) == [[1, 3, 5, 7]]
        state = loader.state_dict()
        assert state["consumed"] == 8

        loader.load_state_dict(state)
        assert list(loader) == [[9, 11, 13, 15], [17, 19]]


@pytest.mark.parametrize("batches", range(5))
def test_any_other_batch_size_and_threads_go_on_with_exactly_what_is_left(batches: int) -> None:
    with Loader(dataset(shuffle=True, seed=2), 20) as loader:
        (whole,) = loader
    with Loader(dataset(shuffle=True, seed=2), 5, threads=3) as loader:
        take(iter(loader), batches)
        state = json.loads(json.dumps(loader.state_dict()))

    with Loader(dataset(shuffle=True, seed=2, batch_size=9), 3, threads=1) as loader:
        loader.load_state_dict(state)
        left = list(loader)
        assert [sample for batch in left for sample in batch] == whole[5 * batches :]
        # The length of an epoch is that of all of it.
        assert len(loader) == 7


def test_a_state_goes_from_a_loader_to_a_dataset_and_back() -> None:
    with Loader(dataset(shuffle=True), 6) as loader:
        whole = [sample for batch in loader for sample in batch]
        take(iter(loader), 1)
        plain = dataset(shuffle=True, batch_size=2)
        plain.load_state_dict(loader.state_dict())
    samples = iter(plain)
    assert take(samples, 3) == whole[6:9]

    with Loader(dataset(shuffle=True), 8) as loader:
        loader.load_state_dict(plain.state_dict())
        assert [sample for batch in loader for sample in batch] == whole[9:]


def test_ranks_have_the_same_state_and_go_on_as_any_number_of_ranks() -> None:
    def load(rank: int, ranks: int, state: Any = None) -> tuple[list[list[int]], Any]:
        """Two steps of one rank, and its state after them."""
        part = dataset(shuffle=True, seed=6)
        part.set_rank(rank, ranks)
        with Loader(part, 2, threads=1) as loader:
            if state is not None:
                loader.load_state_dict(state)
            return take(iter(loader), 2), loader.state_dict()

    (first, state), (second, other) = load(0, 2), load(1, 2)
    assert state == other
    assert state["consumed"] == 8

    rest = [load(rank, 3, state)[0] for rank in range(3)]
    steps = [*zip(first, second, strict=True), *zip(*rest, strict=True)]
    with Loader(dataset(shuffle=True, seed=6), 20) as loader:
        assert [[sample for step in steps for batch in step for sample in batch]] == list(loader)


def test_a_loaded_state_counts_for_one_iteration() -> None:
    with Loader(dataset(), 10) as loader:
        loader.load_state_dict({"epoch": 0, "consumed": 15})
        assert loader.state_dict()["consumed"] == 15
        assert list(loader) == [[15, 16, 17, 18, 19]]
        assert list(loader) == [list(range(10)), list(range(10, 20))]


def test_the_epoch_of_a_loaded_state_may_be_chosen_and_any_other_begins_at_its_beginning() -> None:
    with Loader(dataset(shuffle=True), 20) as loader:
        loader.load_state_dict({"epoch": 3, "consumed": 15})
        loader.set_epoch(3)
        assert [len(batch) for batch in loader] == [5]
        loader.load_state_dict({"epoch": 3, "consumed": 15})
        loader.set_epoch(4)
        assert (loader.state_dict()["epoch"], loader.state_dict()["consumed"]) == (4, 0)
        assert [len(batch) for batch in loader] == [20]


def test_loading_a_state_ends_the_iteration_that_is_open() -> None:
    with Loader(dataset(), 5) as loader:
        old = iter(loader)
        next(old)
        loader.load_state_dict({"epoch": 0, "consumed": 17})

        assert list(old) == []
        assert loader.state_dict()["consumed"] == 17
        assert list(loader) == [[17, 18, 19]]


def test_the_state_of_an_epoch_that_is_over_has_nothing_left_and_the_next_epoch_has_all() -> None:
    with Loader(dataset(), 20) as loader:
        list(loader)
        state = loader.state_dict()
    with Loader(dataset(), 20) as loader:
        loader.load_state_dict(state)
        assert list(loader) == []
        loader.set_epoch(1)
        assert list(loader) == [list(range(20))]


def test_what_drop_last_leaves_out_is_over_with_the_last_step() -> None:
    with Loader(dataset(drop_last=True), 6) as loader:
        take(iter(loader), 3)

        assert loader.state_dict()["consumed"] == 20


def test_a_state_of_batches_of_groups_refuses_another_batch_size() -> None:
    def grouped(batch_size: int) -> AsyncIterableDataset:
        return dataset(order=Grouped([0, 1] * 10, batch_size, shuffle=True))

    with Loader(grouped(4), 4) as loader:
        whole = list(loader)
        take(iter(loader), 2)
        state = loader.state_dict()
    with Loader(grouped(4), 4, threads=1) as loader:
        loader.load_state_dict(state)
        assert list(loader) == whole[2:]

    with Loader(grouped(5), 5) as loader, pytest.raises(StateMismatch, match="batch_size is 4 in the state and 5 here"):
        loader.load_state_dict(state)


def test_the_state_of_another_plan_is_refused_and_the_iteration_goes_on() -> None:
    with Loader(dataset(seed=1), 5) as loader, Loader(dataset(seed=2), 5) as other:
        iteration = iter(loader)
        next(iteration)
        with pytest.raises(StateMismatch, match="sample_seed is 2 in the state and 1 here"):
            loader.load_state_dict(other.state_dict())

        assert next(iteration) == [5, 6, 7, 8, 9]


def test_a_copy_has_no_iteration_of_its_own_to_tell_of() -> None:
    with Loader(dataset(), 5) as loader:
        next(iter(loader))
        copied = pickle.loads(pickle.dumps(loader))

        assert (loader.state_dict()["consumed"], copied.state_dict()["consumed"]) == (5, 0)


def asked_of(storage: MemoryStore) -> list[str]:
    """From now on, what a store was asked for."""
    asked: list[str] = []
    get = storage.get

    async def remember(uri: str, **options: Any) -> Any:
        asked.append(uri)
        return await get(uri, **options)

    storage.get = remember  # type: ignore[method-assign]
    return asked


def test_a_resume_fetches_nothing_that_was_consumed() -> None:
    resumed = dataset()
    asked = asked_of(resumed.storage)  # type: ignore[arg-type]
    with Loader(resumed, 4) as loader:
        loader.load_state_dict({"epoch": 0, "consumed": 13})
        list(loader)

    assert asked == URIS[13:]


def test_another_order_is_not_served_from_what_was_fetched_ahead() -> None:
    changing = dataset(order=CustomOrder(lambda epoch: list(range(20)), length=20, seed=0), epochs=2)
    with Loader(changing, 20) as loader:
        assert list(loader) == [list(range(20))]
        changing.order = CustomOrder(lambda epoch: list(range(19, -1, -1)), length=20, seed=0)
        loader.set_epoch(1)

        assert list(loader) == [list(range(19, -1, -1))]


def _as_containers(samples: list[int]) -> dict[str, Any]:
    images = [torch.tensor([float(sample) for sample in samples])]
    return {"img": DataContainer(images, stack=True), "sizes": (torch.ones(1), "a name")}


def test_pinning_reaches_all_tensors_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no page-locked memory without a GPU.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    allocated = []

    def allocate(shape: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        allocated.append(torch.empty_strided(shape, strides, dtype=dtype))
        return allocated[-1]

    monkeypatch.setattr(pinned, "_by_current_device", lambda: allocate)
    with Loader(dataset(), 10, collate=_as_containers, pin_memory=True) as loader:
        batches = list(loader)

    assert [batch["img"].data[0].tolist() for batch in batches] == [list(range(10)), list(range(10, 20))]
    assert [(batch["sizes"][0].item(), batch["sizes"][1]) for batch in batches] == [(1, "a name")] * 2
    handed_out = [tensor for batch in batches for tensor in (batch["img"].data[0], batch["sizes"][0])]
    assert [tensor.data_ptr() for tensor in handed_out] == [tensor.data_ptr() for tensor in allocated]


def test_pinning_needs_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="pin_memory=True needs a CUDA device"):
        Loader(dataset(), 10, pin_memory=True)
