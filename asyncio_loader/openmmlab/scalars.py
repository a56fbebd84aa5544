"""What a dataset under a DataLoader does, its workers included, as scalars of a run."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from asyncio_loader.bridge.worker_counters import WorkerCounters
from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.progress import RecentFigures, as_scalars
from asyncio_loader.stats import LoaderStats

__all__ = ["LoaderScalars"]

_LOG = logging.getLogger(__name__)

# What several workers have of it adds up.
_ADDED = ("in_flight", "level", "held_bytes", "window_bytes")


class LoaderScalars:
    """The figures of the last seconds, for a message hub. To be made before workers start.

    Args:
        dataset: what is iterated.
        workers: processes that do it; 0: this one.
    """

    def __init__(self, dataset: AsyncIterableDataset, workers: int) -> None:
        self._dataset = dataset
        self._workers: WorkerCounters | None = None
        if workers > 0:
            try:
                self._workers = dataset.share_counters()
            except OSError as error:
                _LOG.warning("the loader's figures will be missing in the log: %s", error.strerror)
        self._figures = RecentFigures(self._stats)

    def write(self, hub: Any) -> None:
        """Put them into mmengine's `MessageHub`, for the log of this step. They are not kept for a resumed run.

        The share of waiting is the training loop's, by mmengine's timer; a worker that waits for an object holds up
        nobody as long as others have batches.
        """
        scalars = as_scalars(self._figures.read())
        time_s, data_s = (hub.log_scalars.get(f"train/{name}") for name in ("time", "data_time"))
        if time_s is not None and data_s is not None and time_s.current() > 0:
            scalars["loader/wait_share"] = min(1.0, data_s.current() / time_s.current())
        for name, value in scalars.items():
            hub.update_scalar(f"train/{name}", value, resumed=False)

    def _stats(self) -> LoaderStats:
        own = self._dataset.stats()
        if self._workers is None:
            return own
        rows = self._workers.read()
        total = sum((stats for _, stats in rows), own)
        # What is no count is that of the latest process with the number: others have ended.
        latest = dict(rows).values()
        return replace(total, **{name: sum(getattr(stats, name) for stats in latest) for name in _ADDED})
