"""What a stream is: a terminal or not, and how wide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

__all__ = ["is_terminal", "width_of"]

# Terminals by name that do not move their cursor. Without a name nothing is known of what they can do.
_DUMB = ("", "dumb", "unknown")

_USUAL_COLUMNS = 80


def is_terminal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    try:
        has_one = stream.isatty()
    except ValueError:
        # It is closed.
        return False
    return has_one and environ.get("TERM", "").lower() not in _DUMB


def width_of(stream: TextIO) -> int:
    """Columns of a terminal; 80 where it does not say, or says 0. COLUMNS in the environment counts first."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS
