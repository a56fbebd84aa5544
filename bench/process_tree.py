"""CPU time and memory of this process and of those below it. Linux only."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from bench.measure import memory_bytes

__all__ = ["MemoryPeak", "cpu_seconds", "descendants"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PAUSE_S = 0.25


def descendants(pid: int | None = None) -> list[int]:
    """Process ids of the children, of their children, and so on. Those that are gone meanwhile are left out."""
    found: list[int] = []
    waiting = [os.getpid() if pid is None else pid]
    while waiting:
        children = _children(waiting.pop())
        found.extend(children)
        waiting.extend(children)
    return found


def cpu_seconds() -> float:
    """CPU time so far of this process, of the children that it has waited for, and of all below it that live.

    To the kernel's tick (10 ms) for the others.
    """
    times = os.times()
    return time.process_time() + times.children_user + times.children_system + sum(map(_cpu_seconds_of, descendants()))


class MemoryPeak:
    """How much memory this process and those below it come to have more than at the start of a block.

    A process alone: the kernel's high-water mark of resident memory, which misses nothing and costs nothing. Where
    there are children: the sum of what each holds resident, with pages that several share counted once (PSS), sampled
    four times a second from a thread, if that is more.

    Attributes:
        grown_bytes: once the block has ended.
        processes: the most that there were at once.
    """

    def __init__(self) -> None:
        self.grown_bytes = 0
        self.processes = 1
        self._resident_bytes = self._proportional_bytes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryPeak:
        # Resets the mark to what is resident now (proc(5)); imports may have had more for a moment.
        Path("/proc/self/clear_refs").write_text("5")
        self._resident_bytes = memory_bytes()
        self._proportional_bytes = _proportional_bytes(os.getpid())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.grown_bytes = max(self.grown_bytes, memory_bytes("VmHWM") - self._resident_bytes)

    def sample(self) -> None:
        """Look once more, at a moment of the caller's choice."""
        below = descendants()
        if below:
            self.processes = max(self.processes, 1 + len(below))
            total_bytes = sum(map(_proportional_bytes, [os.getpid(), *below]))
            self.grown_bytes = max(self.grown_bytes, total_bytes - self._proportional_bytes)

    def _watch(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            self.sample()


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children.extend(map(int, path.read_text().split()))
        except OSError:
            continue
    return children


def _cpu_seconds_of(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The name in parentheses may hold anything. Then: state is field 3, utime to cstime are 14 to 17 (proc(5)).
    fields = text[text.rindex(")") + 2 :].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
