"""Where lines of progress go: plain lines into any stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from asyncio_loader.progress.modes import Mode
from asyncio_loader.progress.words import printable

__all__ = ["Line", "Output", "PlainOutput", "open_output"]

# Where there is no terminal, a line so often.
PLAIN_EVERY_S = 10.0


class Line(Protocol):
    """Something that goes on, and can tell how it goes."""

    def rows(self, width: int) -> list[str]:
        """How it goes, in a few rows of at most `width` characters."""
        ...

    def plain(self) -> str:
        """How it goes, in one line of any length."""
        ...

    def summary(self, width: int | None = None) -> str:
        """How it went, in one line of at most `width` characters; None: of any length."""
        ...


class Output(Protocol):
    """What shows lines. Used from one thread at a time. Its methods raise OSError and ValueError of the stream."""

    def refresh(self, lines: Sequence[Line]) -> None:
        """Show how these go now."""
        ...

    def end(self, line: Line) -> None:
        """Write how it went, to stay."""
        ...

    def close(self) -> None:
        """Take away what moves. Idempotent."""
        ...

    def forget(self) -> None:
        """As `close`, but nothing is written: in a forked child, where the terminal is the parent's to write to."""
        ...


class PlainOutput:
    """A line for each line every ten seconds, and what stays.

    Args:
        stream: where they go.
        clock: seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._said_s = clock()

    def refresh(self, lines: Sequence[Line]) -> None:
        """See `Output`."""
        now_s = self._clock()
        if now_s - self._said_s >= PLAIN_EVERY_S:
            self._said_s = now_s
            for line in lines:
                self._say(line.plain())

    def end(self, line: Line) -> None:
        """See `Output`."""
        self._say(line.summary())

    def close(self) -> None:
        """See `Output`."""

    def forget(self) -> None:
        """See `Output`."""

    def _say(self, text: str) -> None:
        self._stream.write(f"{printable(text, getattr(self._stream, 'encoding', None))}\n")
        self._stream.flush()


def open_output(mode: Mode, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> Output | None:
    """What shows lines in a mode; None: nothing does."""
    if mode is Mode.OFF:
        return None
    if mode is Mode.PLAIN:
        return PlainOutput(stream, clock)
    # Not before a line is really shown: rich is of an extra, and takes its time.
    from asyncio_loader.progress.live import LiveOutput

    return LiveOutput(stream)
