"""How findings are shown: wrapped and coloured on a terminal, one line each anywhere else."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from typing import TextIO

from asyncio_loader.doctor.findings import Finding

__all__ = ["Screen"]

_COLORS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "failed": "\x1b[31m"}
_PLAIN = "\x1b[0m"
_LEVEL_CHARS = 8
# Below it the text begins near the edge.
_WIDE_CHARS = 60


class Screen:
    """A stream. Used from one thread.

    Args:
        stream: where it goes. On a terminal lines end where that does; colours are left out where ``NO_COLOR`` is set.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._counts: Counter[str] = Counter()

    @property
    def has_failed(self) -> bool:
        """Whether any finding so far is a failure."""
        return self._counts["failed"] > 0

    def say(self, text: str) -> None:
        """A line that is no finding."""
        self._write(self._wrap(text, "") if self._is_terminal else [text])

    def tell(self, finding: Finding) -> None:
        """A finding, at once."""
        self._counts[finding.level] += 1
        level = finding.level.ljust(_LEVEL_CHARS)
        if not self._is_terminal:
            advice = f" → {finding.advice}" if finding.advice else ""
            self._write([f"{level} {finding.name}: {finding.text}{advice}"])
            return
        indent = " " * (_LEVEL_CHARS + 1 if self._width >= _WIDE_CHARS else 2)
        lines = self._wrap(f"{level} {finding.name}: {finding.text}", indent)
        if finding.advice:
            lines += self._wrap(f"{indent}→ {finding.advice}", f"{indent}  ")
        color = "" if "NO_COLOR" in os.environ else _COLORS[finding.level]
        if color:
            lines[0] = f"{color}{finding.level}{_PLAIN}{lines[0][len(finding.level) :]}"
        self._write(lines)

    def sum_up(self) -> None:
        """The last line."""
        warnings, failures = self._counts["warning"], self._counts["failed"]
        parts = [f"{failures} failed"] if failures else []
        parts += [f"{warnings} {'warning' if warnings == 1 else 'warnings'}"] if warnings else []
        self.say(", ".join(parts) or "all is well")

    @property
    def _width(self) -> int:
        return shutil.get_terminal_size().columns

    def _wrap(self, text: str, indent: str) -> list[str]:
        return textwrap.wrap(
            text, max(self._width - 1, 20), subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True
        )

    def _write(self, lines: list[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()
