"""What the connections share: the objects, the numbers of their requests, and what each of them shall meet."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asyncio_loader.testing.simulator.answers import Answer, Bucket, answer_error
from asyncio_loader.testing.simulator.connection import Connection, RefusedConnection, Verdict
from asyncio_loader.testing.simulator.faults import Fault, FaultPlan, Kind
from asyncio_loader.testing.simulator.link import Link
from asyncio_loader.testing.simulator.log import SKEWED, THROTTLED, RequestLog, Row, SimulatorFigures
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.settings import ServerSettings
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.throttle import Throttle, ThrottlePlan
from asyncio_loader.testing.simulator.times import DateLine, iso_time, parse_amz_date

__all__ = ["Server"]

# "RequestTimeTooSkewed", Amazon S3 API reference.
_MOST_SKEW_S = 15 * 60


class Server:
    """Decides about every connection and request, and remembers it.

    Attributes:
        log: of all requests.
        link: the line that the connections share.
    """

    def __init__(self, settings: ServerSettings, objects: Mapping[str, StoredObject]) -> None:
        self.log = RequestLog()
        self.link = Link(settings.bandwidth_bytes_s)
        self.date_line = DateLine(settings.clock_offset_s or 0.0).read
        self._bucket = Bucket(settings.bucket, objects, checksum=settings.checksum)
        self._connections = 0
        self._decided = 0
        self._settings = settings
        self._throttles = ThrottlePlan(settings.throttles)
        self._plan_faults(settings)

    def connect(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        if self._connect_faults and self._breaks(self._connect_faults, "connect"):
            return RefusedConnection()
        return Connection(self)

    def breaks_handshake(self) -> bool:
        """Whether this TLS handshake, of which the first message has come, goes no further."""
        return bool(self._handshake_faults) and self._breaks(self._handshake_faults, "handshake")

    def number_connection(self) -> int:
        """See `Verdicts`."""
        self._connections += 1
        return self._connections - 1

    def decide(self, request: Request) -> Verdict:
        """See `Verdicts`."""
        self._decided += 1
        answer = self._bucket.answer(request)
        # A refusal rests on the clock. What it refuses has no number, so that faults and latencies rest on the seed.
        refusal = self._refuse(request, answer.key)
        if refusal is not None:
            return refusal
        if self._is_plain:
            return Verdict(answer)
        number = self._numbers[answer.key]
        self._numbers[answer.key] = number + 1
        delay_s = self._latency.delay_s(answer.key, number)
        faults = self._faults
        fault = faults.decide(answer.key, number, _credential(request) if faults.asks_for_credential else "")
        if fault is None:
            return Verdict(answer, delay_s)
        if fault.kind == "status":
            answer = _answer_fault(fault, answer.key, request.method)
        return Verdict(answer, fault.delay_s if fault.kind == "slow" else delay_s, fault, fault.kind)

    def record(self, row: Row) -> None:
        """See `Verdicts`."""
        self.log.append(row)

    def figures(self) -> SimulatorFigures:
        """What has been done so far."""
        log = self.log
        in_flight = self._decided - log.requests
        return SimulatorFigures(
            time.monotonic(), log.requests, log.throttled, log.sent_bytes, in_flight, self._connections
        )

    def change(self, changes: Mapping[str, Any]) -> None:
        """Other settings from now on. What is given begins anew, though it be what was there before."""
        settings = self._settings = replace(self._settings, **changes)
        if "throttles" in changes:
            self._throttles = ThrottlePlan(settings.throttles)
        if "faults" in changes or "latency" in changes:
            self._plan_faults(settings)
        if "bandwidth_bytes_s" in changes:
            self.link.set_bandwidth(settings.bandwidth_bytes_s)

    def _plan_faults(self, settings: ServerSettings) -> None:
        self._latency = settings.latency
        self._is_plain = settings.latency.is_zero and not settings.faults
        self._numbers: Counter[str] = Counter()
        self._faults = FaultPlan(settings.faults, seed=settings.seed)
        self._connect_faults = FaultPlan(settings.faults, kinds=("connect",), seed=settings.seed)
        self._handshake_faults = FaultPlan(settings.faults, kinds=("handshake",), seed=settings.seed)
        self._tried: Counter[str] = Counter()

    def _breaks(self, plan: FaultPlan, kind: Kind) -> bool:
        number = self._tried[kind]
        self._tried[kind] = number + 1
        if plan.decide("", number) is None:
            return False
        now_s = time.monotonic()
        self._decided += 1
        self.record(("", "", None, 0, 0, now_s, now_s, self.number_connection(), kind))
        return True

    def _refuse(self, request: Request, key: str) -> Verdict | None:
        throttle = self._throttles.refuse(key) if self._throttles else None
        if throttle is not None:
            return _slow_down(throttle, key, request.method)
        offset_s = self._settings.clock_offset_s
        return None if offset_s is None else _refuse_skewed(request, key, time.time() + offset_s)


def _credential(request: Request) -> str:
    """Key id, date, region and service of a signature, in lower case as all headers are; empty without one."""
    return request.header("authorization").partition("credential=")[2].partition(",")[0]


def _answer_fault(fault: Fault, key: str, method: str) -> Answer:
    extra = []
    if fault.region is not None:
        extra.append(("x-amz-bucket-region", fault.region))
    if fault.retry_after_s is not None:
        extra.append(("Retry-After", str(fault.retry_after_s)))
    return answer_error(fault.status, fault.code, key=key, method=method, extra=extra)


def _slow_down(throttle: Throttle, key: str, method: str) -> Verdict:
    wait_s = throttle.retry_after_s
    extra = [] if wait_s is None else [("Retry-After", str(wait_s))]
    return Verdict(answer_error(503, key=key, method=method, extra=extra), kind=THROTTLED)


def _refuse_skewed(request: Request, key: str, now_s: float) -> Verdict | None:
    told = request.header("x-amz-date")
    signed_s = parse_amz_date(told)
    if signed_s is None or abs(now_s - signed_s) <= _MOST_SKEW_S:
        return None
    elements = [
        ("RequestTime", told.upper()),
        ("ServerTime", iso_time(now_s)),
        ("MaxAllowedSkewMilliseconds", str(_MOST_SKEW_S * 1000)),
    ]
    answer = answer_error(403, "RequestTimeTooSkewed", key=key, method=request.method, elements=elements)
    return Verdict(answer, kind=SKEWED)
