"""Text that others write while a live line is there: it goes above it."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TextIO, cast

__all__ = ["Diversion", "following"]

_Name = Literal["stdout", "stderr"]


class Diversion:
    """Has `print` and the root logger's handlers write to a proxy wherever they would write to the terminal.

    Not rich's own redirection: that puts the stream of before back whatever has become of `sys.stdout` meanwhile.

    Args:
        proxy: makes what is written to in the place of a stream.
    """

    def __init__(self, proxy: Callable[[TextIO], io.TextIOBase]) -> None:
        self._streams: dict[_Name, tuple[TextIO, TextIO]] = {}
        self._handlers: list[tuple[logging.StreamHandler[Any], Any, TextIO]] = []
        names: tuple[_Name, ...] = ("stdout", "stderr")
        for name in names:
            stream = getattr(sys, name)
            # Where it is a file or a pipe, nothing of it belongs on the terminal.
            if stream is not None and _is_terminal(stream):
                self._streams[name] = stream, cast("TextIO", proxy(stream))
        for name, (stream, diverted) in self._streams.items():
            setattr(sys, name, diverted)
            for handler in logging.root.handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                    handler.setStream(diverted)
                    self._handlers.append((handler, stream, diverted))

    def end(self) -> None:
        """Put everything back that nobody has changed since."""
        for handler, stream, diverted in self._handlers:
            if handler.stream is diverted:
                handler.setStream(stream)
        for name, (stream, diverted) in self._streams.items():
            if getattr(sys, name) is diverted:
                setattr(sys, name, stream)
        self._handlers.clear()
        self._streams.clear()


class _Current(io.TextIOBase):
    """Whatever `sys.stdout`, or `sys.stderr`, is at the time."""

    def __init__(self, name: _Name) -> None:
        self._name = name

    def write(self, text: str) -> int:
        return int(getattr(sys, self._name).write(text))

    def flush(self) -> None:
        getattr(sys, self._name).flush()


@contextlib.contextmanager
def following(handlers: Iterable[logging.Handler]) -> Iterator[None]:
    """Have handlers of a logger write to what `sys.stdout` and `sys.stderr` are at the time, for the length of a block.

    A handler keeps the stream that it was made with; lines of such a one would run into a live line. Handlers of the
    root logger need no such help.
    """
    changed = []
    for handler in handlers:
        if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
            continue
        stream = handler.stream
        if stream is sys.stdout or stream is sys.stderr:
            handler.setStream(_Current("stdout" if stream is sys.stdout else "stderr"))
            changed.append((handler, stream))
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.setStream(stream)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:
        return False
