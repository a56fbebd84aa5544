"""A run writes a trace of what becomes of each object."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from asyncio_loader.trace import TraceFile
from asyncio_loader.training.distributed import Ranks

__all__ = ["open_trace"]


def open_trace(path: str | PathLike[str] | None, ranks: Ranks) -> TraceFile | None:
    """The file of this rank; None where no trace is asked for.

    Of several ranks each has its own, as ranks of other machines have other clocks: ``trace.json`` becomes
    ``trace.rank0.json`` and so on. Collective, if a trace is asked for.

    Raises:
        ConfigError: it cannot be written; on all ranks, if it is so on one.
    """
    if path is None:
        return None
    plain = Path(path)
    with ranks.agreed():
        own = plain.with_name(f"{plain.stem}.rank{ranks.rank}{plain.suffix}") if ranks.world > 1 else plain
        return TraceFile.create(own)
