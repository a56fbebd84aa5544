"""An mmengine dataset over a store with the latency of S3: as it is, and in a `PrefetchDataset`.

Three contenders run the same pipeline (read, ``cv2.imdecode``, tensor) in a torch DataLoader with two workers that
persist, `pseudo_collate` and batches of 16; what differs is where the bytes come from:

* ``RAM``: they lie in memory. Nothing can be faster; it is the 1.00.
* ``PrefetchDataset``: from the simulator, fetched ahead of the pipeline.
* ``plain``: from the simulator, when the pipeline asks, through the same storage backend; mmengine's DefaultSampler.

Objects and latency are those of `epoch`. Each measurement has a process of its own, and contenders take turns. Timed is
the second epoch, from `iter()` to the last batch: workers have started by then, connections have not, since every epoch
makes its own. ``plain`` runs over fewer images, since its speed does not depend on their number.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from asyncio_loader.testing import S3Simulator
from bench.cases import Settings
from bench.cases.epoch import BATCH, IMAGES, MEDIAN_S, P99_S
from bench.images import MEAN_BYTES, jpeg_objects, key_of
from bench.measure import call_in_fresh_process
from bench.report import Report, median_share, spread

PLAIN_IMAGES = 240
WORKERS = 2


def run(settings: Settings) -> Report:
    """Measure all three."""
    images, plain_images = settings.count(IMAGES), settings.count(PLAIN_IMAGES)
    runs: dict[str, list[dict[str, float]]] = {"RAM": [], "PrefetchDataset": [], "plain": []}
    with S3Simulator(jpeg_objects(images), median_s=MEDIAN_S, p99_s=P99_S) as simulator:
        for _ in range(settings.repeats):
            environ = simulator.environ
            runs["RAM"].append(call_in_fresh_process(f"{__name__}:load_from_ram", images=images))
            runs["PrefetchDataset"].append(
                call_in_fresh_process(f"{__name__}:load_ahead", images=images, environ=environ)
            )
            runs["plain"].append(call_in_fresh_process(f"{__name__}:load_plain", images=plain_images, environ=environ))
    return Report(
        case="prefetch",
        title=f"{images} JPEGs of {MEAN_BYTES / 1000:.0f} KB at {MEDIAN_S * 1000:.0f} ms median, {P99_S * 1000:.0f} ms "
        f"99th percentile, mmengine dataset, {WORKERS} workers, median of {settings.repeats}",
        columns=("contender", "images/s", "least", "most", "of RAM", "of plain", "first epoch"),
        rows=[_row(name, results, runs["RAM"], runs["plain"]) for name, results in runs.items()],
        raw=dict(runs),
    )


def load_from_ram(images: int) -> dict[str, float]:
    """The dataset over bytes in memory."""
    bodies = {f"data/{key}": body for key, body in jpeg_objects(images)}
    return _time_sampled(_dataset(images, bodies.__getitem__), images)


def load_plain(images: int) -> dict[str, float]:
    """The dataset as it is."""
    return _time_sampled(_dataset(images, _read), images)


def load_ahead(images: int) -> dict[str, float]:
    """The dataset in a PrefetchDataset."""
    from asyncio_loader.openmmlab.prefetch import PrefetchDataset

    dataset = PrefetchDataset(_dataset(images, _read), batch_size=BATCH, shuffle=True, seed=1)
    return _time(dataset, None, dataset.set_epoch, images)


def _time_sampled(dataset: Any, images: int) -> dict[str, float]:
    from mmengine.dataset import DefaultSampler

    sampler = DefaultSampler(dataset, shuffle=True, seed=1)
    return _time(dataset, sampler, sampler.set_epoch, images)


def _time(dataset: Any, sampler: Any, set_epoch: Any, images: int) -> dict[str, float]:
    from mmengine.dataset import pseudo_collate
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=WORKERS, collate_fn=pseudo_collate, persistent_workers=True
    )
    rates = []
    for epoch in range(2):
        set_epoch(epoch)
        started_s = time.perf_counter()
        count = sum(len(batch["img"]) for batch in loader)
        rates.append(count / (time.perf_counter() - started_s))
        assert count == images
    return {"rate": rates[1], "first_rate": rates[0]}


def _dataset(images: int, read: Any) -> Any:
    from mmengine.dataset import BaseDataset

    import asyncio_loader.openmmlab  # noqa: F401 - puts s3:// into mmengine

    class Images(BaseDataset):  # type: ignore[misc]
        def load_data_list(self) -> list[dict[str, str]]:
            return [{"img_path": _path(number)} for number in range(images)]

    return Images(pipeline=[_Load(read), _pack])


class _Load:
    """What mmcv's LoadImageFromFile does."""

    backend_args: Mapping[str, Any] = {"backend": "aws", "path_mapping": {"data/": "s3://bucket/"}}

    def __init__(self, read: Any) -> None:
        self._read = read

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        import cv2
        import numpy as np

        results["img"] = cv2.imdecode(np.frombuffer(self._read(results["img_path"]), np.uint8), cv2.IMREAD_COLOR)
        return results


def _read(path: str) -> bytes:
    from mmengine import fileio

    data: bytes = fileio.get(path, backend_args=_Load.backend_args)
    return data


def _pack(results: dict[str, Any]) -> dict[str, Any]:
    import torch

    # A tensor crosses from worker to parent in shared memory, as mmdet's PackDetInputs has it.
    return {"img": torch.from_numpy(results["img"].transpose(2, 0, 1).copy()), "img_path": results["img_path"]}


def _path(number: int) -> str:
    return f"data/{key_of(number)}"


def _row(
    name: str, results: list[dict[str, float]], ram: list[dict[str, float]], plain: list[dict[str, float]]
) -> tuple[str, ...]:
    rates = [result["rate"] for result in results]
    return (
        name,
        *spread(rates),
        f"{_share(results, ram):.2f}",
        f"{_share(results, plain):.1f}",
        f"{median(result['first_rate'] for result in results):.0f}",
    )


def _share(results: list[dict[str, float]], of: list[dict[str, float]]) -> float:
    return median_share([result["rate"] for result in results], [base["rate"] for base in of])
