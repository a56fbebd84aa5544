"""The log files of a run, copied to where the config wants them when the run ends, however it ends."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from asyncio_loader.errors import LoaderError
from asyncio_loader.training.destinations import Destination
from asyncio_loader.training.out_dirs import OutDir

__all__ = ["LONGEST_LOG_NAME", "LogOutput", "LogShipment", "shipped"]

_LOG = logging.getLogger(__name__)

LONGEST_LOG_NAME = "20260101_000000/vis_data/20260101_000000.json"
"""No file that mmengine makes in its log directory has a longer one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOutput:
    """What a ``TextLoggerHook`` wants.

    Attributes:
        out_dir: where copies go.
        keep_local: whether the files stay in the work directory.
        suffixes: ends of the names of the files.
    """

    out_dir: OutDir
    keep_local: bool
    suffixes: tuple[str, ...]


class LogShipment:
    """Copies the log, the scalars and the config of one run, under the names they have in the work directory.

    mmengine writes scalars and config twice, for its visualizers: what has the content of another file is not copied.

    Args:
        outputs: what is wanted, with the places.
        work_dir: of the run.
        log_dir: the run's own directory in it.
        config: the file in `work_dir` that the config was written to.
    """

    def __init__(
        self, outputs: Sequence[tuple[LogOutput, Destination]], work_dir: Path, log_dir: Path, config: Path
    ) -> None:
        root = os.path.abspath(work_dir)
        # An out_dir may well be the parent of the work directory: then the logs are there already.
        self._outputs = [(output, place) for output, place in outputs if place.directory != root]
        self._root = Path(root)
        self._log_dir = Path(os.path.abspath(log_dir))
        self._config = Path(os.path.abspath(config))
        self._lock = threading.Lock()
        self._is_sent = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._outputs)

    @property
    def log_dir(self) -> Path:
        """Where the files are."""
        return self._log_dir

    def send(self) -> None:
        """Copy the files; those that need not stay are removed when all copies are safe. Only the first call does it.

        Any thread may call it; one that comes while another is at it waits.

        Raises:
            LoaderError: a file could not be copied. All of them are still in the work directory then.
        """
        with self._lock:
            if self._is_sent:
                return
            paths = [path for path in (self._config, *sorted(self._log_dir.rglob("*"))) if path.is_file()]
            sent = [path for output, place in self._outputs for path in self._copy(paths, output, place)]
            self._is_sent = True
            if not all(output.keep_local for output, _ in self._outputs):
                self._remove(sent)

    def _copy(self, paths: Sequence[Path], output: LogOutput, place: Destination) -> list[Path]:
        """Those of the paths that are safe now."""
        paths = [path for path in paths if path.name.endswith(output.suffixes)]
        copied: list[Path] = []
        for path in paths:
            name = path.relative_to(self._root).as_posix()
            try:
                if any(path.suffix == other.suffix and filecmp.cmp(path, other, shallow=False) for other in copied):
                    continue
                with path.open("rb") as source, place.open(name) as target:
                    shutil.copyfileobj(source, target)
            except (LoaderError, OSError) as error:
                raise LoaderError(f"{place.at(name)}: the upload failed; the log stays as {path}: {error}") from error
            copied.append(path)
        return paths

    def _remove(self, paths: list[Path]) -> None:
        for path in dict.fromkeys(paths):
            try:
                path.unlink()
            except OSError as error:
                _LOG.warning("%s was copied, but could not be removed and stays: %s", path, error)
        for directory in sorted({path.parent for path in paths} - {self._root}, reverse=True):
            # Not empty: there is something in it that nobody wanted copied.
            with suppress(OSError):
                directory.rmdir()


@contextmanager
def shipped(
    shipment: LogShipment, logger: logging.Logger, before_kill: Callable[[Callable[[], None]], None] | None
) -> Iterator[None]:
    """Copy the log at the end of the block. Why the block ended is in the log; that is what it is copied for.

    Args:
        shipment: what is copied.
        logger: the run's.
        before_kill: is given `LogShipment.send`, if there is anything to do.

    Raises:
        LoaderError: a file could not be copied. Where the block ended with an error it is a warning instead, and the
            block's own error goes on.
    """
    if before_kill and shipment:
        before_kill(shipment.send)
    try:
        yield
    except BaseException as error:
        _log_end(logger, error)
        try:
            _send(shipment)
        except (LoaderError, OSError) as failure:
            _LOG.warning("%s", failure)
        raise
    _send(shipment)


def _send(shipment: LogShipment) -> None:
    """Send it, once more where an interrupt comes in between: torchrun's SIGTERM follows the error of a lost rank."""
    try:
        shipment.send()
    except KeyboardInterrupt:
        shipment.send()
        raise


def _log_end(logger: logging.Logger, error: BaseException) -> None:
    """Write to the log file alone: whoever called is told by the error itself."""
    trace = None if isinstance(error, LoaderError | KeyboardInterrupt) else (type(error), error, error.__traceback__)
    arguments = (type(error).__name__, error)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, "training ended: %s: %s", arguments, trace)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
