"""The line to the clients: so many bytes per second for all connections together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["Link", "Sender"]

# What one connection sends before the next has its turn: as much as leaves in 2 ms, within these bounds. Below, the
# calls would cost more than the bytes; above, one object after the other would come in one piece.
_TURN_S = 0.002
_LEAST_TURN_BYTES = 1024
_MOST_TURN_BYTES = 64 * 1024

# What a line that has rested may send at once: as much as a late timer (asyncio's and uvloop's are by 1 ms) has missed.
_BURST_S = 0.01


class Sender(Protocol):
    """A connection with a body to send."""

    def send_part(self, limit_bytes: int) -> tuple[int, bool]:
        """Send up to so many bytes. Returns how many they were, and whether there are more that can go at once."""
        ...


class Link:
    """Lets the senders have turns, as fast as the bandwidth allows. To be used from one loop.

    Args:
        bytes_s: bytes per second. None: no limit.
        turn_s: how much of that a turn is, in seconds.
        least_bytes: a turn is at least so much.
    """

    def __init__(
        self, bytes_s: float | None = None, *, turn_s: float = _TURN_S, least_bytes: int = _LEAST_TURN_BYTES
    ) -> None:
        self.bytes_s = bytes_s
        self._turn_s = turn_s
        self._least_bytes = least_bytes
        self._senders: deque[Sender] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._budget_bytes = 0.0
        self._counted_s = 0.0
        self._is_pumping = False

    def set_bandwidth(self, bytes_s: float | None) -> None:
        """Another bandwidth from now on; None: no limit."""
        self.bytes_s = bytes_s
        self._pump()

    def join(self, sender: Sender) -> None:
        """Call its `send_part` until it says that there is no more."""
        self._senders.append(sender)
        # A sender whose body has left may come with its next one before its turn is over.
        if self._timer is None and not self._is_pumping:
            self._pump()

    def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._count(loop.time())
        self._is_pumping = True
        while self._senders and (self.bytes_s is None or self._budget_bytes > 0):
            self._give_turn(self._senders.popleft())
        self._is_pumping = False
        if self._senders and self.bytes_s is not None:
            self._timer = loop.call_later(max(0.001, -self._budget_bytes / self.bytes_s), self._pump)

    def _count(self, now_s: float) -> None:
        if self.bytes_s is not None:
            gained = (now_s - self._counted_s) * self.bytes_s
            self._budget_bytes = min(_BURST_S * self.bytes_s, self._budget_bytes + gained)
        self._counted_s = now_s

    def _give_turn(self, sender: Sender) -> None:
        sent_bytes, has_more = sender.send_part(self._turn_bytes())
        self._budget_bytes -= sent_bytes
        if has_more:
            self._senders.append(sender)

    def _turn_bytes(self) -> int:
        if self.bytes_s is None:
            return _MOST_TURN_BYTES
        return min(_MOST_TURN_BYTES, max(self._least_bytes, int(self._turn_s * self.bytes_s)))
