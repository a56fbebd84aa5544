"""`Loader(device=…)` on the host, where nothing is copied and all else is as on a GPU."""

from __future__ import annotations

import json
import pickle
import threading
import weakref
from typing import Any

import pytest
import torch

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.transforms.formatting import DataContainer

URIS = [f"memory://{n}" for n in range(20)]
WAIT_S = 30


def number(fetched: Fetched) -> int:
    return int(bytes(fetched.data))


def dataset(held: int = 20, transform: Any = number, **options: Any) -> AsyncIterableDataset:
    storage = MemoryStore({uri: str(n).encode() for n, uri in enumerate(URIS[:held])})
    return AsyncIterableDataset(URIS, transform=transform, storage=storage, **options)


class Counted:
    """A transform that tells how many samples were made.

    The threads make the samples of a batch and of those that may follow it, and this waits until they have.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._made: set[int] = set()

    def __call__(self, fetched: Fetched) -> int:
        with self._changed:
            self._made.add(fetched.index)
            self._changed.notify_all()
        return fetched.index

    def forget(self) -> None:
        with self._changed:
            self._made.clear()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._made) >= count, WAIT_S)


@pytest.mark.parametrize("batch_size", [1, 6, 20, 50])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_and_states_are_those_of_a_loader_without_a_device(batch_size: int, drop_last: bool) -> None:
    def load(device: str | None) -> list[Any]:
        seen = []
        with Loader(dataset(shuffle=True, drop_last=drop_last), batch_size, device=device) as loader:
            for epoch in range(2):
                loader.set_epoch(epoch)
                seen.extend((batch, loader.state_dict()) for batch in loader)
                seen.append(loader.state_dict())
        return seen

    assert load("cpu") == load(None)


def test_the_next_batch_is_made_before_one_is_handed_out_where_its_samples_are_there() -> None:
    collated: list[list[int]] = []

    def collate(samples: list[int]) -> list[int]:
        collated.append(samples)
        return samples

    counted = Counted()
    with Loader(dataset(transform=counted), 5, device="cpu", threads=1, collate=collate) as loader:
        batches = iter(loader)
        assert next(batches) == [0, 1, 2, 3, 4]
        # They count as made a moment before they are ready: the last ones stand behind those that are looked at.
        counted.wait_for(20)
        assert next(batches) == [5, 6, 7, 8, 9]
        assert collated[2] == [10, 11, 12, 13, 14]
        assert loader.state_dict()["consumed"] == 10


@pytest.mark.parametrize("batches", range(5))
def test_a_resume_goes_on_behind_what_was_handed_out(batches: int) -> None:
    with Loader(dataset(shuffle=True), 20) as loader:
        (whole,) = loader
    counted = Counted()
    with Loader(dataset(shuffle=True, transform=counted), 5, device="cpu") as loader:
        iteration = iter(loader)
        counted.wait_for(20)
        for _ in range(batches):
            next(iteration)
        state = json.loads(json.dumps(loader.state_dict()))

    with Loader(dataset(shuffle=True), 3, device="cpu") as loader:
        loader.load_state_dict(state)
        assert [sample for batch in loader for sample in batch] == whole[5 * batches :]


def test_an_error_comes_after_the_batches_before_it() -> None:
    counted = Counted()
    with Loader(dataset(held=12, transform=counted), 5, device="cpu") as loader:
        iteration = iter(loader)
        counted.wait_for(12)
        assert [next(iteration), next(iteration)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        with pytest.raises(ObjectNotFound, match="memory://12"):
            next(iteration)
        assert loader.state_dict()["consumed"] == 10


def test_a_batch_that_was_begun_is_gone_with_the_iteration() -> None:
    class Batch:
        def __init__(self, samples: list[int]) -> None:
            made.append(weakref.ref(self))

    made: list[weakref.ref[Batch]] = []

    def begun() -> tuple[Any, int]:
        """An iteration that has handed out two batches, and begun the third; and number of batches before."""
        before = len(made)
        counted.forget()
        iteration = iter(loader)
        next(iteration)
        counted.wait_for(20)
        next(iteration)
        assert len(made) == before + 3
        return iteration, before

    counted = Counted()
    with Loader(dataset(transform=counted), 5, device="cpu", collate=Batch, threads=1) as loader:
        old, before = begun()
        loader.load_state_dict({"epoch": 0, "consumed": 15})
        assert list(old) == []
        assert [batch() for batch in made[before:]] == [None] * (len(made) - before)
        assert len(list(loader)) == 1

        old, before = begun()
        new = iter(loader)
        assert [batch() for batch in made[before:]] == [None] * (len(made) - before)
        with pytest.raises(LoaderError, match="newer iter"):
            next(old)

        next(new)
        loader.close()
        with pytest.raises(LoaderError, match=r"close\(\)"):
            next(new)
        assert [batch() for batch in made] == [None] * len(made)


def test_dropping_it_leaves_no_thread() -> None:
    loader = Loader(dataset(), 5, device="cpu")
    next(iter(loader))
    del loader

    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith("asyncio-loader") and name != "asyncio-loader-files"}


def test_it_pickles() -> None:
    with Loader(dataset(), 20, device="cpu") as loader:
        list(loader)
        with pickle.loads(pickle.dumps(loader)) as copied:
            assert list(copied) == [list(range(20))]


@pytest.mark.parametrize("device", ["gpu", "meta"])
def test_another_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be 'cpu', 'cuda' or 'cuda:N'"):
        Loader(dataset(), 5, device=device)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device='cuda' needs a CUDA device, and torch finds none"):
        Loader(dataset(), 5, device="cuda")


# With a GPU.


def _as_batch(samples: list[int]) -> dict[str, Any]:
    images = DataContainer([torch.tensor([float(sample) for sample in samples])], stack=True)
    return {"img": images, "count": len(samples)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_gpu() -> None:
    with Loader(dataset(), 6, device="cuda", collate=_as_batch) as loader:
        for _ in range(2):
            batches = list(loader)
            assert all(batch["img"].data[0].is_cuda for batch in batches)
            assert [int(n) for batch in batches for n in batch["img"].data[0]] == list(range(20))
            assert [batch["count"] for batch in batches] == [6, 6, 6, 2]
