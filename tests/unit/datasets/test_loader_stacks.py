"""`Loader` with a `collate` that stacks: its threads write the batches."""

from __future__ import annotations

import gc
import threading
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets import stacks
from asyncio_loader.datasets.collate import collate
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.pinned import PinnedMemory
from asyncio_loader.datasets.transfer import PinningTransfer
from asyncio_loader.options import FetchOptions
from asyncio_loader.records import Fetched
from asyncio_loader.stores.memory import MemoryStore
from asyncio_loader.trace import read_trace
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.photometric import Normalize

COUNT = 23
URIS = [f"memory://{n}" for n in range(COUNT)]
NORMALIZE = {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6]}
PAD = {"type": "Pad", "size_divisor": 8}
BUNDLE = {"type": "DefaultFormatBundle", "img_to_float": False}
PIPELINES = {"float32": [NORMALIZE, PAD, BUNDLE], "uint8": [BUNDLE], "one by one": [NORMALIZE, PAD, len, BUNDLE]}


class Transform:
    """Images of a few sizes, each of one value; some fail, or are no late ones."""

    def __init__(self, pipeline: str = "float32", *, failing: Any = (), odd: Any = ()) -> None:
        entries = [_passing if entry is len else entry for entry in PIPELINES[pipeline]]
        self.pipeline = Compose(entries)
        self.failing, self.odd = set(failing), set(odd)

    def __call__(self, fetched: Fetched) -> dict[str, Any]:
        number = fetched.index
        if number in self.failing:
            raise ValueError(number)
        image = np.full((20 + number % 3, 30 + number % 2, 3), number, np.uint8)
        made = self.pipeline({"img": image, "img_fields": ["img"]})
        assert made is not None
        container = made["img"]
        if number in self.odd:
            container = DataContainer(container.data.clone(), stack=True)
        return {"img": container, "number": number}


def _passing(results: dict[str, Any]) -> dict[str, Any]:
    return results


def dataset(transform: Transform, **options: Any) -> AsyncIterableDataset:
    return AsyncIterableDataset(URIS, transform=transform, storage=MemoryStore(dict.fromkeys(URIS, b"x")), **options)


def gather(loader: Loader) -> list[tuple[list[int], list[torch.Tensor]]]:
    return [(batch["number"].tolist(), [each.clone() for each in batch["img"].data]) for batch in loader]


def check_same(stacked: Loader, plain: Loader) -> None:
    """The batches of a collate that does not show what it is are made as ever."""
    for (numbers, images), (wanted_numbers, wanted_images) in zip(gather(stacked), gather(plain), strict=True):
        assert numbers == wanted_numbers
        assert [torch.equal(one, other) for one, other in zip(images, wanted_images, strict=True)] == [True] * len(
            images
        )


def loaders(batch_size: int, size: int, threads: int, *args: Any, **options: Any) -> tuple[Loader, Loader]:
    transform = partial(Transform, *args, **{n: options.pop(n) for n in ("failing", "odd") if n in options})
    way = partial(collate, samples_per_gpu=size)
    return (
        Loader(dataset(transform(), **options), batch_size, collate=way, threads=threads),
        Loader(dataset(transform(), **options), batch_size, collate=lambda samples: way(samples), threads=threads),
    )


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("batch_size", "size"), [(2, 2), (4, 4), (5, 2), (8, 3), (4, 1), (30, 30)])
def test_batches_are_those_that_collate_makes(pipeline: str, threads: int, batch_size: int, size: int) -> None:
    stacked, plain = loaders(batch_size, size, threads, pipeline)
    with stacked, plain:
        check_same(stacked, plain)


@pytest.mark.parametrize("drop_last", [False, True])
def test_so_are_those_of_the_epochs_that_follow(drop_last: bool) -> None:
    stacked, plain = loaders(4, 4, 2, shuffle=True, epochs=3, drop_last=drop_last)
    with stacked, plain:
        for epoch in range(3):
            for loader in (stacked, plain):
                loader.set_epoch(epoch)
            check_same(stacked, plain)


@pytest.mark.parametrize("on_error", ["skip", "replace"])
def test_samples_that_fail_or_are_no_late_ones_change_nothing(on_error: str) -> None:
    stacked, plain = loaders(4, 4, 3, failing=[2, 9], odd=[5, 14], on_error=on_error)
    with stacked, plain:
        check_same(stacked, plain)


@pytest.mark.parametrize("limits", [{"window_items": 2}, {"decoded_bytes": 1}])
def test_a_budget_of_less_than_a_batch_changes_nothing(limits: dict[str, int]) -> None:
    stacked, plain = loaders(6, 6, 2, options=FetchOptions(**limits))
    with stacked, plain:
        check_same(stacked, plain)


@pytest.mark.parametrize("done", [1, 3])
def test_a_resumed_epoch_goes_on_with_a_batch(done: int) -> None:
    stacked, plain = loaders(4, 4, 2)
    with stacked, plain:
        for loader in (stacked, plain):
            batches = iter(loader)
            for _ in range(done):
                next(batches)
            loader.load_state_dict(loader.state_dict())
        check_same(stacked, plain)


