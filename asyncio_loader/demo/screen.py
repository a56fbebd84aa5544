"""What the demo shows: lines that move on a terminal, plain ones anywhere else, a table at the end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.table import Table

from asyncio_loader.progress import Board, Mode, StepLine, choose_mode, open_output

__all__ = ["Advance", "Screen"]

Advance = Callable[[int, str], None]
"""Tells how many are done, and something about the last one."""

# Lines per bar where there is no terminal.
_LINES = 10


class Screen:
    """Standard output. Used from one thread at a time."""

    def __init__(self) -> None:
        # Bound to this stream: pycocotools' output is caught by swapping `sys.stdout`, and a line must not follow it.
        self._stream = sys.stdout
        self._console = Console(file=sys.stdout, highlight=False)

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, name: str, total: int) -> Iterator[Advance]:
        """A line from 0 to `total` for the length of the block."""
        if choose_mode(self._stream) is not Mode.LIVE:
            yield self._line_by_line(name, total)
            return
        line = StepLine(name, total)
        with Board(lambda: open_output(Mode.LIVE, self._stream)).show(line):
            yield line.advance

    def table(self, title: str, rows: Mapping[str, str]) -> None:
        """Names and values."""
        table = Table(title=title, show_header=False, title_justify="left")
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(table)

    def _line_by_line(self, name: str, total: int) -> Advance:
        def advance(done: int, note: str) -> None:
            # The step that passes a tenth speaks for it.
            if done * _LINES // total > (done - 1) * _LINES // total:
                self.say(f"{name} {done}/{total}  {note}".rstrip())

        return advance
