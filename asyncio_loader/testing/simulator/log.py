"""What the simulator was asked and what it answered."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["CAPACITY_ITEMS", "SKEWED", "THROTTLED", "RequestLog", "RequestRecord", "Row", "SimulatorFigures"]

CAPACITY_ITEMS = 1_000_000
"""Requests that the log remembers: 200 MB at the most, and more than any test or benchmark makes."""

THROTTLED = "throttle"
"""`RequestRecord.fault` of a request that was one too many."""

SKEWED = "skew"
"""`RequestRecord.fault` of a request whose time is not the server's."""

Row: TypeAlias = tuple[str, str, str | None, int, int, float, float, int, str | None]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request.

    Attributes:
        method: ``GET``, ``HEAD``, …
        key: key of the object, decoded; empty for a request to the bucket (a listing) or to another bucket.
        range: value of its Range header, or None.
        status: what it was answered with; 0 where no head was sent (a fault, or the client left before).
        sent_bytes: body bytes that were sent, those that still waited in a buffer when the connection broke included.
        received_s: when it was read, on the clock of `time.monotonic`, which the processes of a machine share. A
            pipelined request counts as read when the one before it has been answered.
        answered_s: when it was answered or given up, on the same clock.
        connection: number of its connection, from 0 in the order of their first requests.
        fault: kind of the fault that it met; ``"throttle"`` where it was one too many, ``"skew"`` where its time was
            too far from the server's; or None. A connection that was broken off before any request
            (``"connect"``, ``"handshake"``) is in the log with an empty method and key.
    """

    method: str
    key: str
    range: str | None
    status: int
    sent_bytes: int
    received_s: float
    answered_s: float
    connection: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class SimulatorFigures:
    """What the server has done since its start. Two of them tell the rates in between.

    Attributes:
        now_s: when they were taken, on the clock of `time.monotonic`.
        requests: those that were answered or given up; connections that were broken off before any among them.
        throttled: those among them that a `Throttle` refused.
        sent_bytes: body bytes, as in `RequestRecord`.
        in_flight: requests that wait for their answer now.
        connections: connections that a request has come over.
    """

    now_s: float
    requests: int
    throttled: int
    sent_bytes: int
    in_flight: int
    connections: int


class RequestLog:
    """The latest requests, in the order in which they were answered.

    Rows are plain tuples: a dataclass for each would cost the server a tenth of its speed.
    """

    def __init__(self, capacity_items: int = CAPACITY_ITEMS) -> None:
        self._rows: deque[Row] = deque(maxlen=capacity_items)
        self.requests = 0
        self.throttled = 0
        self.sent_bytes = 0

    def append(self, row: Row) -> None:
        """Add one; the sums are of all that ever came."""
        self._rows.append(row)
        self.requests += 1
        self.sent_bytes += row[4]
        if row[8] == THROTTLED:
            self.throttled += 1

    def clear(self) -> None:
        """Forget all of them, but not the sums."""
        self._rows.clear()

    def dump(self) -> bytes:
        """All of them, for `load`."""
        return json.dumps(list(self._rows)).encode()

    @staticmethod
    def load(data: bytes) -> list[RequestRecord]:
        """What `dump` gave."""
        return [RequestRecord(*row) for row in json.loads(data)]
