"""The record of a run: what its loaders did, second by second, in a small file that outlives it.

::

    from asyncio_loader.record import StatsRecorder

    with StatsRecorder({"train": train_loader, "val": val_loader}, "record.jsonl"):
        train(train_loader, val_loader)

and afterwards ``asyncio-loader report record.jsonl``, or `read_record`. ``asyncio-loader train`` writes one into the
log directory of every run.

The file has one JSON object per line, of three kinds, told apart by ``kind``:

- ``run``: the first line, and another one wherever a later process goes on in the same file. ``format`` (1), ``time``
  (UTC), ``pid``, ``rank``, ``versions``, and ``options``: what each loader was told.
- ``step``: what a loader did in the ``over_s`` seconds before ``at_s`` (seconds since the ``run`` line): ``stats`` has
  the numbers of `LoaderStats` by their names, those that are 0 left out; ``slowest`` the objects that are new among the
  ten. One each second for ten minutes, one each ten seconds later; none while a loader stands still.
- ``whole``: each minute and at the end, everything since the ``run`` line, histograms included: ``durations`` has
  ``[place, count]`` of each step of `Durations` that is not empty.

A line is some 400 bytes, with a histogram a few thousand: a day makes about 7 MB, which are read in half a second.
Lines are appended by one write each, so that a process which is killed leaves at most half a line, which a reader
passes over and the next process ends.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio_loader.record.reading import RunRecord, Segment, Step, parse_record, read_record
    from asyncio_loader.record.recorder import StatsRecorder

__all__ = ["RunRecord", "Segment", "StatsRecorder", "Step", "parse_record", "read_record"]

# On first use: whoever reads a record needs no torch.
_HOMES = {
    **dict.fromkeys(("RunRecord", "Segment", "Step", "parse_record", "read_record"), "reading"),
    "StatsRecorder": "recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
