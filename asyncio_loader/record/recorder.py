"""Writes down what loaders do while they do it."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Self

from asyncio_loader.bridge.ticker import Ticker
from asyncio_loader.errors import ConfigError
from asyncio_loader.metrics.sources import Source, Sources, as_mapping, rank_label
from asyncio_loader.record.lines import FORMAT, RUN, STEP, WHOLE, durations_json, line_of, numbers_json
from asyncio_loader.record.settings import options_of, versions
from asyncio_loader.stats import LoaderStats

__all__ = ["StatsRecorder"]

_LOG = logging.getLogger(__name__)

# Who looks at the start of a run wants seconds; of a run of days, ten seconds are plenty, and 8,640 lines a day.
_FINE_LINES = 600
_COARSER = 10
_LINES_PER_WHOLE = 60


class StatsRecorder:
    """Appends the figures of loaders to a file, each second for the first ten minutes and each ten seconds later.

    It begins when made, in a thread of its own that reads `stats()`, and ends at `close`, at exit of the interpreter,
    or soon after the last of the loaders is gone: it keeps none alive, and need not be kept itself. In a forked child
    nothing is written. What goes wrong later on, as on a full disk, is one warning and the end of the record, never of
    the run.

    See the docstring of `asyncio_loader.record` for what is in the file. `close` is for any thread.
    """

    def __init__(
        self, loaders: Source | Mapping[str, Source], file: str | PathLike[str], *, every_s: float = 1.0
    ) -> None:
        """Begin.

        Args:
            loaders: a `Loader`, a dataset or a torch DataLoader of one (before its workers start), or several of them
                by name; one alone is called "train".
            file: a local path. Directories are made; a file that is there is gone on with.
            every_s: seconds from line to line in the beginning, ten times as many later.

        Raises:
            ConfigError: an argument is of no use, or the file cannot be written.
        """
        if not isinstance(every_s, int | float) or isinstance(every_s, bool) or not 0 < every_s < 3600:
            raise ConfigError(f"every_s must be seconds between 0 and 3600, not {every_s!r}")
        sources = Sources()
        named = as_mapping(loaders)
        for name, source in named.items():
            sources.add(name, source)
        descriptor = _open(file)
        self._writer = _Writer(sources, descriptor, fspath(file), every_s, time.monotonic)
        self._writer.begin({name: options_of(source) for name, source in named.items()})
        self._writer.start()

    def close(self) -> None:
        """Write what has happened since the last line, and end. Idempotent."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(slots=True)
class _Track:
    """A loader's figures when the record began and when they were last looked at, and when that was."""

    first: LoaderStats
    last: LoaderStats
    looked_s: float
    was_active: bool = False
    is_written: bool = False


