"""The measurements of the case `device`, each in a process of its own: batches into the memory of a device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from asyncio_loader import Loader, collate_detection, load_config
from asyncio_loader.cores import count_cores
from asyncio_loader.datasets.tensors import map_tensors
from bench.images import DetectionData, read_bccd
from bench.pipelines import DIVISOR, MEAN, STD, ours
from bench.process_tree import cpu_seconds

__all__ = ["fill", "train"]

Batches = Callable[[int], Iterator[Any]]
"""The batches of an epoch, on the device, by its number."""

_CONFIG = Path(__file__).resolve().parents[2] / "pipelines/faster_rcnn/faster_rcnn_r50_fpn_1x_coco_s3.py"
_WARM_STEPS = 3


def fill(images: int, batch_size: int, way: str, is_lean: bool, device: str) -> dict[str, float]:
    """Batches that arrive and are dropped: images per second, and what they cost.

    Args:
        images: of an epoch.
        batch_size: images per batch.
        way: ``ahead``, a `Loader` with a device; ``loader``, one that the loop copies from, out of page-locked memory;
            ``workers``, torch's DataLoader over the same dataset, likewise.
        is_lean: uint8, not float32.
        device: where to.
    """
    with _batches(read_bccd(images), batch_size, way, is_lean, device) as batches:
        _count(batches(0))
        _settle(device)
        cpu_s, started_s = cpu_seconds(), time.perf_counter()
        count = _count(batches(1))
        _settle(device)
        wall_s, cpu_s = time.perf_counter() - started_s, cpu_seconds() - cpu_s
    assert count == images
    return {"rate": count / wall_s, "cpu_s_per_1000": 1000 * cpu_s / count}


def train(images: int, batch_size: int, way: str, device: str) -> dict[str, float]:
    """A Faster R-CNN on uint8 batches, which it normalizes itself: the share of its time that goes to data.

    Returns:
        `rate`, images per second; `wait_share`, the part of the time in which the loop waits for its next batch;
        `data_share`, the part that would be saved if one batch lay on the device all the time.
    """
    step = _make_step(device)
    with _batches(read_bccd(images), batch_size, way, True, device) as batches:
        first = next(batches(0))
        for _ in range(_WARM_STEPS):
            step(first)
        _settle(device)
        count, waited_s, started_s = 0, 0.0, time.perf_counter()
        epoch = batches(1)
        while True:
            asked_s = time.perf_counter()
            batch = next(epoch, None)
            waited_s += time.perf_counter() - asked_s
            if batch is None:
                break
            step(batch)
            count += len(batch[0])
            del batch
        _settle(device)
        wall_s = time.perf_counter() - started_s
    assert count == images
    resident_s = _time_steps(step, first, -(-images // batch_size), device)
    return {
        "rate": count / wall_s,
        "wait_share": waited_s / wall_s,
        "data_share": max(0.0, 1 - resident_s / wall_s),
    }


@contextlib.contextmanager
def _batches(data: DetectionData, batch_size: int, way: str, is_lean: bool, device: str) -> Iterator[Batches]:
    dataset = ours.dataset_of(data, fuse=True, is_lean=is_lean, batch_size=batch_size)
    collate = partial(collate_detection, as_float=not is_lean)
    pins = device != "cpu"
    source: Any
    if way == "workers":
        source = DataLoader(
            dataset,
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=count_cores(),
            persistent_workers=True,
            pin_memory=pins,
        )
    elif way == "loader":
        source = Loader(dataset, batch_size, collate=collate, pin_memory=pins)
    else:
        source = Loader(dataset, batch_size, collate=collate, device=device)

    def batches(epoch: int) -> Iterator[Any]:
        dataset.set_epoch(epoch)
        return iter(source) if way == "ahead" else _copied(source, device)

    with contextlib.closing(source) if isinstance(source, Loader) else contextlib.nullcontext():
        yield batches


def _copied(batches: Iterable[Any], device: str) -> Iterator[Any]:
    """As a training loop does it."""
    for batch in batches:
        yield map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _make_step(device: str) -> Callable[[Any], None]:
    from asyncio_loader.training.model import build_model

    torch.manual_seed(0)
    section = load_config(_CONFIG).to_dict()["model"]
    section["backbone"]["init_cfg"] = None
    section["data_preprocessor"] = {
        "type": "DetDataPreprocessor",
        "mean": list(MEAN),
        "std": list(STD),
        "bgr_to_rgb": True,
        "pad_size_divisor": DIVISOR,
    }
    model = build_model(section).to(device).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    # The weights are random, and shall not run away: it is the time that counts.
    optimizer = torch.optim.SGD(weights, lr=1e-6)

    def step(batch: Any) -> None:
        losses = model(*model.data_preprocessor(batch, True), mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    return step


def _time_steps(step: Callable[[Any], None], batch: Any, count: int, device: str) -> float:
    started_s = time.perf_counter()
    for _ in range(count):
        step(batch)
    _settle(device)
    return time.perf_counter() - started_s


def _count(batches: Iterable[Any]) -> int:
    return sum(len(images) for images, _ in batches)


def _settle(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
