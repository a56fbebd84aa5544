"""Lines that move, at the bottom of a terminal. Needs rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from asyncio_loader.progress.output import Line
from asyncio_loader.progress.streams import Diversion
from asyncio_loader.progress.terminals import width_of
from asyncio_loader.progress.words import printable

__all__ = ["LiveOutput"]


class LiveOutput:
    """Rows at the bottom of a terminal, which are written anew at each refresh; what others print goes above them.

    The cursor is never hidden: a process that is killed leaves a terminal that has one.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = _Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        # Others write through the console at any time, which shows what is there anew: what was made last.
        self._rows = Text()
        self._live = Live(
            console=self._console,
            get_renderable=lambda: self._rows,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()
        self._diversion = Diversion(lambda stream: FileProxy(self._console, stream))

    def refresh(self, lines: Sequence[Line]) -> None:
        """See `Output`."""
        width = self._width()
        rows = [row for line in lines for row in line.rows(width)]
        self._rows = Text("\n".join(self._fitting(row)[:width] for row in rows))
        self._live.refresh()

    def end(self, line: Line) -> None:
        """See `Output`."""
        self._console.print(Text(self._fitting(line.summary(self._width()))))

    def close(self) -> None:
        """See `Output`."""
        self._diversion.end()
        self._rows = Text()
        self._live.stop()

    def forget(self) -> None:
        """See `Output`."""
        self._diversion.end()

    def _width(self) -> int:
        # A terminal that is written to in its last column may begin a new line.
        return max(1, width_of(self._stream) - 1)

    def _fitting(self, text: str) -> str:
        return printable(text, self._stream.encoding)


class _Console(Console):
    def show_cursor(self, show: bool = True) -> bool:
        return False

    def print(self, *objects: Any, **options: Any) -> None:
        """As it was written, also where a line is longer than the terminal is wide."""
        super().print(*objects, **{"soft_wrap": True, **options})
