"""Whose figures are read, and under which labels."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch.utils.data import DataLoader

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.distributed import rank_and_world
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.names import METRICS
from asyncio_loader.stats import LoaderStats

__all__ = ["LABELS", "Reading", "Source", "Sources", "as_mapping", "rank_label"]

Source: TypeAlias = Loader | AsyncIterableDataset | DataLoader[Any]

# Of every reading; what they are for is said in the docstring of the package.
LABELS = ("loader", "rank", "worker")

_MAIN = "main"

_GAUGES = tuple(metric.field for metric in METRICS if not metric.is_count)


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of one process, or of all that were one worker after the other.

    Attributes:
        loader: name that the loader was given.
        worker: number of the DataLoader's worker; "main": the process itself.
        stats: the figures now.
    """

    loader: str
    worker: str
    stats: LoaderStats


class Sources:
    """Loaders and datasets by name; held weakly, so that one that is collected is gone from here.

    Reading is for any thread, adding and removing for the one that owns it.
    """

    def __init__(self) -> None:
        self._sources: dict[str, weakref.ref[Loader | AsyncIterableDataset]] = {}

    def add(self, name: str, source: Source) -> None:
        """Read these figures, too.

        Args:
            name: tells it from the others in this process.
            source: a `Loader`, a dataset, or a torch DataLoader of one.

        Raises:
            ConfigError: another one has the name, or it is something else.
            OSError: there is no place for a temporary file, in which workers count.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"the name of a loader in metrics must be a text, not {name!r}")
        owner = source.dataset if isinstance(source, DataLoader) else source
        if not isinstance(owner, Loader | AsyncIterableDataset):
            raise ConfigError(
                f"metrics of {name!r}: takes a Loader, an AsyncIterableDataset or a DataLoader of one, "
                f"not {type(owner).__name__}"
            )
        alive = {known: ref for known, ref in self._sources.items() if ref() is not None}
        if name in alive and alive[name]() is not owner:
            raise ConfigError(f"metrics of {name!r}: another loader has that name; say another one")
        if isinstance(owner, AsyncIterableDataset):
            owner.share_counters()
        # Whoever reads has the one or the other, and changes neither: no lock, so none that a fork could leave locked.
        self._sources = {**alive, name: weakref.ref(owner)}

    def remove(self, name: str) -> None:
        """Read it no more. Nothing, if it is not there."""
        self._sources = {known: ref for known, ref in self._sources.items() if known != name}

    def read(self) -> Iterator[Reading]:
        """The figures of all that are alive."""
        for name, ref in self._sources.items():
            owner = ref()
            if owner is None:
                continue
            workers = owner.share_counters().read() if isinstance(owner, AsyncIterableDataset) else []
            stats = owner.stats()
            # While somebody works with these, it may be collected.
            del owner
            yield Reading(name, _MAIN, stats)
            for worker, of_worker in _by_worker(workers).items():
                yield Reading(name, str(worker), of_worker)


def _by_worker(rows: Iterable[tuple[int, LoaderStats]]) -> Mapping[int, LoaderStats]:
    """Counts of all processes that had the number, added up; what is no count is that of the latest."""
    merged: dict[int, LoaderStats] = {}
    for worker, stats in rows:
        before = merged.get(worker, LoaderStats())
        merged[worker] = replace(before + stats, **{name: getattr(stats, name) for name in _GAUGES})
    return merged


def as_mapping(loaders: Source | Mapping[str, Source] | None) -> Mapping[str, Source]:
    """By name; one that has none is called "train"."""
    if loaders is None:
        return {}
    return loaders if isinstance(loaders, Mapping) else {"train": loaders}


def rank_label() -> int:
    """This process's rank in `torch.distributed`; without a group what RANK in the environment says; 0 without."""
    place = rank_and_world()
    if place is not None:
        return place.rank
    text = os.environ.get("RANK", "")
    return int(text) if text.isdecimal() else 0
