"""The file of a trace: a JSON array with an event per line, to which any number of processes append."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike, fspath

from asyncio_loader.checks import whole_number
from asyncio_loader.errors import ConfigError
from asyncio_loader.trace.events import args_text

__all__ = ["TraceFile"]

MIB = 1024 * 1024

_CLOSING = b"\n]\n"

# An event is far shorter; what a killed process has left of one is looked for in as many bytes of the end.
_LONGEST_TAIL = MIB


@dataclass(frozen=True, slots=True)
class TraceFile:
    """Where a trace goes. A value: it pickles, and several loaders and processes of a machine may write to one.

    The file is a complete JSON array after every `append`. A process that is killed in the middle of one may leave it
    without its end; viewers, `read_trace` and the next `append` take it nevertheless.

    Attributes:
        path: absolute path of a local file.
        max_bytes: size that the file does not exceed, over all who write to it.
        label: what tells the tracks of this loader from those of others in the file; may be empty.
    """

    path: str
    max_bytes: int = 256 * MIB
    """Some 100,000 objects, at 2.5 KB each (measured), and about what a browser opens in good time."""
    label: str = ""

    @classmethod
    def create(cls, path: str | PathLike[str], *, max_bytes: int = 256 * MIB, label: str = "") -> TraceFile:
        """Begin a file, in place of one that may be there.

        Args:
            path: of a local file, in a directory that exists.
            max_bytes: see `TraceFile`; at least a MiB.
            label: see `TraceFile`.

        Raises:
            ConfigError: it is no such path, or cannot be written.
        """
        whole_number("trace: max_bytes", max_bytes, least=MIB)
        if not isinstance(path, str | PathLike) or not isinstance(fspath(path), str) or not fspath(path):
            raise ConfigError(f"trace must be a path or a TraceFile, not {path!r}")
        text = fspath(path)
        if "://" in text:
            raise ConfigError(f"trace={text!r} must be a local path: events are appended, which no object store can do")
        try:
            # Through a link, and into a file that somebody else reads: what is there is emptied, not replaced.
            with open(text, "wb") as file:
                file.write(b"[\n" + _beginning() + _CLOSING)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"trace={text!r} cannot be written: {said}") from error
        return cls(os.path.abspath(text), max_bytes, label)

    @classmethod
    def of(cls, value: str | PathLike[str] | TraceFile | None) -> TraceFile | None:
        """An argument ``trace=``: a path is created, which see also for the errors."""
        return value if value is None or isinstance(value, TraceFile) else cls.create(value)

    def labelled(self, label: str) -> TraceFile:
        """The same file, for another loader."""
        return replace(self, label=label)

    def append(self, lines: Sequence[str]) -> bool:
        """Add events, each one line of ASCII. From any thread and process; blocks while another one appends.

        Returns:
            False where they would make the file larger than `max_bytes`: nothing was written, and it is full.

        Raises:
            OSError: it could not be written, and is as it was.
        """
        data = b",\n" + ",\n".join(lines).encode("ascii") + _CLOSING
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            # Of the open file, hence also between threads; gone when the process ends, in whatever way.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = _end_of_events(descriptor, self.path)
            if end + len(data) > self.max_bytes:
                return False
            _write(descriptor, data, end, self.path)
        finally:
            # Not left to the closing: a process that was forked meanwhile has the file open, too, for all its life.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
        return True


def _beginning() -> bytes:
    """Tells the time of day at one of the clock's times, and that it is a trace of ours."""
    at_s, now = time.perf_counter(), datetime.now(UTC).isoformat(timespec="microseconds")
    pid = os.getpid()
    args = args_text({"time": now})
    return (
        f'{{"ph":"i","s":"g","cat":"trace","name":"asyncio_loader trace","pid":{pid},"tid":{pid},'
        f'"ts":{int(at_s * 1e6)},"args":{args}}}'
    ).encode("ascii")


def _end_of_events(descriptor: int, path: str) -> int:
    """Where the last whole event ends."""
    size = os.fstat(descriptor).st_size
    if os.pread(descriptor, len(_CLOSING), max(0, size - len(_CLOSING))) == _CLOSING:
        return size - len(_CLOSING)
    # Somebody was killed. The last line may be half of an event.
    start = max(0, size - _LONGEST_TAIL)
    place = os.pread(descriptor, _LONGEST_TAIL, start).rfind(b",\n")
    if place < 0:
        raise OSError(errno.EINVAL, "no trace of this loader, or one that somebody else has changed", path)
    return start + place


def _write(descriptor: int, data: bytes, at: int, path: str) -> None:
    # Where there is no room for any of it this raises, and the file is as it was.
    written = os.pwrite(descriptor, data, at)
    if written == len(data):
        os.ftruncate(descriptor, at + written)
        return
    # The disk is full now. The old end needs no more room than it had.
    os.ftruncate(descriptor, at)
    os.pwrite(descriptor, _CLOSING, at)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
