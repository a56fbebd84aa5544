"""A terminal to write to: a pty, and what a person sees on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

__all__ = ["Pty", "Screen"]

_TOKEN = re.compile(r"\x1b\[(?P<amount>[\d;?]*)(?P<code>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


class Screen:
    """Interprets what rich writes: text, CR, LF, cursor up, erase line. Long lines wrap.

    Attributes:
        lines: all there ever were, from the top.
        has_cursor: whether the cursor is shown.
        modes: escape codes that it does not know, by their last letter.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        self.has_cursor = True
        self.modes: set[str] = set()

    def write(self, text: str) -> None:
        for token in _TOKEN.finditer(text):
            if token["text"]:
                for char in token["text"]:
                    self._put(char)
            elif token["control"] == "\r":
                self.column = 0
            elif token["control"] == "\n":
                self._down()
            else:
                self._obey(token["code"], token["amount"])

    def _put(self, char: str) -> None:
        if self.column == self.columns:
            self._down()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _obey(self, code: str, amount: str) -> None:
        if code == "A":
            self.row = max(0, self.row - int(amount or 1))
        elif code == "K":
            self.lines[self.row] = "" if amount == "2" else self.lines[self.row][: self.column]
        elif code in "hl" and amount == "?25":
            self.has_cursor = code == "h"
        elif code != "m":
            self.modes.add(code)


class Pty:
    """A pseudo-terminal of a size. A context manager; `stream` is what a program here would write to."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.stream: TextIO = open(self.slave, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        self.screen = Screen(columns or 80)
        self.text = ""

    def run(self, command: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program on it."""
        return subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=dict(environ), start_new_session=True
        )

    def read(self, timeout_s: float = 0.0) -> str:
        """What has been written since; waits so long for the first of it. It is on the screen then."""
        read = b""
        while select.select([self._master], [], [], 0.0 if read else timeout_s)[0]:
            try:
                read += os.read(self._master, 65536)
            except OSError:
                # Nobody has the other side open any more.
                break
        text = read.decode("utf-8", "replace")
        self.text += text
        self.screen.write(text)
        return text

    @contextlib.contextmanager
    def being_read(self) -> Iterator[None]:
        """Read in a thread meanwhile, and all of it at the end: a terminal that nobody reads is full after 4 KB."""
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                self.read(0.05)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()
            self.read()

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        os.close(self.slave)
        os.close(self._master)
