"""What the demo shows: bars that move on a terminal, plain lines anywhere else, a table at the end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Advance", "Screen"]

Advance = Callable[[int, str], None]
"""Tells how many are done, and something about the last one."""

# Lines per bar where there is no terminal.
_LINES = 10


class Screen:
    """Standard output. Used from one thread at a time."""

    def __init__(self) -> None:
        # Bound to this stream: pycocotools' output is caught by swapping `sys.stdout`, and a bar must not follow it.
        self._console = Console(file=sys.stdout, highlight=False)

    def say(self, text: str) -> None:
        """A line."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, name: str, total: int) -> Iterator[Advance]:
        """A bar from 0 to `total` for the length of the block."""
        if not self._console.is_terminal:
            yield self._line_by_line(name, total)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self._console) as bars:
            bar = bars.add_task(name, total=total, note="")
            yield lambda done, note: bars.update(bar, completed=done, note=note)

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
