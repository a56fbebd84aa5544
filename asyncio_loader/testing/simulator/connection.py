"""One connection: requests in, answers out, one after the other.

There is no task per request and no copy of a body: a request costs the server little more than the kernel takes to
send its answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import Protocol

from asyncio_loader.testing.simulator.answers import Answer, answer_error
from asyncio_loader.testing.simulator.faults import Fault
from asyncio_loader.testing.simulator.log import Row
from asyncio_loader.testing.simulator.requests import CHUNKED, BadRequestError, HeadReader, Request, parse_head

__all__ = ["Connection", "Verdicts"]

# A close with a linger time of 0 sends RST in place of FIN.
_LINGER_0 = struct.pack("ii", 1, 0)


class Verdicts(Protocol):
    """What a connection asks of the server behind it."""

    def decide(self, request: Request) -> tuple[Answer, float, Fault | None]:
        """Answer, seconds to its first byte, and the fault that it meets. Asked once per request."""
        ...

    def control(self, request: Request) -> Answer | None:
        """The answer to a request for the simulator itself, None where it is one for S3."""
        ...

    def date_line(self) -> bytes:
        """The Date header of now, with its CRLF."""
        ...

    def record(self, row: Row) -> None:
        """Put a request into the log."""
        ...


class _Exchange:
    __slots__ = ("answer", "fault", "received_s", "request")

    def __init__(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        self.request = request
        self.answer = answer
        self.fault = fault
        self.received_s = time.monotonic()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive; pipelined requests are answered in order, each after its own latency."""

    def __init__(self, verdicts: Verdicts, number: int) -> None:
        self._verdicts = verdicts
        self._number = number
        self._heads = HeadReader()
        self._exchange: _Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = True
        self._is_writable = True
        self._is_over = False
        self._resets_when_written = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        # uvloop's transports are asyncio's by shape alone.
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Either side closed it. A request that still waited is logged as not answered."""
        del exc
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._record(self._exchange, status=0, sent_bytes=0)

    def pause_writing(self) -> None:
        """The client reads more slowly than the answers come: begin no further one."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """What was written has left."""
        self._is_writable = True
        if self._resets_when_written:
            self._reset()
        else:
            self._serve()

    def data_received(self, data: bytes) -> None:
        """Requests, or parts of them."""
        self._heads.feed(data)
        self._serve()
        if self._heads.is_full and not self._is_over:
            self._is_reading = False
            self._transport.pause_reading()

    def _serve(self) -> None:
        """Take requests until one has to wait, or none is left."""
        while self._exchange is None and self._is_writable and not self._is_over:
            try:
                head = self._heads.next_head()
                if head is None:
                    break
                request = parse_head(head)
            except BadRequestError as error:
                self._write(answer_error(400, message=str(error)), keeps_alive=False)
                break
            self._begin(request)
        if not self._is_reading and not self._is_over and not self._heads.is_full:
            self._is_reading = True
            self._transport.resume_reading()

    def _begin(self, request: Request) -> None:
        if request.body_bytes == CHUNKED:
            # The end of such a body cannot be known without reading it.
            request = request._replace(keeps_alive=False)
        elif request.body_bytes:
            self._heads.skip(request.body_bytes)
        control = self._verdicts.control(request)
        if control is not None:
            self._write(control, request.keeps_alive)
            return
        answer, delay_s, fault = self._verdicts.decide(request)
        self._exchange = _Exchange(request, answer, fault)
        if delay_s > 0:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._finish_late)
        else:
            self._finish()

    def _finish_late(self) -> None:
        self._finish()
        self._serve()

    def _finish(self) -> None:
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        if exchange.fault is not None and exchange.fault.kind != "status":
            self._fail(exchange, exchange.fault)
            return
        self._write(exchange.answer, exchange.request.keeps_alive)
        self._record(exchange, exchange.answer.status, len(exchange.answer.body))

    def _write(self, answer: Answer, keeps_alive: bool) -> None:
        ending = b"\r\n" if keeps_alive else b"Connection: close\r\n\r\n"
        self._transport.write(answer.head + self._verdicts.date_line() + ending)
        if len(answer.body):
            self._transport.write(answer.body)
        if not keeps_alive:
            self._is_over = True
            self._transport.close()

    def _fail(self, exchange: _Exchange, fault: Fault) -> None:
        self._is_over = True
        after_bytes = fault.after_bytes
        if after_bytes is None and fault.kind == "short":
            after_bytes = len(exchange.answer.body) // 2
        if after_bytes is None:
            self._record(exchange, status=0, sent_bytes=0)
        else:
            body = exchange.answer.body[:after_bytes]
            # Without a buffer, `pause_writing` tells whether anything of it waits.
            self._transport.set_write_buffer_limits(high=0)
            self._transport.write(b"".join((exchange.answer.head, self._verdicts.date_line(), b"\r\n", body)))
            self._record(exchange, exchange.answer.status, len(body))
        if fault.kind == "short":
            self._transport.close()
        elif fault.kind == "reset" and self._is_writable:
            self._reset()
        elif fault.kind == "reset":
            self._resets_when_written = True

    def _reset(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._transport.abort()

    def _record(self, exchange: _Exchange, status: int, sent_bytes: int) -> None:
        request, answer, fault = exchange.request, exchange.answer, exchange.fault
        times = (exchange.received_s, time.monotonic())
        kind = fault.kind if fault else None
        self._verdicts.record(
            (request.method, answer.key, request.range, status, sent_bytes, *times, self._number, kind)
        )
