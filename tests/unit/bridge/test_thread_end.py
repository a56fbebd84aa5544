from __future__ import annotations

import threading
import time

from asyncio_loader.bridge.thread_end import wait_until_gone


def test_it_returns_when_the_thread_is_gone_and_not_before() -> None:
    may_end, has_returned = threading.Event(), threading.Event()
    thread = threading.Thread(target=may_end.wait, args=(60,))
    thread.start()
    native_id = thread.native_id or 0

    def wait() -> None:
        wait_until_gone([native_id], 60)
        has_returned.set()

    waiter = threading.Thread(target=wait)
    waiter.start()

    assert not has_returned.wait(0.1)
    may_end.set()
    assert has_returned.wait(30)
    waiter.join()


def test_it_does_not_wait_longer_than_it_may() -> None:
    started_s = time.monotonic()
    wait_until_gone([threading.get_native_id()], 0.01)

    assert 0.01 <= time.monotonic() - started_s < 30


def test_a_thread_that_is_gone_is_not_waited_for() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    wait_until_gone([thread.native_id or 0], 60)

    started_s = time.monotonic()
    wait_until_gone([thread.native_id or 0], 60)

    assert time.monotonic() - started_s < 30
