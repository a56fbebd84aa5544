"""What was found: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from asyncio_loader.errors import LoaderError

__all__ = ["Finding", "Level", "of_error"]

Level: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``"ok"``; ``"warning"``: training works, and worse than it could; ``"failed"``: it does not work.
        name: what was looked at, a word or two.
        text: what was found, one line.
        advice: what to do, one line; empty where there is nothing.
    """

    level: Level
    name: str
    text: str
    advice: str = ""


def of_error(name: str, error: LoaderError, uri: str, *, level: Level = "failed", advice: str = "") -> Finding:
    """What an error says; behind its last semicolon the messages of this package say what to do about it.

    Args:
        name: see `Finding`.
        error: what went wrong.
        uri: what all is about, which the line need not repeat.
        level: see `Finding`.
        advice: in place of what the message says to do.
    """
    text = " ".join(str(error).split()).removeprefix(f"{uri}: ")
    said, _, own = text.partition("; ")
    return Finding(level, name, said, advice or own)
