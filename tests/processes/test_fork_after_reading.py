"""A parent that has read may fork at once: the child inherits nothing of its threads, not even a lock of OpenSSL."""

from __future__ import annotations

import os
import signal
import ssl
import threading

import pytest

from asyncio_loader import AsyncIterableDataset, Loader
from asyncio_loader.testing import S3Simulator

# Without the wait for the native end of threads about one child in ten hung.
ROUNDS = 20


def use_openssl() -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def hangs() -> bool:
    """Whether a forked child waits for ever when it makes a TLS context in a thread."""
    child = os.fork()
    if child == 0:
        # The parent of a blocked child is told by the signal that ended it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        thread = threading.Thread(target=use_openssl)
        thread.start()
        thread.join()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_fork_right_after_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    with S3Simulator({f"{n}": b"x" * 1000 for n in range(8)}) as simulator:
        for name, value in simulator.environ.items():
            monkeypatch.setenv(name, value)
        dataset = AsyncIterableDataset([simulator.uri(f"{n}") for n in range(8)])
        hung = 0
        for _ in range(ROUNDS):
            assert len(list(dataset)) == 8
            hung += hangs()
            with Loader(dataset, 4, threads=2) as loader:
                assert len(list(loader)) == 2
            hung += hangs()

    assert hung == 0
