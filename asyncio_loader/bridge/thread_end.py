"""When a thread is really over, which is later than when Python says so."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

__all__ = ["wait_until_gone"]


def wait_until_gone(native_ids: Iterable[int], timeout_s: float) -> None:
    """Wait until the system has ended these threads of this process; Linux only, elsewhere it does nothing.

    Python's `join` returns when a thread has run its last instruction of Python. Its native end comes after that, and
    there OpenSSL takes a lock that is one for the process. A fork at that moment copies the lock as taken: the child's
    first TLS context, hash or credentials lookup waits for ever (seen with OpenSSL 3.0 where workers were forked
    right after an epoch without workers). There is nothing to wait on but the list of threads; it takes microseconds.
    """
    deadline_s = time.monotonic() + timeout_s
    for native_id in native_ids:
        while os.path.exists(f"/proc/self/task/{native_id}") and time.monotonic() < deadline_s:
            os.sched_yield()
