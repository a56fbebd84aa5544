"""What is shown at a time, by all loaders and transfers of a process: a terminal has one bottom."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asyncio_loader.bridge.ticker import Ticker
from asyncio_loader.progress.modes import choose_mode
from asyncio_loader.progress.output import Line, Output, open_output

__all__ = ["Board", "Shown", "process_board"]

# Four times a second looks alive, and costs a reading of the figures each.
_REFRESH_EVERY_S = 0.25

_PATIENCE_S = 1.0


class Board:
    """Shows lines while they are on it: a thread refreshes them, so that they also move while their consumer waits.

    That is when somebody looks at them: for an object that does not come, or within a step of ten seconds. What the
    consumer pays for is two calls in an iteration. Where the stream can no longer be written to, there is silence.

    Thread-safe; a line may also be taken off by the garbage collector. In a forked child the board is empty.

    Args:
        open_output: makes what shows them, with the first line; None: they are not shown. May raise ConfigError.
        ticks: starts calling a function every so often, until what it returns is stopped.
    """

    def __init__(
        self,
        open_output: Callable[[], Output | None],
        ticks: Callable[[Callable[[], None]], Ticker] = lambda tick: Ticker(tick, _REFRESH_EVERY_S),
    ) -> None:
        self._open_output = open_output
        self._ticks = ticks
        self._clear()

    def _clear(self) -> None:
        # The garbage collector may take a line off within any of the calls below, in the same thread.
        self._turn = threading.RLock()
        self._lines: tuple[Line, ...] = ()
        self._output: Output | None = None
        self._ticker: Ticker | None = None

    def show(self, line: Line) -> Shown:
        """Put a line on the board, until it is closed. Raises ConfigError of the environment."""
        with self._turn:
            if not self._lines:
                self._output = self._open_output()
                if self._output is not None:
                    self._ticker = self._ticks(self.refresh)
            self._lines = (*self._lines, line)
        return Shown(self, line)

    def refresh(self) -> None:
        """Show how they go now. The ticker calls it."""
        with self._turn:
            if not self._lines:
                self.close()
            elif self._output is not None:
                self._try(functools.partial(self._output.refresh, self._lines))

    def remove(self, line: Line) -> None:
        """Take a line off; its summary stays behind. Nothing where it is not there."""
        # A terminal that was stopped (Ctrl-S) holds up the ticker, but not the training. And the garbage collector may
        # call this within a `print`, which holds what the ticker waits for.
        has_turn = self._turn.acquire(timeout=_PATIENCE_S)
        try:
            if line in self._lines:
                self._lines = tuple(other for other in self._lines if other is not line)
                if has_turn:
                    self._end_of(line)
        finally:
            if has_turn:
                self._turn.release()

    def _end_of(self, line: Line) -> None:
        if self._output is not None:
            self._try(functools.partial(self._output.end, line))
        if not self._lines:
            self.close()

    def close(self) -> None:
        """Take everything off, without a word. Idempotent."""
        with self._turn:
            self._lines = ()
            output, self._output = self._output, None
            ticker, self._ticker = self._ticker, None
            if ticker is not None:
                ticker.stop()
            if output is not None:
                self._try(output.close)

    def forget(self) -> None:
        """In a forked child: it has a copy of the board and no thread, and the terminal is its parent's."""
        output = self._output
        # With a lock of its own: one that the parent's ticker held would stay locked.
        self._clear()
        if output is not None:
            output.forget()

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (OSError, ValueError):
            # The stream is closed, or nobody reads it: no reason to end what was shown.
            output, self._output = self._output, None
            if output is not None:
                output.forget()


class Shown:
    """A line on a board, for the length of a block or until `close`, which is idempotent."""

    def __init__(self, board: Board, line: Line) -> None:
        self._board = board
        self._line = line

    def close(self) -> None:
        """Take it off."""
        self._board.remove(self._line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_BOARD = Board(lambda: open_output(choose_mode(sys.stderr), sys.stderr))
atexit.register(_BOARD.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BOARD.forget)


def process_board() -> Board:
    """The board of this process, on standard error. It is cleared at exit, whoever still has a line on it."""
    return _BOARD
