"""How long a call keeps the GIL from all other threads."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

__all__ = ["longest_hold_s"]

_SWITCH_S = 5e-5


def longest_hold_s(call: Callable[[], object], *, runs: int = 20, enough_s: float = 0.0) -> float:
    """Seconds for which a thread that always wants the GIL gets none of it while `call` runs; 20 to 50 µs are its own.

    The least of so many runs, as what a call keeps it keeps in every run; on a machine with other work it is an upper
    bound. Time in which the kernel let the calling thread wait for a core doesn't count (Linux tells it; elsewhere it
    does count). `call` must do its work in the thread that calls it. A run below `enough_s` is the last. Sets the
    interpreter's switch interval to 50 µs meanwhile.
    """
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with _Probe() as probe:
            least_s = math.inf
            for _ in range(runs):
                least_s = min(least_s, probe.watch(call))
                if least_s < enough_s:
                    break
            return least_s
    finally:
        sys.setswitchinterval(interval_s)


class _RunDelay:
    """Nanoseconds for which a thread was ready to run and had no core; 0 where the kernel doesn't tell."""

    def __init__(self, thread: int) -> None:
        try:
            self._file: int | None = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY)
        except FileNotFoundError:
            self._file = None

    def read_ns(self) -> int:
        return 0 if self._file is None else int(os.pread(self._file, 64, 0).split()[1])

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _Probe:
    """A thread that does nothing but look at the clock."""

    def __init__(self) -> None:
        self._is_over = False
        self._ticks = 0
        self._longest_ns = 0
        self._watched = threading.get_native_id()
        self._thread = threading.Thread(target=self._run, name="gil-probe", daemon=True)

    def __enter__(self) -> _Probe:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over = True
        self._thread.join()

    def watch(self, call: Callable[[], object]) -> float:
        self._wait_for_a_look()
        self._longest_ns = 0
        call()
        self._wait_for_a_look()
        return self._longest_ns / 1e9

    def _wait_for_a_look(self) -> None:
        # Two: the first may have begun before.
        enough = self._ticks + 2
        while self._ticks < enough:
            time.sleep(0)

    def _run(self) -> None:
        delay = _RunDelay(self._watched)
        try:
            self._look(delay)
        finally:
            delay.close()

    def _look(self, delay: _RunDelay) -> None:
        last_ns = time.perf_counter_ns() - delay.read_ns()
        while not self._is_over:
            now_ns = time.perf_counter_ns() - delay.read_ns()
            self._longest_ns = max(self._longest_ns, now_ns - last_ns)
            last_ns = now_ns
            self._ticks += 1
