"""The next epoch's first objects are fetched while this one drains: what the server saw."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Fetched, FetchOptions, Loader, S3Options
from asyncio_loader.testing import S3Simulator

COUNT = 24
BATCH = 4
KEYS = [f"{n}.jpg" for n in range(COUNT)]


@pytest.fixture(scope="module")
def _server() -> Iterator[S3Simulator]:
    with S3Simulator({key: key.encode() for key in KEYS}) as simulator:
        yield simulator


@pytest.fixture
def simulator(_server: S3Simulator) -> S3Simulator:
    _server.requests(clear=True)
    return _server


def key_of(fetched: Fetched) -> str:
    return bytes(fetched.data).decode()


def make_dataset(simulator: S3Simulator, **options: Any) -> AsyncIterableDataset:
    defaults: dict[str, Any] = {
        "transform": key_of,
        "shuffle": True,
        "seed": 5,
        "batch_size": BATCH,
        "storage": S3Options(endpoint_url=simulator.endpoint_url, anonymous=True),
        # One GET at a time: the log has the order in which they were issued.
        "options": FetchOptions(max_in_flight=1),
    }
    return AsyncIterableDataset([simulator.uri(key) for key in KEYS], **{**defaults, **options})


def order_of(epoch: int) -> list[str]:
    """The keys of an epoch, in order."""
    plan = AsyncIterableDataset(KEYS, shuffle=True, seed=5)
    plan.set_epoch(epoch)
    return [KEYS[plan.plan(1).index_at(position)] for position in range(COUNT)]


def asked(simulator: S3Simulator) -> list[str]:
    return [request.key for request in simulator.requests()]


def wait_for(simulator: S3Simulator, count: int) -> list[str]:
    """What the server was asked for, once that is so much."""
    until_s = time.monotonic() + 20
    while len(keys := asked(simulator)) < count and time.monotonic() < until_s:
        pass
    return keys


def samples_of(batches: Any) -> list[str]:
    return list(chain.from_iterable(batches))


def test_a_loader_asks_for_the_next_epoch_in_its_order_before_this_one_is_consumed(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=2), BATCH, threads=1) as loader:
        batches = iter(loader)
        first = samples_of(islice(batches, 5))
        assert wait_for(simulator, 2 * COUNT) == order_of(0) + order_of(1)

        assert first + samples_of(batches) == order_of(0)
        loader.set_epoch(1)
        assert samples_of(loader) == order_of(1)
    assert asked(simulator) == order_of(0) + order_of(1)


def test_no_further_than_the_window_goes(simulator: S3Simulator) -> None:
    options = FetchOptions(max_in_flight=1, window_items=6)
    with Loader(make_dataset(simulator, epochs=2, options=options), BATCH, threads=1) as loader:
        samples_of(islice(loader, 5))
        ahead = len(wait_for(simulator, COUNT + 1)) - COUNT
        loader.close()

        # The last batch is not taken yet: samples wait, up to 6 as such and 6 as bytes, and each thread has one.
        assert 0 < ahead <= 6 + 6 + 1 - BATCH
    assert len(asked(simulator)) <= COUNT + 6 + 6 + 1 - BATCH


def test_over_many_epochs_nothing_is_fetched_twice_and_nothing_past_the_last(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=4), BATCH) as loader:
        for epoch in range(4):
            loader.set_epoch(epoch)
            assert samples_of(loader) == order_of(epoch)
    assert asked(simulator) == [key for epoch in range(4) for key in order_of(epoch)]


def test_a_loop_that_counts_its_steps_fetches_nothing_twice_either(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=3), BATCH) as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            assert samples_of(islice(loader, len(loader))) == order_of(epoch)
    assert asked(simulator) == [key for epoch in range(3) for key in order_of(epoch)]


def test_a_resumed_epoch_is_followed_by_the_next_one_too(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=3), BATCH) as loader:
        loader.load_state_dict({"epoch": 1, "consumed": 17})
        for epoch in (1, 2):
            loader.set_epoch(epoch)
            assert samples_of(loader) == order_of(epoch)[17 if epoch == 1 else 0 :]
    assert asked(simulator) == order_of(1)[17:] + order_of(2)


def test_a_wrong_guess_is_dropped_and_the_right_samples_come(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator, epochs=9), BATCH) as loader:
        assert samples_of(loader) == order_of(0)
        wait_for(simulator, 2 * COUNT)
        loader.set_epoch(5)
        assert samples_of(loader) == order_of(5)
        assert asked(simulator) == order_of(0) + order_of(1) + order_of(5)

        # From then on nobody guesses.
        loader.set_epoch(6)
        assert samples_of(loader) == order_of(6)
    assert asked(simulator) == order_of(0) + order_of(1) + order_of(5) + order_of(6)


@pytest.mark.parametrize("options", [{"shuffle": False}, {"epochs": 1}], ids=["of a test set", "of the last epoch"])
def test_nothing_is_fetched_ahead_where_no_epoch_is_likely(simulator: S3Simulator, options: dict[str, Any]) -> None:
    with Loader(make_dataset(simulator, **options), BATCH) as loader:
        for _ in range(2):
            loader.set_epoch(0)
            assert len(samples_of(loader)) == COUNT
    assert Counter(asked(simulator)) == dict.fromkeys(KEYS, 2)


def test_where_epochs_are_chosen_the_next_one_is_expected_at_once(simulator: S3Simulator) -> None:
    with Loader(make_dataset(simulator), BATCH) as loader:
        loader.set_epoch(3)
        next(iter(loader))

        assert wait_for(simulator, 2 * COUNT) == order_of(3) + order_of(4)


def make_loader(dataset: AsyncIterableDataset, workers: int) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        BATCH,
        num_workers=workers,
        collate_fn=list,
        persistent_workers=True,
        multiprocessing_context="fork",
        prefetch_factor=1,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_persistent_workers_ask_for_the_next_epoch_before_this_one_is_consumed(
    simulator: S3Simulator, workers: int
) -> None:
    dataset = make_dataset(simulator, epochs=2)
    loader = make_loader(dataset, workers)
    batches = iter(loader)
    first = samples_of(islice(batches, 5))
    keys = wait_for(simulator, 2 * COUNT)
    assert Counter(keys) == dict.fromkeys(KEYS, 2)

    assert first + samples_of(batches) == order_of(0)
    dataset.set_epoch(1)
    assert samples_of(loader) == order_of(1)
    del loader, batches
    assert asked(simulator) == keys


def test_each_worker_goes_from_its_share_of_one_epoch_to_its_share_of_the_next(simulator: S3Simulator) -> None:
    dataset = make_dataset(simulator, epochs=2)
    loader = make_loader(dataset, 2)
    samples_of(loader)
    wait_for(simulator, 2 * COUNT)
    by_connection: dict[int, list[str]] = {}
    for request in simulator.requests():
        by_connection.setdefault(request.connection, []).append(request.key)

    def share(epoch: int, worker: int) -> list[str]:
        steps = [order_of(epoch)[n : n + BATCH] for n in range(0, COUNT, BATCH)]
        return samples_of(steps[worker::2])

    assert sorted(by_connection.values()) == sorted(share(0, worker) + share(1, worker) for worker in range(2))


def test_persistent_workers_fetch_nothing_twice_and_nothing_past_the_last_epoch(simulator: S3Simulator) -> None:
    dataset = make_dataset(simulator, epochs=4)
    loader = make_loader(dataset, 2)
    for epoch in range(4):
        dataset.set_epoch(epoch)
        assert samples_of(loader) == order_of(epoch)
    del loader
    assert Counter(asked(simulator)) == dict.fromkeys(KEYS, 4)


def test_persistent_workers_expect_a_further_epoch_once_they_have_begun_a_second_one(simulator: S3Simulator) -> None:
    dataset = make_dataset(simulator)
    loader = make_loader(dataset, 2)
    assert samples_of(loader) == order_of(0)
    assert Counter(asked(simulator)) == dict.fromkeys(KEYS, 1)

    dataset.set_epoch(1)
    assert samples_of(loader) == order_of(1)
    assert Counter(wait_for(simulator, 3 * COUNT)) == dict.fromkeys(KEYS, 3)
    dataset.set_epoch(2)
    assert samples_of(loader) == order_of(2)


def test_persistent_workers_drop_a_wrong_guess_and_the_right_samples_come(simulator: S3Simulator) -> None:
    dataset = make_dataset(simulator, epochs=9)
    loader = make_loader(dataset, 2)
    seen = []
    for epoch in (0, 5, 6):
        dataset.set_epoch(epoch)
        seen.append(samples_of(loader))
        if epoch == 0:
            wait_for(simulator, 2 * COUNT)
    del loader

    assert seen == [order_of(epoch) for epoch in (0, 5, 6)]
    # Epoch 1 was the wrong guess, and the only one.
    assert Counter(asked(simulator)) == dict.fromkeys(KEYS, 4)


def test_workers_that_are_not_persistent_fetch_what_they_hand_out(simulator: S3Simulator) -> None:
    dataset = make_dataset(simulator)
    loader = DataLoader(dataset, BATCH, num_workers=2, collate_fn=list, multiprocessing_context="fork")
    for epoch in range(2):
        dataset.set_epoch(epoch)
        assert samples_of(loader) == order_of(epoch)
    assert Counter(asked(simulator)) == dict.fromkeys(KEYS, 2)


def most_at_once(simulator: S3Simulator) -> int:
    """The most requests that were with the server at the same time."""
    changes = sorted(
        change for request in simulator.requests() for change in ((request.received_s, 1), (request.answered_s, -1))
    )
    at_once = most = 0
    for _, change in changes:
        at_once += change
        most = max(most, at_once)
    return most


@pytest.mark.parametrize(("workers", "per_node", "at_once"), [(2, 4, range(3, 5)), (3, 2, range(2, 4)), (0, 3, [3])])
def test_all_workers_together_keep_to_the_limit_of_the_node(workers: int, per_node: int, at_once: Any) -> None:
    options = FetchOptions(max_in_flight=64, max_in_flight_per_node=per_node)
    with S3Simulator(dict.fromkeys(KEYS, b"x"), median_s=0.05) as slow:
        dataset = make_dataset(slow, options=options, shuffle=False)
        assert len(samples_of(DataLoader(dataset, BATCH, num_workers=workers, collate_fn=list))) == COUNT

        # Each worker may always have one.
        assert most_at_once(slow) in at_once
