from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
from typing import Any

import pytest
from torch.utils.data import DataLoader

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.distributed import RankAndWorld
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.stores.memory import MemoryStore

URIS = [f"memory://{n}" for n in range(20)]


def store(count: int = 20) -> MemoryStore:
    return MemoryStore({f"memory://{n}": str(n).encode() for n in range(count)})


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def dataset(**options: Any) -> AsyncIterableDataset:
    return AsyncIterableDataset(URIS, **{"transform": number, "storage": store(), **options})


def engine_threads() -> list[str]:
    names = {thread.name for thread in threading.enumerate()}
    # FileClient keeps one for the life of the process.
    return sorted(name for name in names if name.startswith("asyncio-loader") and name != "asyncio-loader-files")


def test_it_yields_every_sample_in_order() -> None:
    assert list(dataset()) == list(range(20))


def test_without_a_transform_it_yields_what_was_fetched() -> None:
    first = next(iter(dataset(transform=None)))

    assert (first.ref, bytes(first.data), first.position) == (ObjectRef("memory://0"), b"0", 0)


def test_shuffle_follows_seed_and_epoch() -> None:
    shuffled = dataset(shuffle=True, seed=5)
    first = list(shuffled)
    assert list(shuffled) == first

    shuffled.set_epoch(1)
    second = list(shuffled)

    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second != list(range(20))


def test_its_length_is_what_it_yields() -> None:
    assert len(dataset()) == 20
    assert len(dataset(batch_size=8, drop_last=True)) == len(list(dataset(batch_size=8, drop_last=True))) == 16


def test_any_sequence_will_do() -> None:
    class Lazy:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> ObjectRef:
            return ObjectRef(f"memory://{index}")

    assert list(AsyncIterableDataset(Lazy(), transform=number, storage=store())) == [0, 1, 2]  # type: ignore[arg-type]


