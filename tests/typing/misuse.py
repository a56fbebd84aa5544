"""What a user of the public names may not write: a checker that finds nothing wrong in a line says so.

mypy (``warn_unused_ignores``) and pyright (``reportUnnecessaryTypeIgnoreComment``) refuse an ignore that they do not
need. Nothing runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

from asyncio_loader import (
    AsyncIterableDataset,
    CocoDataset,
    Failed,
    Fetched,
    FetchOptions,
    FileClient,
    Loader,
    LoaderStats,
    ObjectRef,
    S3Options,
    load_config,
)


def wrong_values(dataset: AsyncIterableDataset) -> None:
    """Of the wrong type, or unknown."""
    FetchOptions(max_in_flight="64")  # type: ignore[arg-type]
    FetchOptions(64)  # type: ignore[call-arg]
    FetchOptions(retries=3)  # type: ignore[call-arg]
    S3Options(addressing="elsewhere")  # type: ignore[arg-type]
    ObjectRef(b"s3://bucket/key")  # type: ignore[arg-type]
    AsyncIterableDataset(["s3://bucket/key"], on_error="ignore")  # type: ignore[arg-type]
    AsyncIterableDataset([1, 2])  # type: ignore[list-item]
    AsyncIterableDataset(["s3://bucket/key"], transform=lambda: None)  # type: ignore[arg-type, misc]
    CocoDataset("a.json", "s3://bucket/", 3)  # type: ignore[arg-type]
    Loader(dataset)  # type: ignore[call-arg]
    Loader(["s3://bucket/key"], 8)  # type: ignore[arg-type]
    FileClient(backend=None).get(3)  # type: ignore[arg-type]
    load_config(3)  # type: ignore[arg-type]


def wrong_readings(outcome: Fetched | Failed, stats: LoaderStats) -> None:
    """Of what may not be there, or may not be set."""
    print(outcome.data)  # type: ignore[union-attr]
    print(stats.images)  # type: ignore[attr-defined]
    stats.samples = 3  # type: ignore[misc]


def known_types(loader: Loader, client: FileClient) -> None:
    """What is promised, and no more."""
    assert_type(iter(loader), Iterator[Any])
    assert_type(loader.stats(), LoaderStats)
    assert_type(len(loader), int)
    assert_type(client.get_text("s3://bucket/key"), str)
    assert_type(client.exists("s3://bucket/key"), bool)
