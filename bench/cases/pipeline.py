"""From the bytes of a JPEG to the tensor of a batch: the tutorial's train pipeline, stage by stage and whole.

The images are those of BCCD's training set (640×480 to 1067×800, float32, padded to a multiple of 32), the batch is as
large as in the tutorial, or of eight where a row says so. The ways to make it, in threads and in the workers of a torch
DataLoader:

* ``Loader``: ours, its bytes in RAM (``memory://``), transforms fused and one by one; and fetched from the simulator.
* ``uint8``: ours again, with normalizing and padding to a multiple left to the device.
* ``2 processes``: ours with one thread in each of two processes that share nothing, at once: no loader can scale better
  on these cores than that.
* ``OpenMMLab``: what mmcv 1.x does, call by call (`bench.pipelines.openmmlab`); the reference.
* ``torchvision``: `decode_jpeg` and `torchvision.transforms.v2` (`bench.pipelines.vision`).

``OpenMMLab`` and ``torchvision`` run in threads as well as threads can: each makes whole batches, a few ahead of the
consumer. All see the same images in the same order with the same flips, and OpenCV and torch have one thread of their
own in each thread or worker, unless a row says otherwise. The consumer drops each batch when the next one comes.

Each measurement has a process of its own, contenders take turns. Timed is the second of three epochs, from `iter()` to
the last batch; workers persist. In the first one the batches are compared with those of the reference: to the last bit,
but for torchvision, whose resize may round a pixel differently by one level of 255.

A PNG beside the results shows the rates and the stages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.images import read_bccd
from bench.measure import call_in_fresh_process
from bench.report import Report

# Three times BCCD's training set; the slower DataLoaders have a third of it, as their speed does not depend on that.
IMAGES, WORKER_IMAGES = 876, 292
BATCH = 1
MEDIAN_S, P99_S = 0.030, 0.150
_RUNS = "bench.pipelines.run"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Attributes:
    name: of its row.
    function: of `bench.pipelines.run`, that measures it.
    arguments: for the function, beside `images` and `batch_size`.
    single: name of the same with one thread.
    is_remote: its images come from the simulator.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    single: str | None = None
    is_remote: bool = False


OURS = "Loader, 2 threads"
PLAIN = "OpenMMLab, 2 threads"
WORKERS = "OpenMMLab, 2 workers"
CONTENDERS = (
    Contender(name="Loader, 1 thread", function="load", arguments={"threads": 1}),
    Contender(name=OURS, function="load", arguments={"threads": 2}, single="Loader, 1 thread"),
    Contender(
        name="Loader, 2 processes", function="load_in_processes", arguments={"processes": 2}, single="Loader, 1 thread"
    ),
    Contender(name="Loader from S3, 2 threads", function="load", arguments={"threads": 2}, is_remote=True),
    Contender(name="Loader not fused, 1 thread", function="load", arguments={"threads": 1, "fuse": False}),
    Contender(
        name="Loader not fused, 2 threads",
        function="load",
        arguments={"threads": 2, "fuse": False},
        single="Loader not fused, 1 thread",
    ),
    Contender(name="Loader, OpenCV and torch as they come", function="load", arguments={"threads": 2, "native": None}),
    Contender(name="uint8, 1 thread", function="load", arguments={"threads": 1, "is_lean": True}),
    Contender(
        name="uint8, 2 threads", function="load", arguments={"threads": 2, "is_lean": True}, single="uint8, 1 thread"
    ),
    Contender(name="Loader, 2 threads, batches of 8", function="load", arguments={"threads": 2, "batch_size": 8}),
    Contender(
        name="uint8, 2 threads, batches of 8",
        function="load",
        arguments={"threads": 2, "batch_size": 8, "is_lean": True},
    ),
    Contender(
        name="OpenMMLab, 2 threads, batches of 8",
        function="map_in_threads",
        arguments={"way": "openmmlab", "threads": 2, "batch_size": 8},
    ),
    Contender(
        name="uint8, 2 processes",
        function="load_in_processes",
        arguments={"processes": 2, "is_lean": True},
        single="uint8, 1 thread",
    ),
    Contender(name="uint8, 2 workers", function="load_with_workers", arguments={"way": "ours", "is_lean": True}),
    Contender(name="ours, 2 workers", function="load_with_workers", arguments={"way": "ours"}),
    Contender(
        name="ours, 2 workers, batches of 8", function="load_with_workers", arguments={"way": "ours", "batch_size": 8}
    ),
    Contender(name="OpenMMLab, 1 thread", function="map_in_threads", arguments={"way": "openmmlab", "threads": 1}),
    Contender(
        name=PLAIN,
        function="map_in_threads",
        arguments={"way": "openmmlab", "threads": 2},
        single="OpenMMLab, 1 thread",
    ),
    Contender(name=WORKERS, function="load_with_workers", arguments={"way": "openmmlab"}),
    Contender(name="torchvision, 1 thread", function="map_in_threads", arguments={"way": "vision", "threads": 1}),
    Contender(
        name="torchvision, 2 threads",
        function="map_in_threads",
        arguments={"way": "vision", "threads": 2},
        single="torchvision, 1 thread",
    ),
    Contender(name="torchvision, 2 workers", function="load_with_workers", arguments={"way": "vision"}),
)
WAYS = {"ours": "ours", "ours, not fused": "ours_not_fused", "OpenMMLab": "openmmlab", "torchvision": "vision"}


def run(settings: Settings) -> Report:
    """Measure all contenders and all stages."""
    images, worker_images = settings.count(IMAGES), settings.count(WORKER_IMAGES)
    runs: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in CONTENDERS}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    data = read_bccd(images)
    with S3Simulator(data.objects, median_s=MEDIAN_S, p99_s=P99_S) as simulator:
        for _ in range(settings.repeats):
            for contender in CONTENDERS:
                place = {"endpoint_url": simulator.endpoint_url, "environ": simulator.environ}
                runs[contender.name].append(
                    call_in_fresh_process(
                        f"{_RUNS}:{contender.function}",
                        images=worker_images if contender.function == "load_with_workers" else images,
                        **{"batch_size": BATCH, **contender.arguments},
                        **(place if contender.is_remote else {}),
                    )
                )
            for name, way in WAYS.items():
                stages[name].append(
                    call_in_fresh_process(f"{_RUNS}:time_stages", images=worker_images, batch_size=BATCH, way=way)
                )
    table = _stage_table(stages)
    return Report(
        case="pipeline",
        title=f"{images} JPEGs of BCCD (with workers {worker_images}) into batches of {BATCH} or 8; OpenCV and torch "
        f"with 1 thread of their own; S3 at {MEDIAN_S * 1000:g} ms median, {P99_S * 1000:g} ms 99th percentile; median "
        f"of {settings.repeats}, {_draw(runs, table, settings.results)}",
        columns=(
            "contender",
            "images/s",
            "least",
            "most",
            "CPU s/1,000",
            "of OpenMMLab, workers",
            "of OpenMMLab, threads",
            "of 1 thread",
            "of RAM",
        ),
        rows=[_row(contender, runs) for contender in CONTENDERS],
        raw=dict(runs),
        parts=[
            Report(
                case="pipeline, stages",
                title="ms per image in one thread, one stage after the other",
                columns=("stage", *WAYS),
                rows=[(stage, *map(_cell, cells)) for stage, cells in _with_sums(table).items()],
                raw=dict(stages),
            )
        ],
    )


def _row(contender: Contender, runs: Mapping[str, list[dict[str, float]]]) -> tuple[str, ...]:
    results = runs[contender.name]
    rates = [result["rate"] for result in results]
    return (
        contender.name,
        f"{median(rates):.0f}",
        f"{min(rates):.0f}",
        f"{max(rates):.0f}",
        f"{median(result['cpu_s_per_1000'] for result in results):.2f}",
        f"{_ratio(results, runs[WORKERS]):.2f}",
        f"{_ratio(results, runs[PLAIN]):.2f}",
        f"{_ratio(results, runs[contender.single]):.2f}" if contender.single else "",
        f"{_ratio(results, runs[OURS]):.2f}" if contender.is_remote else "",
    )


def _ratio(results: list[dict[str, float]], of: list[dict[str, float]]) -> float:
    return median(result["rate"] / base["rate"] for result, base in zip(results, of, strict=True))


def _stage_table(stages: Mapping[str, list[dict[str, float]]]) -> dict[str, list[float | None]]:
    """Stage → milliseconds of each way, None where a way runs it as one with others."""
    middle = [{name: median(run[name] for run in runs) for name in runs[0]} for runs in stages.values()]
    names = list(stages["OpenMMLab"][0])
    for joint in dict.fromkeys(name for way in middle for name in way if name not in names):
        names.insert(names.index(joint.split(" + ")[-1]) + 1, joint)
    return {name: [way.get(name) for way in middle] for name in names}


def _with_sums(table: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Where one way runs several stages as one, the others have their sum there; and the sum of all."""
    filled = {name: list(cells) for name, cells in table.items()}
    for name, cells in filled.items():
        for at, cell in enumerate(cells):
            if cell is None and " + " in name:
                cells[at] = sum(table[part][at] or 0.0 for part in name.split(" + "))
    total = [sum(cell or 0.0 for cell in way) for way in zip(*table.values(), strict=True)]
    return {**filled, "all": list(total)}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _draw(runs: Mapping[str, list[dict[str, float]]], table: Mapping[str, list[float | None]], results: Path) -> str:
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plot: matplotlib is not installed"
    mpl.use("agg")
    from matplotlib import pyplot as plt

    canvas, (rates, stages) = plt.subplots(1, 2, figsize=(14, 5))
    names = list(runs)[::-1]
    middle = [median(result["rate"] for result in runs[name]) for name in names]
    rates.barh(names, middle)
    rates.margins(x=0.12)
    rates.bar_label(rates.containers[0], fmt="%.0f")
    rates.set_xlabel("images/s")
    below = [0.0] * len(WAYS)
    for name, cells in table.items():
        values = [cell or 0.0 for cell in cells]
        stages.bar(list(WAYS), values, bottom=below, label=name)
        below = [low + value for low, value in zip(below, values, strict=True)]
    stages.set_xticks(range(len(WAYS)), [name.replace(", ", ",\n") for name in WAYS])
    stages.set_ylabel("ms per image, one thread")
    stages.legend(loc="upper left", bbox_to_anchor=(1, 1))
    canvas.tight_layout()
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"pipeline-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.png"
    canvas.savefig(path, dpi=110)
    plt.close(canvas)
    return f"plot in {os.path.relpath(path)}"
