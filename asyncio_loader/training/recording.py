"""A run keeps a record of what its loaders do, beside its log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError
from asyncio_loader.record import StatsRecorder
from asyncio_loader.training.distributed import Ranks

__all__ = ["recorded"]

_LOG = logging.getLogger(__name__)


def recorded(loaders: Mapping[str, Loader | None], log_dir: Path, ranks: Ranks) -> AbstractContextManager[object]:
    """Write a record while the block lasts: ``record.jsonl``, of the n-th other rank ``record.rank<n>.jsonl``.

    A run is not ended for its record: where it cannot be written there is a warning.

    Args:
        loaders: by the names that they have in the record; None: there is no such loader.
        log_dir: the run's own directory in the work directory.
        ranks: of the run.
    """
    name = "record.jsonl" if ranks.is_main else f"record.rank{ranks.rank}.jsonl"
    there = {known: loader for known, loader in loaders.items() if loader is not None}
    try:
        return StatsRecorder(there, log_dir / name)
    except ConfigError as error:
        _LOG.warning("%s; there is none of this run", error)
        return nullcontext()
