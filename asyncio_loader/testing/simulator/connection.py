"""One connection: requests in, answers out, one after the other.

There is no task per request and no copy of a body: a request costs the server little more than the kernel takes to
send its answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import NamedTuple, Protocol

from asyncio_loader.testing.simulator.answers import Answer, answer_error
from asyncio_loader.testing.simulator.delivery import Delivery, Ending, deliver
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.link import Link
from asyncio_loader.testing.simulator.log import Row
from asyncio_loader.testing.simulator.requests import CHUNKED, BadRequestError, HeadReader, Request, parse_head

__all__ = ["Connection", "RefusedConnection", "Verdict", "Verdicts"]

# A close with a linger time of 0 sends RST in place of FIN.
_LINGER_0 = struct.pack("ii", 1, 0)

_NOTHING = memoryview(b"")

# A body that drips comes a hundred times a second.
_DRIP_S = 0.01


class Verdict(NamedTuple):
    """What becomes of a request.

    Attributes:
        answer: what S3 says to it.
        delay_s: seconds to the first byte.
        fault: what goes wrong with the answer, or None.
        kind: for the log: the fault's kind, another word for why the answer is no object, or None.
    """

    answer: Answer
    delay_s: float = 0.0
    fault: Fault | None = None
    kind: str | None = None


class Verdicts(Protocol):
    """What a connection asks of the server behind it."""

    @property
    def link(self) -> Link:
        """The line that all connections share."""
        ...

    def decide(self, request: Request) -> Verdict:
        """Asked once per request."""
        ...

    def number_connection(self) -> int:
        """The number of a connection, asked for when its first request has come."""
        ...

    def date_line(self) -> bytes:
        """The Date header of now, with its CRLF."""
        ...

    def record(self, row: Row) -> None:
        """Put a request into the log."""
        ...


class _Exchange:
    __slots__ = ("received_s", "request", "sent_bytes", "status", "verdict")

    def __init__(self, request: Request, verdict: Verdict) -> None:
        self.request = request
        self.verdict = verdict
        self.received_s = time.monotonic()
        self.status = 0
        self.sent_bytes = 0


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; pipelined requests are answered in order, each after its own latency."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._number: int | None = None
        self._heads = HeadReader()
        self._exchange: _Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = True
        self._is_writable = True
        self._is_over = False
        self._resets_when_written = False
        self._unsent = _NOTHING
        self._ending = Ending.KEEP
        self._line = verdicts.link
        self._has_turns = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        # uvloop's transports are asyncio's by shape alone.
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Either side closed it. A request that still waited is logged as not answered, or with what was sent."""
        del exc
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._record(self._exchange)

    def pause_writing(self) -> None:
        """The client reads more slowly than the answers come: begin no further one."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """What was written has left."""
        self._is_writable = True
        if self._resets_when_written:
            _reset(self._transport)
        elif self._unsent:
            self._take_turns()
        else:
            self._serve()

    def data_received(self, data: bytes) -> None:
        """Requests, or parts of them."""
        self._heads.feed(data)
        self._serve()
        if self._heads.is_full and not self._is_over:
            self._is_reading = False
            self._transport.pause_reading()

    def send_part(self, limit_bytes: int) -> tuple[int, bool]:
        """See `link.Sender`."""
        self._has_turns = False
        exchange = self._exchange
        if exchange is None or self._is_over or not self._is_writable:
            return 0, False
        part, self._unsent = self._unsent[:limit_bytes], self._unsent[limit_bytes:]
        self._transport.write(part)
        exchange.sent_bytes += len(part)
        if not self._unsent:
            self._end(exchange)
            self._serve()
            return len(part), False
        self._has_turns = self._is_writable
        return len(part), self._has_turns

    def _serve(self) -> None:
        """Take requests until one has to wait, or none is left."""
        while self._exchange is None and self._is_writable and not self._is_over:
            try:
                head = self._heads.next_head()
                if head is None:
                    break
                request = parse_head(head)
            except BadRequestError as error:
                self._refuse(error)
                break
            self._begin(request)
        if not self._is_reading and not self._is_over and not self._heads.is_full:
            self._is_reading = True
            self._transport.resume_reading()

    def _refuse(self, error: BadRequestError) -> None:
        answer = answer_error(400, message=str(error))
        delivery = deliver(answer, None, date_line=self._verdicts.date_line(), keeps_alive=False)
        self._transport.write(delivery.head)
        self._transport.write(delivery.body)
        self._is_over = True
        self._transport.close()

    def _begin(self, request: Request) -> None:
        if request.body_bytes == CHUNKED:
            # The end of such a body cannot be known without reading it.
            request = request._replace(keeps_alive=False)
        elif request.body_bytes:
            self._heads.skip(request.body_bytes)
        if self._number is None:
            self._number = self._verdicts.number_connection()
        verdict = self._verdicts.decide(request)
        self._exchange = _Exchange(request, verdict)
        if verdict.delay_s > 0:
            self._timer = asyncio.get_running_loop().call_later(verdict.delay_s, self._answer_late)
        else:
            self._answer()

    def _answer_late(self) -> None:
        self._answer()
        self._serve()

    def _answer(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        verdict = exchange.verdict
        delivery = deliver(
            verdict.answer,
            verdict.fault,
            date_line=self._verdicts.date_line(),
            keeps_alive=exchange.request.keeps_alive,
        )
        exchange.status = delivery.status
        self._ending = delivery.ending
        if delivery.ending is Ending.RESET:
            # Without a buffer, `pause_writing` tells whether anything waits.
            self._transport.set_write_buffer_limits(high=0)
        if delivery.head:
            self._transport.write(delivery.head)
        self._send(exchange, delivery)

    def _send(self, exchange: _Exchange, delivery: Delivery) -> None:
        body = delivery.body
        pace = delivery.bytes_s
        self._line = self._verdicts.link if pace is None else Link(pace, turn_s=_DRIP_S, least_bytes=1)
        if self._line.bytes_s is not None and body:
            self._unsent = body
            self._take_turns()
            return
        if body:
            self._transport.write(body)
        exchange.sent_bytes = len(body)
        self._end(exchange)

    def _take_turns(self) -> None:
        if not self._has_turns:
            self._has_turns = True
            self._line.join(self)

    def _end(self, exchange: _Exchange) -> None:
        self._exchange = None
        self._record(exchange)
        if self._ending is Ending.KEEP:
            return
        self._is_over = True
        if self._ending is Ending.CLOSE:
            self._transport.close()
        elif self._ending is Ending.RESET and self._is_writable:
            _reset(self._transport)
        elif self._ending is Ending.RESET:
            self._resets_when_written = True

    def _record(self, exchange: _Exchange) -> None:
        request, verdict = exchange.request, exchange.verdict
        times = (exchange.received_s, time.monotonic())
        assert self._number is not None
        self._verdicts.record(
            (
                request.method,
                verdict.answer.key,
                request.range,
                exchange.status,
                exchange.sent_bytes,
                *times,
                self._number,
                verdict.kind,
            )
        )


class RefusedConnection(asyncio.Protocol):
    """One that is reset as soon as it is made."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        _reset(transport)  # type: ignore[arg-type]


def _reset(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    transport.abort()
