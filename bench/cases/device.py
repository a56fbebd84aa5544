"""Batches into the memory of a GPU, and a Faster R-CNN that waits for them. Without a CUDA device it says so, no more.

The images are those of BCCD's training set in RAM, through the tutorial's train pipeline, with as many threads or
workers as there are cores:

* ``Loader(device)``: each batch is copied on a side stream while the one before it is used;
* ``Loader``: the loop copies each batch itself, out of page-locked memory;
* ``DataLoader``: torch's, over the same dataset with the same pipeline, likewise (``pin_memory=True``).

``float32`` batches are normalized on the CPU, ``uint8`` ones by the model (`model.data_preprocessor`). Timed is the
second epoch, to the last copy. Each measurement has a process of its own, contenders take turns.

The second table is of a Faster R-CNN R50-FPN that trains on uint8 batches: ``waits`` is the share of the time in which
the loop waits for its next batch, ``data`` what of the time is gone when one batch lies on the device all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch

from asyncio_loader.cores import count_cores
from bench.cases import Settings
from bench.measure import call_in_fresh_process
from bench.report import Report

IMAGES = 876
TRAINED = 292
BATCH = 2
_RUNS = "bench.pipelines.device"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Attributes:
    name: of its row.
    way: see `bench.pipelines.device.fill`.
    """

    name: str
    way: str


CONTENDERS = (
    Contender(name="Loader(device)", way="ahead"),
    Contender(name="Loader", way="loader"),
    Contender(name="DataLoader", way="workers"),
)


def run(settings: Settings, device: str = "cuda") -> Report:
    """Measure all contenders on the device; on a machine without it a report that says so."""
    if device == "cuda" and not torch.cuda.is_available():
        return Report(
            case="device",
            title="needs a CUDA device, and torch finds none: nothing was measured",
            columns=("contender",),
            rows=[],
        )
    fills: dict[str, list[dict[str, float]]] = {}
    trains: dict[str, list[dict[str, float]]] = {}
    for _ in range(settings.repeats):
        for contender in CONTENDERS:
            common = {"batch_size": BATCH, "way": contender.way, "device": device}
            for is_lean, dtype in ((True, "uint8"), (False, "float32")):
                fills.setdefault(f"{contender.name}, {dtype}", []).append(
                    call_in_fresh_process(f"{_RUNS}:fill", images=settings.count(IMAGES), is_lean=is_lean, **common)
                )
            trains.setdefault(contender.name, []).append(
                call_in_fresh_process(f"{_RUNS}:train", images=settings.count(TRAINED), **common)
            )
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return Report(
        case="device",
        title=f"{settings.count(IMAGES)} JPEGs of BCCD into the memory of a {name}, in batches of {BATCH}; "
        f"{count_cores()} threads or workers; median of {settings.repeats}",
        columns=("contender", "images/s", "least", "most", "CPU s/1,000"),
        rows=[_fill_row(name, runs) for name, runs in fills.items()],
        raw=dict(fills),
        parts=[
            Report(
                case="device, Faster R-CNN",
                title=f"{settings.count(TRAINED)} uint8 images are trained on",
                columns=("contender", "images/s", "waits", "data"),
                rows=[_train_row(name, runs) for name, runs in trains.items()],
                raw=dict(trains),
            )
        ],
    )


def _fill_row(name: str, runs: list[dict[str, float]]) -> tuple[str, ...]:
    rates = [run["rate"] for run in runs]
    figures = (median(rates), min(rates), max(rates))
    return name, *(f"{figure:.0f}" for figure in figures), f"{median(run['cpu_s_per_1000'] for run in runs):.2f}"


def _train_row(name: str, runs: list[dict[str, float]]) -> tuple[str, ...]:
    shares = (f"{100 * median(run[key] for run in runs):.1f} %" for key in ("wait_share", "data_share"))
    return name, f"{median(run['rate'] for run in runs):.1f}", *shares
