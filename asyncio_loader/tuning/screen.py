"""The live line: rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from asyncio_loader.progress.terminals import is_terminal, width_of
from asyncio_loader.progress.words import printable

__all__ = ["LiveLine"]

_CLEAR_TO_END = "\x1b[K"
# Where there is no terminal, a line so often.
_PLAIN_EVERY_S = 5.0


class LiveLine:
    """One line of a stream that tells what goes on. Used from one thread.

    Args:
        stream: usually the standard error, so that what is redirected is the result.
        clock: seconds, for the pace of plain lines.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = is_terminal(stream)
        self._is_dirty = False
        self._said_s = clock()

    def show(self, text: str) -> None:
        """What goes on now; the next one takes its place."""
        if self._is_terminal:
            # Its last column may begin a new line.
            width = max(1, width_of(self._stream) - 1)
            text = printable(text, self._stream.encoding)
            self._write(f"\r{text[:width]}{_CLEAR_TO_END}")
            self._is_dirty = True
        elif self._clock() - self._said_s >= _PLAIN_EVERY_S:
            self.keep(text)

    def keep(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._write(f"{printable(text, self._stream.encoding)}\n")
        self._said_s = self._clock()

    def clear(self) -> None:
        """Take the live line away."""
        if self._is_dirty:
            self._write(f"\r{_CLEAR_TO_END}")
            self._is_dirty = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
