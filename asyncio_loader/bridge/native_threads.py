"""The thread pools of OpenCV and torch beside threads and processes of ours: together no more than there are cores.

A call of OpenCV may spread over a pool of as many threads as there are cores, and a call of torch over another one,
which torch makes anew for each thread that calls it. Where *n* threads of ours transform, or *n* worker processes,
there would be *n* times as many threads as cores. So each gets the *n*-th part, at least one; nothing is ever raised.
OpenCV's part is one of the cores that a container's quota is worth (`count_cores`).

A number that somebody has chosen for OpenCV (``cv2.setNumThreads``, ``OPENCV_FOR_THREADS_NUM``) is left alone: its pool
is one for the process. One chosen for torch (``torch.set_num_threads``, ``OMP_NUM_THREADS``) is what is shared.

Neither library is imported here: one that nobody has loaded has no pool.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from asyncio_loader.cores import count_cores

__all__ = ["OpenCvShare", "TorchShare"]


class _OpenCv:
    """How much of it is lowered in this process, and by how many."""

    def __init__(self) -> None:
        # A collection may release a share while another one is taken, in the same thread.
        self.lock = threading.RLock()
        self.holders = 0
        self.lowered_to: int | None = None
        self.is_forked = False

    def lower(self, among: int) -> None:
        cv2 = _loaded("cv2")
        if cv2 is None:
            return
        found, cores = cv2.getNumThreads(), cv2.getNumberOfCPUs()
        share = max(1, min(cores, count_cores()) // among)
        # Any other number is somebody's choice.
        if found in (cores, self.lowered_to) and share < found:
            # A forked process has its parent's pool without the threads: OpenCV hangs, or crashes, where it shall end
            # some of them. 0 leaves the pool alone, and does all in the thread that calls.
            cv2.setNumThreads(0 if self.is_forked else share)
            self.lowered_to = cv2.getNumThreads()

    def restore(self) -> None:
        cv2 = _loaded("cv2")
        if cv2 is not None and cv2.getNumThreads() == self.lowered_to:
            cv2.setNumThreads(cv2.getNumberOfCPUs())
        self.lowered_to = None


_OPENCV = _OpenCv()


class OpenCvShare:
    """Lowers OpenCV's number of threads, which is one for the whole process, until it is released.

    Where there are several at a time the least of them counts. With the last one the number of before comes back,
    unless somebody has set another in the meantime: then that one stays. Thread-safe. A forked process begins with what
    its parent had, and keeps it; lowered there, OpenCV uses one thread.
    """

    def __init__(self, among: int) -> None:
        """Lower it to the `among`-th part: so many threads or processes of ours use OpenCV at a time."""
        with _OPENCV.lock:
            self._is_held = True
            _OPENCV.holders += 1
            _OPENCV.lower(among)

    def release(self) -> None:
        """Give it back. Idempotent."""
        with _OPENCV.lock:
            if self._is_held:
                self._is_held = False
                _OPENCV.holders -= 1
                if _OPENCV.holders == 0:
                    _OPENCV.restore()


class TorchShare:
    """Lowers torch's number of threads for calls from certain threads, for as long as these live, and for no others.

    Where torch does without OpenMP, as on macOS, its number is one for the process, and nothing is changed.
    """

    def __init__(self, among: int) -> None:
        """Find the `among`-th part of what the calling thread has, for so many threads, which must all `enter`."""
        self._among = among
        self._torch = _loaded("torch")
        self._total = self._share = 1
        if self._torch is not None and self._torch.backends.openmp.is_available():
            self._total = self._torch.get_num_threads()
            self._share = max(1, self._total // among)
        self._entered = threading.Semaphore(0)

    def enter(self) -> None:
        """Have the calling thread use its share from now on."""
        if self._share < self._total:
            self._torch.set_num_threads(self._share)
            self._entered.release()

    def settle(self) -> None:
        """Wait until all have entered. To be called by the thread that made this, once.

        `torch.set_num_threads` sets OpenMP's number, which each thread has for itself, and what threads begin with that
        are born later (aten/src/ATen/ParallelOpenMP.cpp). The latter is a user's to say, and comes back here.
        """
        if self._share < self._total:
            for _ in range(self._among):
                self._entered.acquire()
            self._torch.set_num_threads(self._total)


def _loaded(name: str) -> Any:
    return sys.modules.get(name)


def _note_fork() -> None:
    # Another thread of the parent may have held it.
    _OPENCV.lock = threading.RLock()
    _OPENCV.is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
