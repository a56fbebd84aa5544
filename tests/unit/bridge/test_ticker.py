from __future__ import annotations

import threading

from asyncio_loader.bridge.ticker import Ticker


def test_it_calls_again_and_again_until_it_is_stopped() -> None:
    """The third call stops it from within, and there is no fourth: its thread ends."""
    calls: list[threading.Thread] = []
    made = threading.Event()

    def tick() -> None:
        calls.append(threading.current_thread())
        if len(calls) == 3:
            made.wait(10)
            ticker.stop()

    ticker = Ticker(tick, 0.001)
    made.set()
    while not calls:
        # It may not have begun.
        threading.Event().wait(0.001)
    calls[0].join(10)

    assert not calls[0].is_alive()
    assert len(calls) == 3
    assert calls[0].daemon