class _Writer:
    """What the thread holds; it holds the loaders by weak references only.

    Args:
        sources: whose figures.
        descriptor: of the file, for appending; closed by `close`.
        path: of the file, for messages.
        every_s: see `StatsRecorder`.
        clock: seconds, monotonic.
    """

    def __init__(
        self, sources: Sources, descriptor: int, path: str, every_s: float, clock: Callable[[], float]
    ) -> None:
        self._sources = sources
        self._descriptor = descriptor
        self._path = path
        self._every_s = every_s
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._is_over = False
        self._ticker: Ticker | None = None
        self._begin_s = clock()
        self._due_s = every_s
        self._lines = 0
        self._tracks = {name: _Track(stats, stats, 0.0) for name, stats in self._read().items()}

    def begin(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        """The first line. Raises ConfigError."""
        head = {
            "kind": RUN,
            "format": FORMAT,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "pid": self._pid,
            "rank": rank_label(),
            "versions": versions(),
            "options": options,
        }
        try:
            self._append(line_of(head))
        except OSError as error:
            os.close(self._descriptor)
            raise ConfigError(f"record {self._path!r} cannot be written: {error.strerror}") from error

    def start(self) -> None:
        """Have a thread do the rest."""
        atexit.register(self.close)
        self._ticker = Ticker(self.tick, self._every_s)

    def tick(self) -> None:
        """Write what is due."""
        with self._lock:
            if self._is_over:
                return
            now_s = self._clock() - self._begin_s
            if now_s < self._due_s:
                return
            self._lines += 1
            is_coarse = self._lines >= _FINE_LINES
            self._due_s = now_s + self._every_s * (_COARSER if is_coarse else 1) * 0.99
            lines_per_whole = _LINES_PER_WHOLE // _COARSER if is_coarse else _LINES_PER_WHOLE
            self._write(now_s, is_whole=self._lines % lines_per_whole == 0)

    def close(self) -> None:
        """Write the rest, and end. In a forked child only the end, and the lock may be anybody's there."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if not self._is_over:
                self._write(self._clock() - self._begin_s, is_whole=True)
                self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._ticker is not None:
            self._ticker.stop()
        atexit.unregister(self.close)
        os.close(self._descriptor)

    def _read(self) -> dict[str, LoaderStats]:
        """The figures of those that are alive, all processes of each together."""
        found: dict[str, LoaderStats] = {}
        for reading in self._sources.read():
            before = found.get(reading.loader)
            found[reading.loader] = reading.stats if before is None else before + reading.stats
        return found

    def _write(self, now_s: float, *, is_whole: bool) -> None:
        """Write of all loaders; end where the last is gone, or something is in the way."""
        try:
            stats = self._read()
            lines: list[bytes] = []
            for name, track in self._tracks.items():
                lines += self._lines_of(name, track, now_s, stats.get(name), is_whole or not stats)
            self._append(b"".join(lines))
        except OSError as error:
            # Besides the disk: the figures of worker processes are in a file, too.
            _LOG.warning("%s: the record of the run ends here: %s", self._path, error.strerror)
            self._end()
            return
        if not stats:
            self._end()

    def _lines_of(
        self, name: str, track: _Track, now_s: float, stats: LoaderStats | None, is_whole: bool
    ) -> list[bytes]:
        lines = []
        if stats is not None:
            grown = stats.since(track.last)
            over_s, track.last, track.looked_s = now_s - track.looked_s, stats, now_s
            is_active = _has_happened(grown)
            # One more line when it comes to a stop: a curve falls to 0 there.
            if is_active or (track.was_active and over_s > 0):
                step = {"kind": STEP, "loader": name, "at_s": round(now_s, 3), "over_s": round(over_s, 3)}
                lines.append(line_of({**step, "stats": numbers_json(grown), **_slowest_json(grown)}))
                track.is_written = True
            track.was_active = is_active
        if is_whole and track.is_written:
            whole = track.last.since(track.first)
            lines.append(
                line_of(
                    {
                        "kind": WHOLE,
                        "loader": name,
                        "at_s": round(track.looked_s, 3),
                        "stats": numbers_json(whole),
                        "durations": durations_json(whole),
                        **_slowest_json(whole),
                    }
                )
            )
        return lines

    def _append(self, data: bytes) -> None:
        """In one write; of a disk that is full half a line may get there, and is the last."""
        if data and os.write(self._descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)


def _has_happened(grown: LoaderStats) -> bool:
    return bool(grown.samples or grown.gets or grown.elapsed_s or grown.failed or grown.bytes_fetched)


def _slowest_json(stats: LoaderStats) -> dict[str, list[tuple[float, str]]]:
    return {"slowest": [(round(slow.wait_s, 6), slow.uri) for slow in stats.slowest]} if stats.slowest else {}


def _open(file: str | PathLike[str]) -> int:
    if not isinstance(file, str | PathLike) or not isinstance(fspath(file), str) or not fspath(file):
        raise ConfigError(f"record must be a path, not {file!r}")
    path = fspath(file)
    if "://" in path:
        raise ConfigError(f"record {path!r} must be a local path: lines are appended, which no object store can do")
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"record {path!r} cannot be written: {said}") from error
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # Whoever wrote it was killed in the middle of a line.
        os.write(descriptor, b"\n")
    return descriptor
