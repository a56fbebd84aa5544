from __future__ import annotations

import threading
import time

from asyncio_loader.bridge.thread_end import wait_until_gone


def native_ids() -> set[int]:
    return {thread.native_id for thread in threading.enumerate() if thread.native_id}


def test_it_waits_for_the_native_end_of_a_thread() -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, args=(60,))
    thread.start()
    threading.Thread(target=lambda: (wait_until_gone([thread.native_id or 0], 0.05), is_over.set())).start()

    started_s = time.monotonic()
    wait_until_gone([thread.native_id or 0], 60)

    assert is_over.is_set()
    assert not thread.is_alive() or thread.native_id not in native_ids()
    assert time.monotonic() - started_s < 30


def test_it_does_not_wait_longer_than_it_may() -> None:
    started_s = time.monotonic()
    wait_until_gone([threading.get_native_id()], 0.01)

    assert time.monotonic() - started_s < 30


def test_threads_that_are_gone_cost_nothing() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    wait_until_gone([thread.native_id or 0], 60)

    wait_until_gone([thread.native_id or 0], 60)
