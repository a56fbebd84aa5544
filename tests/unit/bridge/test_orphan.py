from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading

from asyncio_loader.bridge.orphan import end_with_parent

# Forks a process that watches it, then one that does not and holds the first one's pipe open; says how many threads
# they have, and which they are; and is killed.
_PARENT = """
import multiprocessing, os, signal, sys, threading
from asyncio_loader.bridge.orphan import end_with_parent

def live(watches, told):
    for _ in range(2 * watches):
        end_with_parent()
    told.send(threading.active_count())
    threading.Event().wait(60)

context = multiprocessing.get_context("fork")
for watches in (True, False):
    told, tell = context.Pipe()
    process = context.Process(target=live, args=(watches, tell), daemon=sys.argv[1] == "daemon")
    process.start()
    print(told.recv(), process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def run_parent(kind: str) -> tuple[int, list[bool]]:
    """How many threads the process has that watches; and which of both are gone two seconds after their parent."""
    with subprocess.Popen([sys.executable, "-c", _PARENT, kind], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        (threads, first), (_, second) = (map(int, parent.stdout.readline().split()) for _ in range(2))
        handles = {pid: os.pidfd_open(pid) for pid in (first, second)}
        assert parent.wait(30) == -signal.SIGKILL
        # Only where it is expected to end is it worth waiting.
        select.select([handles[first]], [], [], 2 if threads > 1 else 0)
        is_gone = []
        for pid, handle in handles.items():
            is_gone.append(bool(select.select([handle], [], [], 0)[0]))
            os.close(handle)
            if not is_gone[-1]:
                os.kill(pid, signal.SIGKILL)
    return threads, is_gone


def test_a_daemonic_process_ends_with_its_parent_whoever_holds_the_pipe_between_them() -> None:
    assert run_parent("daemon") == (2, [True, False])


def test_a_process_that_may_outlive_its_parent_does() -> None:
    assert run_parent("free") == (1, [False, False])


def test_in_a_main_process_nothing_watches() -> None:
    before = threading.active_count()
    end_with_parent()

    assert threading.active_count() == before
