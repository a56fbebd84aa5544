"""How long a connection waits: for a head, for the next bytes of a body, and for a body as a whole."""

from __future__ import annotations

import asyncio

from asyncio_loader.options import RetryPolicy

__all__ = ["SLOWEST_BYTES_PER_S", "TimedProtocol"]

SLOWEST_BYTES_PER_S = 1024
"""A body that comes more slowly than this, after a grace of `stall_timeout_s`, is one that has stalled: a server that
sends a byte now and then would keep a sample for hours."""

# A loop may call a little before the time.
_TICK_S = 0.001


class TimedProtocol(asyncio.BufferedProtocol):
    """A protocol that is told when what it expects has not come in time. It belongs to the running loop.

    The one timer is not set anew for each request: it looks, when it goes off, whether the time has come, and goes to
    sleep again. A deadline costs an assignment.

    A base class and no object of its own: this is done for every read of every GET, and costs no look-up more so.
    """

    __slots__ = (
        "_began_s",
        "_deadline_s",
        "_is_rested",
        "_loop",
        "_received_bytes",
        "_timeouts",
        "_timer",
        "_timer_s",
    )

    def __init__(self, timeouts: RetryPolicy) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._is_rested = False
        self._received_bytes = 0
        self._began_s = 0.0
        self._deadline_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    def _time_is_up(self) -> None:
        """What was expected has not come."""
        raise NotImplementedError

    def rest(self) -> None:
        """See `Answer`: nothing is expected for now, and the pace of the body begins anew afterwards.

        The server waits, too, as soon as the buffers between are full.
        """
        self._deadline_s = None
        self._is_rested = True

    def _expect(self, limit_s: float) -> None:
        """Something must come within so many seconds."""
        self._deadline_s = deadline_s = self._loop.time() + limit_s
        if self._timer is None or deadline_s < self._timer_s:
            self._set_timer(deadline_s)

    def _begin_body(self) -> None:
        """From here on the pace of the body counts."""
        self._began_s = self._loop.time()
        self._expect_bytes()

    def _expect_bytes(self) -> None:
        """Another byte within `stall_timeout_s`, and not too slowly over all."""
        stall_s = self._timeouts.stall_timeout_s
        now_s = self._loop.time()
        if self._is_rested:
            self._is_rested, self._began_s, self._received_bytes = False, now_s, 0
        latest_s = self._began_s + stall_s + self._received_bytes / SLOWEST_BYTES_PER_S
        self._expect(min(stall_s, latest_s - now_s))

    def _set_timer(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = when_s
        self._timer = self._loop.call_at(when_s, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        deadline_s = self._deadline_s
        if deadline_s is None:
            return
        if self._loop.time() + _TICK_S < deadline_s:
            self._set_timer(deadline_s)
        else:
            self._time_is_up()

    def _end_timer(self) -> None:
        """Nothing is expected any more, ever."""
        self._deadline_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
