"""A process that nobody needs any more ends, even where its parent had no time to say so."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading

__all__ = ["end_with_parent"]

# For an end of its own accord, such as torch's when it looks up at the right moment. Whoever started a job again after
# a crash waits for the memory and the GPU that these processes hold.
_GRACE_S = 0.5

_watched_in: int | None = None


def end_with_parent() -> None:
    """Have a daemonic process of `multiprocessing`, as a DataLoader's worker is, end when its parent is gone.

    A parent that leaves in good order ends its daemonic processes itself. One that is killed (SIGKILL, out of memory,
    a SIGTERM that nothing handles) cannot, and torch's workers look for it every five seconds at best, between two
    batches alone. Here a daemon thread sleeps until the system says that the parent is gone, gives the process half a
    second, and then ends it with status 1, without any clean-up: there is nobody left to hand anything to.

    Works under fork, spawn and forkserver, where it is the process that asked the server. In any other process (the
    main one, a rank of a job, a process that may outlive its parent) it does nothing. Idempotent; one thread a
    process, for as long as that lives. Safe to call from any thread.
    """
    global _watched_in
    parent = multiprocessing.parent_process()
    if parent is None or not multiprocessing.current_process().daemon or _watched_in == os.getpid():
        return
    _watched_in = os.getpid()
    ends: list[int] = [parent.sentinel]
    is_gone = False
    if hasattr(os, "pidfd_open") and parent.pid is not None:
        # The sentinel is a pipe: a process that was forked later holds its other end open, and may live on.
        try:
            ends.append(os.pidfd_open(parent.pid))
        except ProcessLookupError:
            is_gone = True
        except OSError:
            # A kernel before 5.3, or a sandbox without it.
            pass
    threading.Thread(target=_end_after, args=(ends, is_gone), name="asyncio-loader-parent", daemon=True).start()


def _end_after(ends: list[int], is_gone: bool) -> None:
    if not is_gone:
        multiprocessing.connection.wait(ends)
    threading.Event().wait(_GRACE_S)
    os._exit(1)
