"""What the connections share: the objects, the numbers of their requests, and what each of them shall meet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from asyncio_loader.testing.simulator.answers import Answer, Bucket, answer_document, answer_error
from asyncio_loader.testing.simulator.connection import Connection
from asyncio_loader.testing.simulator.faults import Fault, FaultPlan
from asyncio_loader.testing.simulator.latency import Latency
from asyncio_loader.testing.simulator.log import RequestLog
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.times import DateLine

__all__ = ["CONTROL_PATH", "Server", "ServerSettings"]

CONTROL_PATH = "/-/requests"
"""GET: the log. DELETE: the log, a last time. No bucket can be called ``-``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the parent process asks for."""

    bucket: str
    latency: Latency
    faults: tuple[Fault, ...]
    seed: int

    def dump(self) -> str:
        """As text for `load`."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> ServerSettings:
        """What `dump` gave."""
        fields: dict[str, Any] = json.loads(text)
        return cls(
            bucket=fields["bucket"],
            latency=Latency(**fields["latency"]),
            faults=tuple(Fault(**fault) for fault in fields["faults"]),
            seed=fields["seed"],
        )


class Server:
    """Decides about every request, and remembers it."""

    def __init__(self, settings: ServerSettings, objects: Mapping[str, StoredObject]) -> None:
        self._bucket = Bucket(settings.bucket, objects)
        self._latency = settings.latency
        self._faults = FaultPlan(settings.faults, seed=settings.seed)
        self._is_plain = settings.latency.is_zero and not settings.faults
        self._numbers: Counter[str] = Counter()
        self._log = RequestLog()
        self._connections = 0
        self.date_line = DateLine().read
        self.record = self._log.append

    def connect(self) -> Connection:
        """A protocol for a new connection."""
        self._connections += 1
        return Connection(self, self._connections - 1)

    def decide(self, request: Request) -> tuple[Answer, float, Fault | None]:
        """See `Verdicts`."""
        answer = self._bucket.answer(request)
        if self._is_plain:
            return answer, 0.0, None
        number = self._numbers[answer.key]
        self._numbers[answer.key] = number + 1
        fault = self._faults.decide(answer.key, number)
        if fault is not None and fault.kind == "status":
            answer = answer_error(fault.status, key=answer.key, method=request.method)
        return answer, self._latency.delay_s(answer.key, number), fault

    def control(self, request: Request) -> Answer | None:
        """See `Verdicts`."""
        if not request.target.startswith("/-/"):
            return None
        if request.target != CONTROL_PATH or request.method not in ("GET", "DELETE"):
            return answer_error(405)
        document = self._log.dump()
        if request.method == "DELETE":
            self._log.clear()
        return answer_document(document, "application/json")
