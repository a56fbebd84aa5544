"""Train vision models straight from S3, as fast as if the images lay in RAM.

The names below are the public interface. They load on first use (PEP 562), so that `import asyncio_loader`, the error
classes and ``asyncio-loader --help`` cost no torch import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio_loader.config import load_config
    from asyncio_loader.datasets.coco import CocoDataset
    from asyncio_loader.datasets.collate import collate_detection
    from asyncio_loader.datasets.dataset import AsyncIterableDataset
    from asyncio_loader.datasets.loader import Loader
    from asyncio_loader.errors import LoaderError
    from asyncio_loader.fileio.file_client import FileClient
    from asyncio_loader.options import FetchOptions, RetryPolicy, S3Options
    from asyncio_loader.records import Failed, Fetched, ObjectRef
    from asyncio_loader.stats import LoaderStats
    from asyncio_loader.transforms.base import Compose
    from asyncio_loader.transforms.registry import TRANSFORMS

__version__ = "0.1.0"

__all__ = [
    "TRANSFORMS",
    "AsyncIterableDataset",
    "CocoDataset",
    "Compose",
    "Failed",
    "FetchOptions",
    "Fetched",
    "FileClient",
    "Loader",
    "LoaderError",
    "LoaderStats",
    "ObjectRef",
    "RetryPolicy",
    "S3Options",
    "collate_detection",
    "load_config",
]

_HOMES = {
    "TRANSFORMS": "transforms.registry",
    "AsyncIterableDataset": "datasets.dataset",
    "CocoDataset": "datasets.coco",
    "Compose": "transforms.base",
    "Failed": "records",
    "FetchOptions": "options",
    "Fetched": "records",
    "FileClient": "fileio.file_client",
    "Loader": "datasets.loader",
    "LoaderError": "errors",
    "LoaderStats": "stats",
    "ObjectRef": "records",
    "RetryPolicy": "options",
    "S3Options": "options",
    "collate_detection": "datasets.collate",
    "load_config": "config",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
