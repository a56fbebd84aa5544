"""The line of a file on its way to or from a store."""

from __future__ import annotations

import contextlib
import io
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, BinaryIO, cast

from asyncio_loader.progress.board import Board, process_board
from asyncio_loader.progress.layout import Field, fit_row, whole_row
from asyncio_loader.progress.words import as_bytes_of, as_duration, as_mb_per_s, as_percent, bar

__all__ = ["TransferLine", "showing_transfers", "transferring"]

# The rate is that of so many seconds.
_SPAN_S = 10.0
_MARK_EVERY_S = 0.5

# Whoever reads and writes files is far below whoever knows that somebody looks on.
_SHOWS = ContextVar("shows_transfers", default=False)


class TransferLine:
    """How far a transfer is. Advanced by one thread, read by another.

    Args:
        verb: ``upload`` or ``download``.
        name: of the file.
        total_bytes: how many bytes it will be, about; 0: not known.
        clock: seconds.
    """

    def __init__(self, verb: str, name: str, total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._names = (f"{verb} {name}", name, verb)
        self._total_bytes = total_bytes
        self._clock = clock
        self._began_s = clock()
        self._marks: deque[tuple[float, int]] = deque([(self._began_s, 0)])
        self.done_bytes = 0
        """Bytes that were handed over."""
        self.has_failed = False
        """Whether it ended before its end."""

    def advance(self, size_bytes: int) -> None:
        """More of it has moved."""
        self.done_bytes += size_bytes

    def rows(self, width: int) -> list[str]:
        """See `Line`: one row."""
        return [fit_row(self._fields(has_bar=True), width)]

    def plain(self) -> str:
        """See `Line`."""
        return whole_row(self._fields(has_bar=False))

    def summary(self, width: int | None = None) -> str:
        """See `Line`."""
        seconds = max(self._clock() - self._began_s, 1e-9)
        amount = f"{as_bytes_of(self.done_bytes, 0)} in {as_duration(seconds)}"
        fields = [
            Field(2, self._names),
            Field(1, (f"failed after {amount}",) if self.has_failed else (amount,)),
            Field(3, (as_mb_per_s(self.done_bytes / seconds),)),
        ]
        return whole_row(fields) if width is None else fit_row(fields, width)

    def _fields(self, *, has_bar: bool) -> list[Field]:
        rate = self._rate()
        speed = Field(3, (as_mb_per_s(rate),))
        amount = (as_bytes_of(self.done_bytes, self._total_bytes),)
        if not self._total_bytes:
            return [Field(2, self._names), Field(1, amount), speed]
        # What was said of the total is about: an archive has a frame.
        share = min(1.0, self.done_bytes / self._total_bytes)
        left = max(0, self._total_bytes - self.done_bytes)
        return [
            Field(2, self._names),
            Field(4, amount),
            Field(1, (as_percent(share),)),
            Field(6, tuple(bar(share, size) for size in (30, 20, 10)) if has_bar else ()),
            speed,
            Field(5, (f"ETA {as_duration(left / rate if rate > 0 else None)}",)),
        ]

    def _rate(self) -> float:
        now_s, done = self._clock(), self.done_bytes
        if now_s - self._marks[-1][0] >= _MARK_EVERY_S:
            self._marks.append((now_s, done))
        while len(self._marks) > 1 and now_s - self._marks[1][0] >= _SPAN_S:
            self._marks.popleft()
        at_s, earlier = self._marks[0]
        return (done - earlier) / (now_s - at_s) if now_s > at_s else 0.0


@contextlib.contextmanager
def showing_transfers() -> Iterator[None]:
    """Have `transferring` show what it is asked to, within the block and its thread. Elsewhere it shows nothing."""
    token = _SHOWS.set(True)
    try:
        yield
    finally:
        _SHOWS.reset(token)


@contextlib.contextmanager
def transferring(
    verb: str, name: str, total_bytes: int = 0, *, board: Board | None = None
) -> Iterator[Callable[[BinaryIO], BinaryIO]]:
    """Show a transfer for the length of a block; what it gives makes a file whose reads and writes count.

    Bytes count where the program hands them over: the last parts of an upload are under way when all of it has been
    written.

    Args:
        verb: see `TransferLine`; so are `name` and `total_bytes`.
        board: where. None: on that of the process, within `showing_transfers`.
    """
    if board is None and not _SHOWS.get():
        yield lambda file: file
        return
    line = TransferLine(verb, name, total_bytes)
    with (board or process_board()).show(line):
        try:
            yield lambda file: cast("BinaryIO", _Counted(file, line.advance))
        except BaseException:
            line.has_failed = True
            raise


class _Counted:
    """A file around a file, with what `torch.save` and `torch.load` ask for."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self.seek = file.seek
        self.tell = file.tell
        self.flush = file.flush

    def write(self, data: Any) -> int:
        written = self._file.write(data)
        self._advance(written)
        return written

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._advance(len(data))
        return data

    def readline(self, size: int = -1) -> bytes:
        data = self._file.readline(size)
        self._advance(len(data))
        return data

    def readinto(self, buffer: Any) -> int:
        count = int(cast("io.BufferedReader", self._file).readinto(buffer))
        self._advance(count)
        return count
