"""Counters of worker processes that the process which started them can read."""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from multiprocessing.context import get_spawning_popen
from typing import Any

from asyncio_loader.stats import NUMBERS, Counters, LoaderStats

__all__ = ["SharedCounters", "WorkerCounters"]

_LOG = logging.getLogger(__name__)

# What is a number. Doubles hold whole numbers up to 2**53 exactly: 9 PB of images.
_SHARED = tuple(f for f in fields(LoaderStats) if f.name in NUMBERS)

# Number of the worker, then the figures. A power of two, so that no row lies on two pages: a full disk may lack one.
_ROW_BYTES = 1 << (8 * (1 + len(_SHARED)) - 1).bit_length()


class WorkerCounters:
    """A file of counters among the temporary files: a row for each worker process that ever began to iterate.

    The file is mapped into the memory of its processes, and a worker's `Counters` lie in its row themselves: nothing is
    copied or sent, at no time. So what a worker has counted is there however it ends, SIGKILL included, and as no two
    processes ever have the same row, nothing is counted twice or overwritten: also not while the workers of an
    iteration that was left are still ending. A process takes a row by appending it, which the system does in one piece;
    there is no lock. Rows are kept: 8 workers that are new in each of 1,000 epochs make 4 MB.

    Works under fork, spawn and forkserver. The file goes with this object, in the process that made it; a process that
    is killed leaves it behind. Pickled for a worker it is where that one counts; any other copy of it is None.
    """

    def __init__(self) -> None:
        """Make the file. Raises OSError."""
        descriptor, self._path = tempfile.mkstemp(prefix="asyncio-loader-", suffix=".counters")
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _remove, self._path, descriptor, self._pid)

    @property
    def is_own(self) -> bool:
        """Whether this process made it, and so is the one that reads it."""
        return self._pid == os.getpid()

    def claim(self, worker: int) -> Counters:
        """New counters in a row of their own, for this process, which is the worker of that number.

        Where the file cannot be had any more, they are counters that nobody else sees, and a warning says so: a run is
        not ended for its metrics.
        """
        return _claim(self._path, worker)

    def read(self) -> list[tuple[int, LoaderStats]]:
        """Number of the worker and its figures, for each process so far, in the order in which they began.

        From any thread of the process that made it. Figures of one process may be one event apart.
        """
        # By the descriptor: whatever tidies up old temporary files does not reach it.
        size = os.fstat(self._descriptor).st_size // _ROW_BYTES * _ROW_BYTES
        if not size:
            return []
        # Mapped, so that a number is loaded in one piece; `read` of a file promises none.
        with (
            mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as raw,
            raw.cast("d") as cells,
        ):
            values = cells.tolist()
        begins = range(0, len(values), _ROW_BYTES // 8)
        return [(int(values[n]), _stats_of(values[n + 1 : n + 1 + len(_SHARED)])) for n in begins]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (_nothing, ()) if get_spawning_popen() is None else (_Claimable, (self._path,))


class _Claimable:
    """What a spawned worker gets of a `WorkerCounters`."""

    is_own = False

    def __init__(self, path: str) -> None:
        self._path = path

    def claim(self, worker: int) -> Counters:
        """See `WorkerCounters`."""
        return _claim(self._path, worker)


class SharedCounters(Counters):
    """`Counters` whose numbers lie in a row of a file that is mapped into memory. Anything else is the process's own.

    A count takes 0.2 µs longer than on an attribute (timeit), and a sample some twenty of them.
    """

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        """Args: cells: the row, as doubles."""
        self._cells = cells
        super().__init__()


def _cell(index: int, kind: Callable[[float], float]) -> property:
    def read(self: SharedCounters) -> float:
        return kind(self._cells[index])

    def write(self: SharedCounters, value: float) -> None:
        self._cells[index] = value

    return property(read, write)


def _kind(field: Field[Any]) -> type[int] | type[float]:
    return int if isinstance(field.default, int) else float


for _index, _field in enumerate(_SHARED):
    setattr(SharedCounters, _field.name, _cell(_index, _kind(_field)))


def _claim(path: str, worker: int) -> Counters:
    try:
        return SharedCounters(_append(path, worker))
    except OSError as error:
        _LOG.warning("worker %d: its figures will be missing in the metrics: %s: %s", worker, path, error.strerror)
        return Counters()


def _append(path: str, worker: int) -> memoryview[float]:
    """Append a row, and map it. Doubles."""
    row = memoryview(bytearray(_ROW_BYTES)).cast("d")
    row[0] = worker
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        # Written rather than left out: what lies in mapped memory must have its place on the disk already.
        os.write(descriptor, row.cast("B"))
        begin = os.lseek(descriptor, 0, os.SEEK_CUR) - _ROW_BYTES
        start = begin // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(descriptor, begin - start + _ROW_BYTES, offset=start)
    finally:
        os.close(descriptor)
    return memoryview(mapped)[begin - start :].cast("d")[1 : 1 + len(_SHARED)]


def _stats_of(values: Sequence[float]) -> LoaderStats:
    named: dict[str, Any] = {f.name: _kind(f)(value) for f, value in zip(_SHARED, values, strict=True)}
    return LoaderStats(**named)


def _nothing() -> None:
    """What a copy of a `WorkerCounters` is that is made for no worker."""


def _remove(path: str, descriptor: int, pid: int) -> None:
    # A forked child has a copy of the descriptor, but the file is not its own.
    os.close(descriptor)
    if os.getpid() == pid and os.path.exists(path):
        os.unlink(path)