class Watched:
    """Which threads take memory for stacks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        real = stacks.new_stack
        for place in ("datasets.loader", "datasets.collate", "datasets.stacks"):
            monkeypatch.setattr(f"asyncio_loader.{place}.new_stack", partial(self._note, real))

    def _note(self, real: Any, shape: Any, dtype: torch.dtype) -> torch.Tensor:
        self.threads.append(threading.current_thread().name)
        made: torch.Tensor = real(shape, dtype)
        return made


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_whole_batches_are_written_by_the_threads(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    with Loader(dataset(Transform(pipeline)), 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        addresses = [batch["img"].data[0].data_ptr() for batch in loader]

    assert len(addresses) == 6
    # The last batch has three.
    assert len(watched.threads) == 6
    assert sum(name.startswith("asyncio-loader-transform") for name in watched.threads) == 5


def test_a_trace_tells_of_them(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    way = partial(collate, samples_per_gpu=4)
    with Loader(dataset(Transform()), 4, collate=way, threads=2, trace=path) as loader:
        assert len(list(loader)) == 6
    trace = read_trace(path)

    # The last batch is short, and the consumer's.
    assert len(trace.spans("stack")) == 5
    assert {span.track for span in trace.spans("stack")} <= {span.track for span in trace.spans("transform")}


@pytest.mark.parametrize("failing", [[], [5]])
def test_after_a_sample_that_was_left_out_collate_stacks(failing: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads count samples as they come, the consumer those that are left."""
    watched = Watched(monkeypatch)
    data = dataset(Transform(failing=failing), on_error="skip", drop_last=True)
    with Loader(data, 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        numbers = [batch["number"].tolist() for batch in loader]

    assert numbers[1] == ([4, 6, 7, 8] if failing else [4, 5, 6, 7])
    assert watched.threads.count(threading.current_thread().name) == (len(numbers) - 1 if failing else 0)


def test_where_a_sample_is_replaced_the_others_are_written_by_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    writers: list[str] = []
    real = Normalize.look_up

    def look_up(self: Normalize, *args: Any) -> None:
        writers.append(threading.current_thread().name)
        real(self, *args)

    monkeypatch.setattr(Normalize, "look_up", look_up)
    data = dataset(Transform(failing=[5]), on_error="replace", drop_last=True)
    with Loader(data, 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        count = len(list(loader))

    assert count == 5
    # The substitute is made by the consumer, as ever.
    assert writers.count(threading.current_thread().name) == 1
    assert len(writers) == 20


def test_nothing_of_a_short_batch_is_kept_after_the_epoch() -> None:
    with Loader(dataset(Transform()), 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        for batch in loader:
            last = weakref.ref(batch["img"].data[0])
        del batch
        gc.collect()
        assert last() is None


class Keeping(Transform):
    """Makes each sample once."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, dict[str, Any]] = {}

    def __call__(self, fetched: Fetched) -> dict[str, Any]:
        if fetched.index not in self.kept:
            self.kept[fetched.index] = super().__call__(fetched)
        return self.kept[fetched.index]


def test_a_transform_may_keep_what_it_made() -> None:
    data = AsyncIterableDataset(URIS, transform=Keeping(), storage=MemoryStore(dict.fromkeys(URIS, b"x")), epochs=2)
    wanted, got = [], []
    with Loader(data, 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        for epoch, values in enumerate((wanted, got)):
            loader.set_epoch(epoch)
            for batch in loader:
                (images,) = batch["img"].data
                values.append(images.sum().item())
                images.zero_()

    assert wanted == got


def test_page_locked_memory_is_what_the_threads_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def allocate(shape: Any, strides: Any, dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty_strided(tuple(shape), tuple(strides), dtype=dtype)
        made.append(tensor.data_ptr())
        return tensor

    memory = PinnedMemory(allocate=allocate)
    monkeypatch.setattr(memory, "pin", lambda batch: batch)
    monkeypatch.setattr("asyncio_loader.datasets.loader.open_transfer", lambda *_, **__: PinningTransfer(memory))
    with Loader(dataset(Transform()), 4, collate=partial(collate, samples_per_gpu=4), threads=2) as loader:
        batches = [batch["img"].data[0] for batch in loader]

    assert {batch.data_ptr() for batch in batches} == set(made)
    assert len(made) == 6


def test_where_that_is_used_up_they_write_to_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = PinnedMemory(0, lambda *_: pytest.fail("there is no room"))
    monkeypatch.setattr(memory, "pin", lambda batch: batch)
    monkeypatch.setattr("asyncio_loader.datasets.loader.open_transfer", lambda *_, **__: PinningTransfer(memory))
    stacked, plain = loaders(4, 4, 2)
    with stacked, plain:
        check_same(stacked, plain)
