"""The measurements of the case `pipeline`, each in a process of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from asyncio_loader import Loader
from asyncio_loader.datasets.collate import collate
from bench.images import read_bccd
from bench.pipelines import STD, largest_difference, openmmlab, ours, run_stages, vision
from bench.process_tree import cpu_seconds

__all__ = ["load", "load_in_processes", "load_with_workers", "map_in_threads", "time_stages"]

CHECKED = 16
# Batches that each thread is ahead of the consumer; a DataLoader's workers are as many (`prefetch_factor`).
AHEAD = 2
# torch divides where OpenCV multiplies, both rounded to float32.
_LEAN_LEVELS = 0.001


def load(
    images: int,
    batch_size: int,
    threads: int,
    fuse: bool = True,
    is_lean: bool = False,
    native: int | None = 1,
    endpoint_url: str | None = None,
    when_checked: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Ours in threads; what `when_checked` does comes before the part that is timed."""
    _limit_native_threads(native)
    data = read_bccd(images)
    dataset = ours.dataset_of(data, fuse=fuse, is_lean=is_lean, endpoint_url=endpoint_url)
    with Loader(dataset, batch_size, collate=partial(collate, samples_per_gpu=batch_size), threads=threads) as loader:

        def batches(epoch: int) -> Iterator[Any]:
            loader.set_epoch(epoch)
            return map(ours.as_batch, loader)

        items = ours.items_of(data, dataset, 0)
        return _measure(
            batches, items, levels=_LEAN_LEVELS if is_lean else 0, is_lean=is_lean, when_checked=when_checked
        )


def load_in_processes(images: int, batch_size: int, processes: int, is_lean: bool = False) -> dict[str, float]:
    """Ours with one thread in each of several processes that share nothing but the machine, all of them at once.

    Their rates are added: it is what the cores can do at the most.
    """
    spawned = get_context("spawn")
    barrier = spawned.Barrier(processes)
    with spawned.Pool(processes, _keep_barrier, (barrier,)) as pool:
        done = [pool.apply_async(_load_at_once, (images, batch_size, is_lean)) for _ in range(processes)]
        figures = [one.get() for one in done]
    return {
        "rate": sum(one["rate"] for one in figures),
        "cpu_s_per_1000": sum(one["cpu_s_per_1000"] for one in figures) / processes,
    }


def map_in_threads(images: int, batch_size: int, way: str, threads: int) -> dict[str, float]:
    """Another way in threads that make whole batches."""
    _limit_native_threads(1)
    data = read_bccd(images)
    dataset = ours.dataset_of(data, fuse=True)
    items = [ours.items_of(data, dataset, epoch) for epoch in range(2)]
    make = _maker_of(way)
    with ThreadPoolExecutor(threads) as pool:

        def batches(epoch: int) -> Iterator[Any]:
            groups = (items[epoch][start : start + batch_size] for start in range(0, images, batch_size))
            return _in_order(pool, make, groups, ahead=threads * AHEAD)

        return _measure(batches, items[0], levels=_levels_of(way))


def load_with_workers(images: int, batch_size: int, way: str, is_lean: bool = False) -> dict[str, float]:
    """Any way in a torch DataLoader with two workers."""
    _limit_native_threads(1)
    data = read_bccd(images)
    dataset = ours.dataset_of(data, fuse=True, is_lean=is_lean, batch_size=batch_size)
    items = [ours.items_of(data, dataset, epoch) for epoch in range(2)]
    common: dict[str, Any] = {"batch_size": batch_size, "num_workers": 2, "persistent_workers": True}
    if way == "ours":
        loader = DataLoader(dataset, collate_fn=partial(collate, samples_per_gpu=batch_size), **common)

        def batches(epoch: int) -> Iterator[Any]:
            dataset.set_epoch(epoch)
            return map(ours.as_batch, loader)
    else:
        sampler = _EpochSampler(images)
        stages, finish = _stages_of(way), _finish_of(way)
        samples: Any = _Samples([item for epoch in items for item in epoch], stages)
        loader = DataLoader(samples, sampler=sampler, collate_fn=finish, **common)

        def batches(epoch: int) -> Iterator[Any]:
            sampler.epoch = epoch
            return iter(loader)

    return _measure(batches, items[0], levels=_LEAN_LEVELS if is_lean else _levels_of(way), is_lean=is_lean)


