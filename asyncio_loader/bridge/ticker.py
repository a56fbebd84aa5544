"""A thread that does something every so often."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Ticker"]


class Ticker:
    """Calls a function every so often, in a daemon thread of its own, until `stop`. A forked child has no such thread.

    Args:
        tick: what to call. It must not raise.
        every_s: seconds from the end of a call to the next one.
    """

    def __init__(self, tick: Callable[[], None], every_s: float) -> None:
        self._over = threading.Event()
        arguments = (tick, every_s, self._over)
        threading.Thread(target=_run, args=arguments, name="asyncio-loader-ticker", daemon=True).start()

    def stop(self) -> None:
        """Have it end. It does not wait, so that any thread may call it, this one included: a last call may come."""
        self._over.set()


def _run(tick: Callable[[], None], every_s: float, over: threading.Event) -> None:
    while not over.wait(every_s):
        tick()
