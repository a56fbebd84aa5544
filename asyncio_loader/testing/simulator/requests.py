"""The head of an HTTP/1.1 request, read as far as a read-only S3 needs it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CHUNKED", "BadRequestError", "HeadReader", "Request", "parse_head"]

CHUNKED = -1
"""`Request.body_bytes` of a body whose length is not announced."""

_HEAD_LIMIT_BYTES = 64 * 1024


class BadRequestError(Exception):
    """These bytes are not the head of a request."""


class Request(NamedTuple):
    """One request.

    Attributes:
        method: ``GET``, …
        target: as it stands in the request line, percent-encoded, the query included.
        host: Host header, lower case, or empty.
        range: Range header, or None.
        keeps_alive: whether the connection stays open after the answer.
        body_bytes: length of the body that follows, or `CHUNKED`.
        headers: all of them, lower case, each with CRLF before and after it; see `header`.
    """

    method: str
    target: str
    host: str
    range: str | None
    keeps_alive: bool
    body_bytes: int
    headers: str = ""

    def header(self, name: str) -> str:
        """Value of a header, in lower case as its name is here; empty where there is none."""
        return _find(self.headers, f"\r\n{name}:")


def parse_head(head: bytes) -> Request:
    """Read a head.

    Args:
        head: from the request line to the end of the last header, its CRLF included, the blank line not.

    Raises:
        BadRequestError: see there.
    """
    # One lower-cased copy and a search for each header of interest take 2 µs; splitting a signed request into all of
    # its headers would take five times that.
    text = head.decode("latin-1")
    line, _, rest = text.partition("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequestError(f"request line {line[:200]!r}")
    lowered = "\r\n" + rest.lower()
    connection = _find(lowered, "\r\nconnection:")
    keeps_alive = "keep-alive" in connection if parts[2] == "HTTP/1.0" else "close" not in connection
    byte_range = _find(lowered, "\r\nrange:") or None
    host = _find(lowered, "\r\nhost:")
    return Request(parts[0], parts[1], host, byte_range, keeps_alive, _body_bytes(lowered), lowered)


def _find(lowered: str, name: str) -> str:
    start = lowered.find(name)
    if start < 0:
        return ""
    start += len(name)
    return lowered[start : lowered.find("\r\n", start)].strip()


def _body_bytes(lowered: str) -> int:
    length = _find(lowered, "\r\ncontent-length:")
    if length and not (length.isascii() and length.isdigit()):
        raise BadRequestError(f"Content-Length {length[:200]!r}")
    if length:
        return int(length)
    return CHUNKED if _find(lowered, "\r\ntransfer-encoding:") else 0


class HeadReader:
    """Cuts a stream of bytes into the heads of requests, and drops their bodies: nothing here takes one."""

    def __init__(self) -> None:
        self._waiting = b""
        self._skip_bytes = 0

    @property
    def is_full(self) -> bool:
        """True where as much waits as one head may have: read no further before `next_head` has been asked."""
        return len(self._waiting) > _HEAD_LIMIT_BYTES

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._waiting = self._waiting + data if self._waiting else data

    def skip(self, count_bytes: int) -> None:
        """The next so many bytes are a body."""
        self._skip_bytes = count_bytes

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting = b""

    def next_head(self) -> bytes | None:
        """A head as `parse_head` takes it, or None where none is complete.

        Raises:
            BadRequestError: it is longer than 64 KiB.
        """
        if self._skip_bytes:
            skipped = min(self._skip_bytes, len(self._waiting))
            self._skip_bytes -= skipped
            self._waiting = self._waiting[skipped:]
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0:
            if self.is_full:
                raise BadRequestError("the head has no end")
            return None
        head, self._waiting = self._waiting[: end + 2], self._waiting[end + 4 :]
        return head
