"""One connection of our own HTTP client: a request goes out, its answer comes into the memory where it shall be.

The kernel copies a body straight to its place: `get_buffer` gives the loop the very memory that the consumer will get.
Only what comes in one piece with the head, some kilobytes, is copied once more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Protocol

from asyncio_loader.errors import ConnectionLost, FetchError, ServerFault, ShortRead
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.s3.deadline import TimedProtocol
from asyncio_loader.stores.s3.http1 import (
    HEAD_LIMIT_BYTES,
    INTERIM_LIMIT,
    ChunkedBody,
    Head,
    HttpViolation,
    parse_head,
)
from asyncio_loader.stores.s3.transport import Place, TransportError, closed, timed_out

__all__ = ["SCRATCH_BYTES", "Connection", "StaleConnection"]

SCRATCH_BYTES = 8 * 1024
"""What is asked of the kernel before the head is known: it holds a small object whole, and of a large one little that
would have to be copied."""

# Pieces that wait for who reads them; beyond it the server waits.
_PIECES_BYTES = 128 * 1024

# What a connection is about: nothing; a head shall come; a head has come and nobody said where the body goes; the body
# goes to its place; the body goes into pieces; all of it has come.
_IDLE, _HEAD, _RESTING, _PLACED, _PIECES, _OVER = range(6)


class _NoTransport(asyncio.Transport):
    """Before a connection stands, and after its end."""

    def abort(self) -> None:
        pass


_NONE = _NoTransport()


class StaleConnection(Exception):
    """The server had closed an idle connection when a request was sent on it: it takes another one."""


class Home(Protocol):
    """What a connection needs of the pool that it belongs to."""

    endpoint: str
    timeouts: RetryPolicy
    scratch: memoryview

    def remember(self, connection: Connection) -> None:
        """It stands."""
        ...

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        ...


class Connection(TimedProtocol):
    """HTTP/1.1 with one request at a time. Belongs to one loop; it is an `Answer` itself, of the request under way.

    Attributes:
        born_s: loop time of the connection's beginning.
        idle_since_s: loop time at which it became idle.
        is_closed: whether it is of no use any more.
        is_full: whether the last read took all that it had room for: more may have come already.
        is_reused: whether it has carried an answer.
        placed: see `Answer.placed`.
    """

    __slots__ = (
        "_chunks",
        "_early",
        "_error",
        "_head",
        "_home",
        "_interim",
        "_is_paused",
        "_left",
        "_method",
        "_partial",
        "_phase",
        "_pieces",
        "_pieces_bytes",
        "_place",
        "_room",
        "_spare_bytes",
        "_transport",
        "_waiter",
        "born_s",
        "idle_since_s",
        "is_closed",
        "is_full",
        "is_reused",
        "placed",
    )

    _head: Head

    def __init__(self, home: Home) -> None:
        super().__init__(home.timeouts)
        self._home = home
        self._transport: asyncio.Transport = _NONE
        self.born_s = self.idle_since_s = self._loop.time()
        self.is_closed = False
        self.placed: memoryview | None = None
        self._phase = _IDLE
        self.is_reused = False
        self.is_full = False
        self._is_paused = False
        self._method = ""
        self._place: Place | None = None
        self._partial = bytearray()
        self._interim = 0
        self._early = b""
        self._room: memoryview | None = None
        self._spare_bytes = 0
        self._left: int | None = 0
        self._chunks: ChunkedBody | None = None
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    # What the user calls.

    def ask(self, data: bytes, method: str, place: Place | None) -> asyncio.Future[None]:
        """Send a request without a body. What it returns is done when the head of the answer has come, and the body
        with it if `place` had room; awaiting it raises

        Raises:
            StaleConnection: the server closed it before any byte of an answer; only on one that was used before.
            TransportError: there is no answer.
        """
        self._waiter = waiter = self._loop.create_future()
        if self.is_closed:
            waiter.set_exception(StaleConnection() if self.is_reused else self._error or self._lost(None))
            return waiter
        self._phase = _HEAD
        self._method = method
        self._place = place
        self.placed = None
        self._interim = 0
        self._received_bytes = 0
        self._is_rested = False
        self._expect(self._timeouts.first_byte_timeout_s)
        self._transport.write(data)
        return waiter

    @property
    def status(self) -> int:
        """See `Answer`."""
        return self._head.status

    @property
    def reason(self) -> str:
        """See `Answer`."""
        return self._head.reason

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Answer`."""
        return self._head.headers

    @property
    def content_length(self) -> int | None:
        """See `Answer`."""
        return self._head.content_length

    def drop(self) -> None:
        """See `Answer`."""
        self.abort()

    async def read(self) -> Buffer:
        """See `Answer`."""
        if self._phase == _OVER and not self._pieces:
            return b""
        if self._phase == _RESTING:
            self._start_pieces()
        while not self._pieces and self._phase != _OVER:
            self._resume()
            self._expect_bytes()
            await self._wait()
        if self._error is not None:
            raise self._error
        pieces, self._pieces, self._pieces_bytes = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_into(self, target: memoryview) -> int:
        """See `Answer`."""
        if self._phase == _RESTING and self._left == len(target) and self._chunks is None:
            # All of the body: straight to its place.
            if self._error is not None:
                raise self._error
            self._begin_body()
            self._put_early(target, spare_bytes=0)
            if self._phase != _OVER:
                self._resume()
                await self._wait()
            return len(target)
        come = 0
        while come < len(target) and (piece := await self.read()):
            part = memoryview(piece)[: len(target) - come]
            target[come : come + len(part)] = part
            if len(part) < len(piece):
                rest = bytes(memoryview(piece)[len(part) :])
                self._pieces, self._pieces_bytes = [rest], len(rest)
            come += len(part)
        return come

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS object of the connection, if it has one."""
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return found

    def finish(self) -> bool:
        """The user is done with the answer; True if another request may follow. If not, the connection is dropped."""
        is_good = self._phase == _OVER and self._error is None and not self._pieces and self._head.keeps_alive
        if not is_good or self.is_closed:
            self.give_up()
            return False
        self._forget_request()
        self._phase = _IDLE
        self.is_reused = True
        self._deadline_s = None
        self.idle_since_s = self._loop.time()
        return True

    def abort(self) -> None:
        """Drop the connection at once. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self._drop_transport().abort()
        self._end_timer()

    def give_up(self) -> None:
        """Drop the connection, and with it what it knows of its request, which is for nobody any more. Idempotent."""
        self.abort()
        self._forget_request()

    def close(self) -> None:
        """Fail the request under way, if there is one, and drop the connection. Idempotent."""
        if self._phase == _IDLE:
            self.abort()
        else:
            self._fail(closed())

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        # uvloop's transports are asyncio's by shape alone.
        self._transport = transport  # type: ignore[assignment]
        self._home.remember(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._home.scratch if self._room is None else self._room

    def buffer_updated(self, nbytes: int) -> None:
        """They have come."""
        room = self._room
        if room is None:
            scratch = self._home.scratch
            self.is_full = nbytes == len(scratch)
            self._take(bytes(scratch[:nbytes]))
            return
        left = len(room) - self._spare_bytes - nbytes
        if left > 0:
            self._room = room[nbytes:]
            self._received_bytes += nbytes
            self._expect_bytes()
            return
        self._room = None
        if left < 0:
            self._offend("bytes come behind the end of the answer")
        else:
            self.is_full = not self._spare_bytes
            self._end_body()

    def connection_lost(self, exc: Exception | None) -> None:
        """Either side has closed it."""
        self.is_closed = True
        self._end_timer()
        self._room = None
        self._home.forget(self)
        self._drop_transport()
        if self._phase == _HEAD and self.is_reused and not self._partial and not self._interim:
            self._settle(StaleConnection())
        elif self._phase == _PIECES and self._left is None and self._chunks is None and exc is None:
            # A body without a frame ends with the connection.
            self._end_body()
        elif self._phase in (_HEAD, _RESTING, _PLACED, _PIECES):
            self._settle(self._lost(exc))

    # The head.

    def _take(self, data: bytes) -> None:
        try:
            if self._phase == _HEAD:
                self._take_head(data)
            elif self._phase == _PIECES:
                self._take_piece(data)
            elif self._phase == _RESTING and (self._left is None or len(self._early) + len(data) <= self._left):
                self._early += data
            else:
                # Nothing was asked for: an answer to nothing, or bytes behind the body.
                self._offend("bytes come behind the end of the answer")
        except HttpViolation as error:
            self._offend(str(error))

    def _take_head(self, data: bytes) -> None:
        if self._partial:
            start = max(0, len(self._partial) - 3)
            self._partial += data
            end = self._partial.find(b"\r\n\r\n", start) + 4
            data = bytes(self._partial) if end > 3 else b""
        else:
            end = data.find(b"\r\n\r\n") + 4
        if (end > 3 and end > HEAD_LIMIT_BYTES) or (end <= 3 and len(self._partial) + len(data) > HEAD_LIMIT_BYTES):
            raise HttpViolation(f"the head of the answer has more than {HEAD_LIMIT_BYTES} bytes")
        if end <= 3:
            if data:
                self._partial += data
            return
        if self._partial:
            self._partial = bytearray()
        head = parse_head(data[:end], method=self._method)
        if head.is_interim:
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise HttpViolation(f"more than {INTERIM_LIMIT} interim answers come")
            if len(data) > end:
                self._take_head(data[end:])
            return
        self._head = head
        self._begin_answer(head, data[end:])

    def _begin_answer(self, head: Head, early: bytes) -> None:
        self._early = early
        self._left = left = head.body_bytes
        if left is not None and not head.is_chunked and len(early) > left:
            raise HttpViolation("bytes come behind the end of the answer")
        self._chunks = ChunkedBody() if head.is_chunked else None
        if left == 0:
            self._end_body()
            return
        if self._place is not None and left is not None and head.status == 200:
            try:
                target = self._place(left)
            except Exception as error:  # noqa: BLE001  # for who waits, not for the loop that calls this
                self._fail(error)
                return
            if target is not None:
                self.placed = target[:left]
                self._begin_body()
                self._put_early(target, spare_bytes=1)
                return
        # Somebody has to say first where the body goes.
        self._phase = _RESTING
        self._deadline_s = None
        self._pause()
        self._settle(None)

    # The body.

    def _put_early(self, target: memoryview, *, spare_bytes: int) -> None:
        early, self._early = self._early, b""
        come = len(early)
        target[:come] = early
        self._received_bytes = come
        if come == len(target) - spare_bytes:
            self._end_body()
        else:
            self._phase = _PLACED
            self._room = target[come:]
            self._spare_bytes = spare_bytes

    def _start_pieces(self) -> None:
        self._phase = _PIECES
        self._resume()
        self._begin_body()
        early, self._early = self._early, b""
        if early:
            self._take(early)

    def _take_piece(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._chunks is not None:
            pieces = self._chunks.feed(data)
            is_over = self._chunks.is_over
        else:
            pieces = [data]
            if self._left is not None:
                self._left -= len(data)
                if self._left < 0:
                    raise HttpViolation("bytes come behind the end of the answer")
            is_over = self._left == 0
        self._pieces += pieces
        self._pieces_bytes += sum(map(len, pieces))
        if is_over:
            self._end_body()
            return
        if self._pieces_bytes < _PIECES_BYTES:
            self._expect_bytes()
        else:
            # Nothing comes any more, and that is not the server's fault.
            self._pause()
            self.rest()
        if pieces:
            self._settle(None)

    def _end_body(self) -> None:
        self._phase = _OVER
        self._deadline_s = None
        # Whatever comes now was not asked for, and must be noticed.
        self._resume()
        self._settle(None)

    def _pause(self) -> None:
        if not self._is_paused and not self.is_closed:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self.is_closed:
            self._is_paused = False
            self._transport.resume_reading()

    # Waiting, and what ends it.

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        await self._waiter

    def _settle(self, error: Exception | None) -> None:
        """Wake who waits; an error stays for whoever comes later."""
        if error is not None and self._error is None:
            self._error = error
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _drop_transport(self) -> asyncio.Transport:
        """uvloop's refers to this even when it is closed: only a collector would end that."""
        transport, self._transport = self._transport, _NONE
        return transport

    def _forget_request(self) -> None:
        """Its error's traceback has the frames of who got it, and they have this: only a collector would end that."""
        self._place = self.placed = self._room = None
        self._waiter = self._error = None

    def _fail(self, error: Exception) -> None:
        self._room = None
        self._settle(error)
        self.abort()

    def _offend(self, what: str) -> None:
        """The server breaks the protocol: nothing more is believed that comes from there."""
        self._fail(TransportError(f"{self._home.endpoint}: {what}", kind=ServerFault))

    def _lost(self, exc: Exception | None) -> TransportError:
        endpoint = self._home.endpoint
        if exc is None and self._phase != _HEAD:
            return TransportError(f"{endpoint} ended the body before it was complete", kind=ShortRead)
        kind: type[FetchError] = ConnectionLost
        name = type(exc).__name__ if exc is not None else "end of stream"
        return TransportError(f"{endpoint} closed the connection ({name})", kind=kind)

    # Time.

    def _time_is_up(self) -> None:
        phase = "head" if self._phase == _HEAD else "bytes"
        self._fail(timed_out(phase, self._home.endpoint, self._timeouts))
