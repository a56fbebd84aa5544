"""Ctrl-C and SIGTERM: they unwind a run, and end it where something will not be unwound."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

from asyncio_loader.cli.exit_codes import line, rank
from asyncio_loader.errors import LoaderError

__all__ = ["ENDS", "InterruptDeadline", "Terminated", "terminable"]

ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
"""Exit code and word by signal. What shells say of a process that a signal ended: 128 and the signal's number."""

# A backward pass or a matrix product cannot be interrupted; on a CPU it may take seconds.
_PATIENCE_S = 1.5

# Then what was asked for by `InterruptDeadline.before_end` has this long: copying a log takes a few requests.
_LAST_ACTS_S = 3.0


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread. A kind of Ctrl-C, so that everything unwinds as it does then."""


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise `Terminated`, the first time. Main thread only; a signal that is ignored stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    # None: a handler that is not Python's, which could not be put back.
    if not is_main or before in (signal.SIG_IGN, None):
        yield
        return
    signals: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        # A second one must not end the copying of the log, which the first one began; the deadline sees to its end.
        if len(signals) == 1:
            raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class InterruptDeadline:
    """Ends the process if an interrupt or SIGTERM has not ended it by itself `_PATIENCE_S` later.

    Python delivers a signal between two of its own instructions, so a long native call would hold it up. It
    is seen here by its wake-up byte, in a thread that no native call stops. Main thread only; elsewhere a no-op.
    """

    def __init__(self) -> None:
        self._last_acts: list[Callable[[], None]] = []

    def before_end(self, act: Callable[[], None]) -> None:
        """Have something done, in a thread and within `_LAST_ACTS_S`, before the process is ended from here."""
        self._last_acts.append(act)

    def __enter__(self) -> InterruptDeadline:
        self._pipe: tuple[int, int] | None = None
        if threading.current_thread() is not threading.main_thread():
            return self
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        arguments = (self._pipe[0], self._last_acts)
        self._thread = threading.Thread(target=_watch, args=arguments, name="interrupt-deadline", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._pipe is None:
            return
        reading, writing = self._pipe
        signal.set_wakeup_fd(self._before)
        os.close(writing)
        self._thread.join()
        os.close(reading)


def _watch(reading: int, last_acts: list[Callable[[], None]]) -> None:
    """Wait for a signal that ends, then for the end of the pipe. Other signals pass."""
    while signals := os.read(reading, 1):
        if signals[0] in ENDS:
            ready, _, _ = select.select([reading], [], [], _PATIENCE_S)
            if not ready:
                _die(signal.Signals(signals[0]), last_acts)


def _die(reason: signal.Signals, last_acts: list[Callable[[], None]]) -> NoReturn:
    code, said_first = ENDS[reason]
    said: list[str] = []

    def act() -> None:
        for last_act in last_acts:
            try:
                last_act()
            except (LoaderError, OSError) as error:
                said.append(f" ({' '.join(str(error).split())})")

    # Not in this thread, because nobody knows how long it takes.
    thread = threading.Thread(target=act, name="last-acts", daemon=True)
    thread.start()
    thread.join(_LAST_ACTS_S)
    if thread.is_alive():
        said.append(" (there was no time to copy the log: it stays where it is)")
    if rank() == "0":
        os.write(sys.stderr.fileno(), f"{line(said_first)}{''.join(said)}\n".encode())
    os._exit(code)
