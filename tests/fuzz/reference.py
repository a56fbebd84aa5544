"""h11, the reference: what it makes of the bytes that a server sends."""

from __future__ import annotations

from dataclasses import dataclass, field

import h11

__all__ = ["Reading", "read_with_h11"]


@dataclass
class Reading:
    """An answer as h11 reads it.

    Attributes:
        status: of the answer, None where none came.
        headers: of the answer.
        body: what came of it.
        is_whole: whether the answer has come to its end.
        rest: bytes behind it.
        offence: why h11 refuses it.
    """

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_whole: bool = False
    rest: bytes = b""
    offence: str | None = None

    @property
    def content_length(self) -> int | None:
        """What the head announces."""
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)


def read_with_h11(data: bytes, *, method: str = "GET", is_closed: bool = False) -> Reading:
    """Let h11 read an answer.

    Args:
        data: everything that came.
        method: of the request.
        is_closed: whether the connection was closed behind it.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "server")]))
    connection.send(h11.EndOfMessage())
    reading, body = Reading(), bytearray()
    try:
        connection.receive_data(data)
        if is_closed:
            connection.receive_data(b"")
        while not isinstance(event := connection.next_event(), type):
            match event:
                case h11.Response():
                    reading.status, reading.headers = event.status_code, list(event.headers)
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    reading.is_whole = True
                    break
                case h11.ConnectionClosed():
                    break
    except h11.RemoteProtocolError as error:
        reading.offence = str(error)
    reading.body, reading.rest = bytes(body), connection.trailing_data[0]
    return reading
