"""The thread that writes a trace down, so that nobody else has to wait for a disk."""

from __future__ import annotations

import logging
import os
import threading
from multiprocessing.util import Finalize

from asyncio_loader.bridge.thread_end import wait_until_gone
from asyncio_loader.stats import Counters
from asyncio_loader.trace.file import TraceFile
from asyncio_loader.trace.recorder import Recorder

__all__ = ["TraceWriter"]

_LOG = logging.getLogger(__name__)

# So much is lost at most where the process is killed, and so often figures are looked at.
_PERIOD_S = 0.1

# A disk that has not taken a tenth of a second's events by then hangs; nobody who closes a loader waits for it.
_PATIENCE_S = 2.0


class TraceWriter:
    """Appends to a file what a recorder has collected, ten times a second, and the figures of that moment.

    Where the file is full or cannot be written, it says so once, at WARNING, and recording ends; whatever is recorded
    goes on. It ends at `close`, at garbage collection and at the end of the process, a DataLoader's worker included.
    `flush` and `close` may be called from any thread of the process that made it; a forked child's do nothing. Neither
    waits longer than `_PATIENCE_S` for a disk that hangs.

    Attributes:
        recorder: what collects.
    """

    def __init__(self, file: TraceFile, recorder: Recorder, counters: Counters) -> None:
        """Start the thread. Args: counters: whose figures."""
        self.recorder = recorder
        self._pages = _Pages(file, recorder, counters)
        over = threading.Event()
        thread = threading.Thread(target=_write, args=(self._pages, over), name="asyncio-loader-trace", daemon=True)
        thread.start()
        # Not of weakref: a worker process ends without what atexit does, but not without these.
        self._end = Finalize(self, _end, args=(self._pages, over, thread), exitpriority=0)

    def flush(self) -> None:
        """Write down what there is now."""
        self._pages.flush()

    def close(self) -> None:
        """Write down what there is, and end the thread. Idempotent."""
        self._end()


class _Pages:
    """What the thread knows: a writer that it refers to would never be collected."""

    def __init__(self, file: TraceFile, recorder: Recorder, counters: Counters) -> None:
        self._file = file
        self._recorder = recorder
        self._counters = counters
        self._pid = os.getpid()
        self._turn = threading.Lock()

    def flush(self) -> None:
        if os.getpid() != self._pid:
            # A lock that a thread of the parent held stays locked here.
            return
        if not self._turn.acquire(timeout=_PATIENCE_S):
            return
        try:
            if self._recorder.is_on and (lines := self._recorder.drain(self._counters)):
                self._append(lines)
        finally:
            self._turn.release()

    def _append(self, lines: list[str]) -> None:
        try:
            has_room = self._file.append(lines)
        except OSError as error:
            self._stop(f"{error.strerror}: the trace ends here")
            return
        if not has_room:
            self._stop(f"the trace ends here, at max_bytes={self._file.max_bytes:,}")

    def _stop(self, reason: str) -> None:
        self._recorder.stop()
        _LOG.warning("%s: %s; loading goes on", self._file.path, reason)


def _write(pages: _Pages, over: threading.Event) -> None:
    while not over.wait(_PERIOD_S):
        pages.flush()
    pages.flush()


def _end(pages: _Pages, over: threading.Event, thread: threading.Thread) -> None:
    over.set()
    # The collector may find the writer there.
    if thread is not threading.current_thread():
        thread.join(_PATIENCE_S)
        if not thread.is_alive():
            wait_until_gone([thread.native_id] if thread.native_id else [], _PATIENCE_S)
