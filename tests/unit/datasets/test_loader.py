from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import pytest

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore

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
    with Loader(dataset(held=7, on_error="skip"), 3) as loader:
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
