"""What the connections share: the objects, the numbers of their requests, and what each of them shall meet."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote

from asyncio_loader.testing.simulator.answers import Answer, Bucket, answer_document, answer_error
from asyncio_loader.testing.simulator.connection import Connection, Verdict
from asyncio_loader.testing.simulator.faults import FaultPlan
from asyncio_loader.testing.simulator.link import Link
from asyncio_loader.testing.simulator.log import THROTTLED, RequestLog, Row, SimulatorFigures
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.settings import ServerSettings, load_changes
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.throttle import Throttle, ThrottlePlan
from asyncio_loader.testing.simulator.times import DateLine

__all__ = ["FIGURES_PATH", "LOG_PATH", "SETTINGS_PATH", "Server"]

LOG_PATH = "/-/requests"
"""GET: the log. DELETE: the log, a last time. No bucket can be called ``-``."""

FIGURES_PATH = "/-/figures"
"""GET: `SimulatorFigures`."""

SETTINGS_PATH = "/-/settings"
"""PUT: what `dump_changes` gives, quoted, as the query."""


class Server:
    """Decides about every request, and remembers it."""

    def __init__(self, settings: ServerSettings, objects: Mapping[str, StoredObject]) -> None:
        self._bucket = Bucket(settings.bucket, objects)
        self._numbers: Counter[str] = Counter()
        self._log = RequestLog()
        self._connections = 0
        self._decided = 0
        self._settings = settings
        self._latency = settings.latency
        self._is_plain = settings.latency.is_zero and not settings.faults
        self._throttles = ThrottlePlan(settings.throttles)
        self._faults = FaultPlan(settings.faults, seed=settings.seed)
        self.link = Link(settings.bandwidth_bytes_s)
        self.date_line = DateLine().read

    def connect(self) -> Connection:
        """A protocol for a new connection."""
        return Connection(self)

    def number_connection(self) -> int:
        """See `Verdicts`."""
        self._connections += 1
        return self._connections - 1

    def decide(self, request: Request) -> Verdict:
        """See `Verdicts`."""
        self._decided += 1
        answer = self._bucket.answer(request)
        # A refusal rests on the clock. What it refuses has no number, so that faults and latencies rest on the seed.
        throttle = self._throttles.refuse(answer.key) if self._throttles else None
        if throttle is not None:
            return _slow_down(throttle, answer.key, request.method)
        if self._is_plain:
            return Verdict(answer)
        number = self._numbers[answer.key]
        self._numbers[answer.key] = number + 1
        delay_s = self._latency.delay_s(answer.key, number)
        fault = self._faults.decide(answer.key, number)
        if fault is None:
            return Verdict(answer, delay_s)
        if fault.kind == "status":
            answer = answer_error(fault.status, key=answer.key, method=request.method)
        return Verdict(answer, delay_s, fault, fault.kind)

    def record(self, row: Row) -> None:
        """See `Verdicts`."""
        self._log.append(row)

    def control(self, request: Request) -> Answer | None:
        """See `Verdicts`."""
        if not request.target.startswith("/-/"):
            return None
        path, _, query = request.target.partition("?")
        if path == LOG_PATH and request.method in ("GET", "DELETE"):
            document = self._log.dump()
            if request.method == "DELETE":
                self._log.clear()
        elif path == FIGURES_PATH and request.method == "GET":
            document = json.dumps(asdict(self.figures())).encode()
        elif path == SETTINGS_PATH and request.method == "PUT":
            self._change(load_changes(unquote(query)))
            document = b"{}"
        else:
            return answer_error(405)
        return answer_document(document, "application/json")

    def figures(self) -> SimulatorFigures:
        """What has been done so far."""
        log = self._log
        in_flight = self._decided - log.requests
        return SimulatorFigures(
            time.monotonic(), log.requests, log.throttled, log.sent_bytes, in_flight, self._connections
        )

    def _change(self, changes: Mapping[str, Any]) -> None:
        """What is given begins anew, though it be what was there before."""
        settings = self._settings = replace(self._settings, **changes)
        self._latency = settings.latency
        self._is_plain = settings.latency.is_zero and not settings.faults
        if "throttles" in changes:
            self._throttles = ThrottlePlan(settings.throttles)
        if "faults" in changes:
            self._faults = FaultPlan(settings.faults, seed=settings.seed)
            self._numbers.clear()
        if "bandwidth_bytes_s" in changes:
            self.link.set_bandwidth(settings.bandwidth_bytes_s)


def _slow_down(throttle: Throttle, key: str, method: str) -> Verdict:
    wait_s = throttle.retry_after_s
    extra = [] if wait_s is None else [("Retry-After", str(wait_s))]
    return Verdict(answer_error(503, key=key, method=method, extra=extra), kind=THROTTLED)
