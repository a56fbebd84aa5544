"""From a DataLoader's worker to its parent: the same samples out of a plain dataset and out of ours.

Two workers, three kinds of samples, made of nothing in next to no time:

* ``stack``: float32 tensors (3, 224, 224) that torch's `default_collate` makes batches of 32 of.
* ``arrays``: uint8 arrays (480, 640, 3) with their labels, 16 in a list.
* ``detection``: a float32 tensor (3, 800, 1088) with seven boxes and labels, one in a list.

``torch`` is an `IterableDataset` of three lines; ``ours`` an `AsyncIterableDataset` over ``memory://``, whose fetching
counts, too. The consumer reads a value of each batch and drops it with the next. Timed is the second of two epochs;
each measurement has a process of its own, and the two take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from asyncio_loader import AsyncIterableDataset, Fetched
from asyncio_loader.stores.memory import MemoryStore
from bench.cases import Settings
from bench.measure import call_in_fresh_process
from bench.process_tree import cpu_seconds
from bench.report import Report

WORKERS = 2
Sample = dict[str, Any]


def _stack(number: int) -> Sample:
    return {"image": torch.full((3, 224, 224), float(number)), "label": number}


def _arrays(number: int) -> Sample:
    return {"image": np.full((480, 640, 3), number % 256, np.uint8), "label": number}


def _detection(number: int) -> Sample:
    return {
        "image": torch.full((3, 800, 1088), float(number)),
        "boxes": torch.full((7, 4), float(number)),
        "labels": torch.full((7,), number),
    }


def _as_list(samples: list[Sample]) -> list[Sample]:
    return samples


# Kind → how a sample is made, how many make a batch, how that is made, the full number of samples.
KINDS: dict[str, tuple[Callable[[int], Sample], int, Callable[[list[Sample]], Any], int]] = {
    "stack": (_stack, 32, default_collate, 6400),
    "arrays": (_arrays, 16, _as_list, 3200),
    "detection": (_detection, 1, _as_list, 800),
}
WAYS = ("torch", "ours")


def run(settings: Settings) -> Report:
    """Measure both ways with every kind."""
    runs: dict[tuple[str, str], list[dict[str, float]]] = {(kind, way): [] for kind in KINDS for way in WAYS}
    for _ in range(settings.repeats):
        for kind, way in runs:
            runs[kind, way].append(
                call_in_fresh_process(f"{__name__}:load", kind=kind, way=way, samples=settings.count(KINDS[kind][3]))
            )
    return Report(
        case="hand_over",
        title=f"samples through a DataLoader with {WORKERS} workers, median of {settings.repeats}",
        columns=("kind", "way", "samples/s", "least", "most", "CPU ms/sample", "ours/torch"),
        rows=[_row(kind, way, runs) for kind, way in runs],
        raw={f"{kind}, {way}": results for (kind, way), results in runs.items()},
    )


def load(kind: str, way: str, samples: int) -> dict[str, float]:
    """Samples per second and CPU milliseconds per sample, of all processes together."""
    torch.set_num_threads(1)
    make, batch_size, collate, _ = KINDS[kind]
    dataset = _Plain(make, samples) if way == "torch" else _ours(make, samples, batch_size)
    loader = DataLoader(dataset, batch_size, collate_fn=collate, num_workers=WORKERS, persistent_workers=True)
    seen = _go_through(loader)
    assert sorted(seen) == list(range(samples))
    cpu_s, started_s = cpu_seconds(), time.perf_counter()
    count = len(_go_through(loader))
    wall_s, cpu_s = time.perf_counter() - started_s, cpu_seconds() - cpu_s
    return {"rate": count / wall_s, "cpu_ms": 1000 * cpu_s / count}


def _go_through(loader: DataLoader[Any]) -> list[int]:
    """The numbers of all samples, by their labels; what is in the images is looked at."""
    seen = []
    for batch in loader:
        stacked = isinstance(batch, dict)
        labels = batch["label"].tolist() if stacked else [_number(sample) for sample in batch]
        images = batch["image"] if stacked else [sample["image"] for sample in batch]
        for label, image in zip(labels, images, strict=True):
            if int(image.reshape(-1)[-1]) not in (label, label % 256):
                raise AssertionError(f"the image of sample {label} is another's")
        seen += labels
    return seen


def _number(sample: Sample) -> int:
    return int(sample["label"]) if "label" in sample else int(sample["labels"][-1])


class _Plain(IterableDataset[Sample]):
    def __init__(self, make: Callable[[int], Sample], samples: int) -> None:
        self._make, self._samples = make, samples

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        assert worker is not None
        return map(self._make, range(worker.id, self._samples, worker.num_workers))


def _ours(make: Callable[[int], Sample], samples: int, batch_size: int) -> AsyncIterableDataset:
    uris = [f"memory://{number}" for number in range(samples)]
    return AsyncIterableDataset(
        uris,
        transform=partial(_transform, make),
        storage=MemoryStore(dict.fromkeys(uris, b"x")),
        shuffle=False,
        batch_size=batch_size,
    )


def _transform(make: Callable[[int], Sample], fetched: Fetched) -> Sample:
    return make(fetched.index)


def _row(kind: str, way: str, runs: dict[tuple[str, str], list[dict[str, float]]]) -> tuple[str, ...]:
    results = runs[kind, way]
    rates = [result["rate"] for result in results]
    ratio = median(ours["rate"] / plain["rate"] for ours, plain in zip(results, runs[kind, "torch"], strict=True))
    return (
        kind,
        way,
        f"{median(rates):.0f}",
        f"{min(rates):.0f}",
        f"{max(rates):.0f}",
        f"{median(result['cpu_ms'] for result in results):.2f}",
        f"{ratio:.2f}" if way == "ours" else "",
    )