def test_an_object_that_is_missing_raises_by_default_in_its_place() -> None:
    incomplete = AsyncIterableDataset(URIS, transform=number, storage=store(3))
    stream = iter(incomplete)

    assert [next(stream), next(stream), next(stream)] == [0, 1, 2]
    with pytest.raises(ObjectNotFound, match="memory://3"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    assert engine_threads() == []


def test_skip_leaves_it_out_and_counts_it() -> None:
    incomplete = AsyncIterableDataset(URIS, transform=number, storage=store(18), on_error="skip")

    assert list(incomplete) == list(range(18))
    assert incomplete.stats().failed == 2
    assert incomplete.stats().samples == 18


def test_replace_keeps_the_count_and_is_the_same_every_time() -> None:
    incomplete = AsyncIterableDataset(URIS, transform=number, storage=store(15), on_error="replace")
    samples = list(incomplete)

    assert len(samples) == 20
    assert samples[:15] == list(range(15))
    assert list(incomplete) == samples


def test_a_substitute_is_a_sample_of_the_order() -> None:
    half = dataset(transform=lambda fetched: number(fetched) if fetched.index % 2 else None, order=list(range(10)))

    assert set(half) <= set(range(1, 10, 2))


def share(rank: int, **options: Any) -> AsyncIterableDataset:
    shared = AsyncIterableDataset(URIS, storage=store(15), **options)
    shared.set_rank(rank, 2)
    return shared


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_ranks_have_equal_numbers_of_samples_whatever_is_missing(policy: Any) -> None:
    shares = [list(share(rank, batch_size=4, on_error=policy)) for rank in range(2)]

    assert [len(samples) for samples in shares] == [10, 10]
    stand_ins = {fetched.position: fetched for samples in shares for fetched in samples if fetched.position >= 15}
    assert {fetched.is_padding for fetched in stand_ins.values()} == {policy == "skip"}
    alone = AsyncIterableDataset(URIS, storage=store(15), on_error="replace")
    assert [fetched.index for fetched in alone][15:] == [stand_ins[position].index for position in range(15, 20)]


@pytest.mark.parametrize("epochs", [None, 5])
def test_the_end_of_an_epoch_leaves_no_thread(epochs: int | None) -> None:
    stream = iter(dataset(epochs=epochs))

    assert len(list(stream)) == 20
    assert engine_threads() == []


def test_dropping_an_iterator_in_the_middle_leaves_no_thread() -> None:
    stream = iter(dataset())
    next(stream)
    assert engine_threads()

    del stream
    gc.collect()

    assert engine_threads() == []


def test_two_iterators_do_not_disturb_each_other() -> None:
    shared = dataset()

    assert list(zip(shared, shared, strict=True)) == [(n, n) for n in range(20)]


def test_it_pickles_and_its_iterators_are_born_where_they_are_used() -> None:
    copied = pickle.loads(pickle.dumps(dataset(shuffle=True, seed=3)))

    assert list(copied) == list(dataset(shuffle=True, seed=3))


def test_an_iterator_refuses_another_process() -> None:
    stream = iter(dataset())
    next(stream)
    child = os.fork()
    if child == 0:
        try:
            next(stream)
        except LoaderError as error:
            os._exit(7 if "cannot be used in process" in str(error) else 1)
        os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert next(stream) == 1


def test_stats_count_what_was_done() -> None:
    counted = dataset()
    list(counted)
    stats = counted.stats()

    assert (stats.samples, stats.gets, stats.retries, stats.bytes_fetched) == (20, 20, 0, 30)
    assert 0 <= stats.wait_s <= stats.elapsed_s


def test_an_epoch_never_advances_by_itself() -> None:
    shuffled = dataset(shuffle=True)
    list(shuffled)

    assert shuffled.epoch == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"refs": "s3://bucket/key"}, "refs must be a sequence"),
        ({"refs": []}, "refs is empty"),
        ({"refs": iter(["x"])}, "refs must be a sequence"),
        ({"refs": URIS, "batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"refs": URIS, "on_error": "ignore"}, "on_error must be one of 'raise', 'skip', 'replace', not 'ignore'"),
        ({"refs": URIS, "max_failures": 1.5}, "max_failures must be a number of samples, .* not 1.5"),
        ({"refs": URIS, "quarantine": "s3://b/q"}, "quarantine='s3://b/q' must be a local path"),
        ({"refs": URIS, "storage": "s3"}, "storage must be"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AsyncIterableDataset(**arguments)


def test_a_negative_epoch_is_refused() -> None:
    with pytest.raises(ConfigError, match="epoch must be a whole number"):
        dataset().set_epoch(-1)


def test_what_is_no_reference_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigError, match="not int: 3"):
        list(AsyncIterableDataset([3], storage=store()))  # type: ignore[list-item]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda original: pickle.loads(pickle.dumps(original))])
def test_the_epoch_of_a_copy_reaches_its_own_live_workers(copied: Any) -> None:
    original = dataset(shuffle=True)
    own = copied(original)
    loader = DataLoader(own, num_workers=1, persistent_workers=True, multiprocessing_context="fork", batch_size=None)

    first = [int(sample) for sample in loader]
    own.set_epoch(1)
    second = [int(sample) for sample in loader]

    assert first != second
    assert original.epoch == 0


def test_substitutes_are_counted() -> None:
    incomplete = AsyncIterableDataset(URIS, transform=number, storage=store(19), on_error="replace")
    list(incomplete)

    assert incomplete.stats().gets > 20


@pytest.mark.parametrize("crossed", [False, True], ids=["in the rank", "in a worker started by the rank"])
def test_ranks_share_the_epoch(monkeypatch: pytest.MonkeyPatch, crossed: bool) -> None:
    seen = []
    for rank in range(2):
        monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda rank=rank: RankAndWorld(rank, 2))
        part = dataset(shuffle=True, batch_size=3)
        if crossed:
            part = pickle.loads(pickle.dumps(part))
            monkeypatch.setattr("asyncio_loader.datasets.ordered.rank_and_world", lambda: None)
        seen.append(list(part))
        assert len(part) == 10

    assert sorted(seen[0] + seen[1]) == list(range(20))
