"""What a loader was told, and what it runs on: for whoever reads a record a year later."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict, is_dataclass
from typing import Any

from torch.utils.data import DataLoader

from asyncio_loader import __version__
from asyncio_loader.cores import count_cores
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.metrics.sources import Source

__all__ = ["options_of", "versions"]

# What decides how fast images come and become tensors.
_PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "simplejpeg", "pillow", "uvloop", "awscrt")


def options_of(source: Source) -> dict[str, Any]:
    """By the names that the arguments have, nested as they are. Values that JSON has no word for are their `repr`.

    No secret is ever part of any of them: see `S3Options`.
    """
    told: dict[str, Any] = {"made by": type(source).__name__}
    if isinstance(source, DataLoader):
        told["num_workers"] = source.num_workers
    told["batch_size"] = source.batch_size
    dataset = source if isinstance(source, AsyncIterableDataset) else source.dataset
    if isinstance(dataset, AsyncIterableDataset):
        told |= _of_dataset(dataset)
    return told


def _of_dataset(dataset: AsyncIterableDataset) -> dict[str, Any]:
    return {
        "dataset": type(dataset).__name__,
        "refs": len(dataset.refs),
        "shuffle": dataset.shuffle,
        "seed": dataset.seed,
        "drop_last": dataset.drop_last,
        "on_error": dataset.on_error,
        "quarantine": dataset.failure_rules.quarantine,
        "options": _plain(asdict(dataset.options)),
        "storage": _plain(asdict(dataset.storage)) if is_dataclass(dataset.storage) else type(dataset.storage).__name__,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | str) else _number_or_text(value)


def _number_or_text(value: Any) -> Any:
    # JSON has no infinity.
    return value if isinstance(value, float) and abs(value) < float("inf") else repr(value)


def versions() -> dict[str, str]:
    """Of this package, Python, the system, and the packages that matter, as far as they are there."""
    found = {
        "asyncio_loader": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": f"{count_cores()} of {os.cpu_count()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