def time_stages(images: int, batch_size: int, way: str) -> dict[str, float]:
    """Milliseconds per image that each stage takes, its name as in the table; `collate` is the last."""
    _limit_native_threads(1)
    data = read_bccd(images)
    items = ours.items_of(data, ours.dataset_of(data, fuse=True), 1)
    stages, finish = _stages_of(way), _finish_of(way)
    _make_batch(way, stages, finish, items[:CHECKED])
    spent_s: dict[str, float] = {name: 0.0 for name, _ in stages} | {"collate": 0.0}
    for start in range(0, images, batch_size):
        samples = [_start(way, item) for item in items[start : start + batch_size]]
        for name, stage in stages:
            began_s = time.perf_counter()
            samples = [stage(sample) for sample in samples]
            spent_s[name] += time.perf_counter() - began_s
        began_s = time.perf_counter()
        batch = finish(samples)
        spent_s["collate"] += time.perf_counter() - began_s
        del samples, batch
    return {name: 1000 * seconds / images for name, seconds in spent_s.items()}


class _Samples:
    """Map-style: the items of two epochs, one behind the other."""

    def __init__(self, items: Sequence[Any], stages: Sequence[Any]) -> None:
        self._items = items
        self._stages = stages

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return run_stages(self._stages, self._items[index].sample())


class _EpochSampler:
    """The indices of an epoch, for `_Samples`."""

    def __init__(self, images: int) -> None:
        self.epoch = 0
        self._images = images

    def __len__(self) -> int:
        return self._images

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self._images, (self.epoch + 1) * self._images))


_barriers: list[Any] = []


def _keep_barrier(barrier: Any) -> None:
    # One can be inherited by a process that is spawned, but not be sent to it with a task.
    _barriers.append(barrier)


def _load_at_once(images: int, batch_size: int, is_lean: bool) -> dict[str, float]:
    return load(images, batch_size, threads=1, is_lean=is_lean, when_checked=_barriers[0].wait)


def _measure(
    batches: Callable[[int], Iterator[Any]],
    items: Sequence[Any],
    *,
    levels: float,
    is_lean: bool = False,
    when_checked: Callable[[], object] | None = None,
) -> dict[str, float]:
    """Check an epoch, then time the next.

    Args:
        batches: the batches of an epoch, by its number.
        items: of epoch 0.
        levels: of 255, that a pixel may be off.
        is_lean: the batches are uint8; what the device makes of them is compared, and not timed.
        when_checked: called between the two epochs.
    """
    whole = batches(0)
    _check(map(ours.as_on_the_device, whole) if is_lean else whole, items, levels)
    if when_checked is not None:
        when_checked()
    cpu_s, started_s = cpu_seconds(), time.perf_counter()
    count = sum(len(batch.images) for batch in batches(1))
    wall_s, cpu_s = time.perf_counter() - started_s, cpu_seconds() - cpu_s
    assert count == len(items)
    return {"rate": count / wall_s, "cpu_s_per_1000": 1000 * cpu_s / count}


def _check(batches: Iterator[Any], items: Sequence[Any], levels: float) -> None:
    allowed = levels * 1.001 / min(STD)
    reference = _maker_of("openmmlab")
    at = 0
    for batch in batches:
        group = items[at : at + len(batch.images)]
        if at < CHECKED:
            image, boxes = largest_difference(batch, reference(group))
            if image > allowed or boxes > levels * 0.01:
                raise AssertionError(f"batch at {at}: images are off by {image:g}, boxes by {boxes:g} pixels")
        at += len(group)
    assert at == len(items)


def _in_order(
    pool: ThreadPoolExecutor, make: Callable[[Any], Any], groups: Iterable[Any], *, ahead: int
) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for group in groups:
        waiting.append(pool.submit(make, group))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _maker_of(way: str) -> Callable[[Sequence[Any]], Any]:
    return partial(_make_batch, way, _stages_of(way), _finish_of(way))


def _make_batch(way: str, stages: Sequence[Any], finish: Callable[[Any], Any], items: Sequence[Any]) -> Any:
    return finish([run_stages(stages, _start(way, item)) for item in items])


def _start(way: str, item: Any) -> Any:
    return ours.start(item) if way.startswith("ours") else item.sample()


def _stages_of(way: str) -> Sequence[Any]:
    if way.startswith("ours"):
        return ours.stages_of(fuse=way == "ours")
    return {"openmmlab": openmmlab, "vision": vision}[way].STAGES


def _finish_of(way: str) -> Callable[[Any], Any]:
    return {"openmmlab": openmmlab.finish, "vision": vision.finish}.get(way, ours.finish)


def _levels_of(way: str) -> float:
    return 1.0 if way == "vision" else 0.0


def _limit_native_threads(threads: int | None) -> None:
    """For this process, for its threads to come, and for workers that are forked from it."""
    if threads is not None:
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
