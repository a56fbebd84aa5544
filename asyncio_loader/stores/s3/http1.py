"""HTTP/1.1 as far as S3 speaks it: a request as bytes, an answer's head and a chunked body from bytes. Pure.

Sources: RFC 9110 (semantics) and RFC 9112 (the syntax on the wire). Strict where leniency lets one party of a
connection see another message than the other one ("request smuggling", RFC 9112, section 11.2): no bare line feed, no
folded line, no space before a colon, no Content-Length beside a Transfer-Encoding or twice, no coding but chunked.
What is refused here is refused for good: such a connection is not used again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from asyncio_loader.errors import ConfigError

__all__ = [
    "BODY_LIMIT_BYTES",
    "CHUNK_LINE_LIMIT_BYTES",
    "FIELD_LIMIT",
    "HEAD_LIMIT_BYTES",
    "INTERIM_LIMIT",
    "ChunkedBody",
    "Head",
    "Headers",
    "HttpViolation",
    "check_headers",
    "parse_head",
    "render_request",
]

HEAD_LIMIT_BYTES = 64 * 1024
"""Status line and header fields together, also the trailer of a chunked body. S3's are below 1 KB, and 2 KB of user
metadata may come with them ("Working with object metadata", Amazon S3 User Guide)."""

FIELD_LIMIT = 256
"""Header fields of an answer; S3 sends some 15."""

BODY_LIMIT_BYTES = 10**15
"""What a Content-Length or a chunk may announce: above any object (S3: 50 TB), far below what overflows anything."""

CHUNK_LINE_LIMIT_BYTES = 1024
"""A chunk's size with its extensions; ``aws-chunked`` signatures have 85."""

INTERIM_LIMIT = 16
"""Answers of 1xx before the answer."""

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*+))?\r\n"
    # A token, a colon, and visible characters, blanks and bytes above ASCII (RFC 9110, section 5.5).
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+)\r\n"
)
# Of well-formed lines, those that say where the answer ends.
_FRAMING = re.compile(rb"\n((?i:content-length|transfer-encoding|connection)):([^\r]*+)")
_NUMBER = re.compile(rb"[0-9]{1,16}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*+|[\t ]*+)\r\n")
_TRAILER = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+\r\n")
# Line by line what a request may consist of: anything visible, and one blank after another.
_REQUEST = re.compile(r"[A-Z]++ /[!-~]*+ HTTP/1\.1\r\n(?:[0-9a-z\-]++: [\t -~]*+\r\n)++\r\n")


class HttpViolation(Exception):
    """The server sends what is no HTTP/1.1, or more than a limit; says what, without a byte of it."""


class Headers(Mapping[str, str]):
    """Header fields by their names in any case; a name that stands twice has its values joined by a comma.

    They are taken apart when the first one is asked for.
    """

    __slots__ = ("_fields", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Args: raw: the lines, each with its end, already known to be well-formed."""
        self._raw = raw
        self._fields: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._parsed()[name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """The value of a field, else the default."""
        return self._parsed().get(name.lower(), default)

    def find(self, pattern: re.Pattern[bytes]) -> list[Any]:
        """What a pattern finds in the lines as they came, a line feed before each: cheaper than to take all apart."""
        return pattern.findall(b"\n" + self._raw)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parsed())

    def __len__(self) -> int:
        return len(self._parsed())

    def _parsed(self) -> dict[str, str]:
        if self._fields is None:
            fields: dict[str, str] = {}
            for line in self._raw.decode("latin-1").split("\r\n"):
                name, colon, value = line.partition(":")
                if colon:
                    name, value = name.lower(), value.strip(" \t")
                    fields[name] = f"{fields[name]}, {value}" if name in fields else value
            self._fields = fields
        return self._fields


class Head:
    """The head of an answer, and what it says of the body.

    Attributes:
        status: the status code.
        headers: the fields.
        content_length: bytes that the head announces, also where no body follows (HEAD); None where it does not.
        body_bytes: bytes of the body that follows; None: that shows as it comes (`is_chunked`, or it ends with the
            connection).
        is_chunked: whether the body comes in chunks.
        keeps_alive: whether the connection may serve another request after the body.
    """

    __slots__ = ("_reason", "body_bytes", "content_length", "headers", "is_chunked", "keeps_alive", "status")

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: Headers,
        content_length: int | None,
        body_bytes: int | None,
        is_chunked: bool,
        keeps_alive: bool,
    ) -> None:
        self.status = status
        self._reason = reason
        self.headers = headers
        self.content_length = content_length
        self.body_bytes = body_bytes
        self.is_chunked = is_chunked
        self.keeps_alive = keeps_alive

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self._reason.decode("latin-1")

    @property
    def is_interim(self) -> bool:
        """Whether the answer is still to come (1xx)."""
        return self.status < 200


def parse_head(raw: bytes, *, method: str = "GET") -> Head:
    """Take a head apart.

    Args:
        raw: status line and fields, up to and with the empty line.
        method: of the request; an answer to HEAD has no body.

    Raises:
        HttpViolation: it is no head, or one that leaves open where the body ends.
    """
    match = _HEAD.fullmatch(raw)
    if match is None:
        raise HttpViolation("the answer is not HTTP")
    minor, code, reason, lines = match.groups()
    if lines.count(b"\n") > FIELD_LIMIT:
        raise HttpViolation(f"the answer has more than {FIELD_LIMIT} header fields")
    length = coding = connection = None
    for name, padded in _FRAMING.findall(b"\n" + lines):
        value = padded.strip(b"\t ")
        match name.lower():
            case b"content-length" if length is None and _NUMBER.fullmatch(value):
                length = int(value)
            case b"content-length":
                raise HttpViolation("the Content-Length of the answer is no size")
            case b"transfer-encoding":
                coding = value.lower() if coding is None else b"two of them"
            case _:
                connection = value if connection is None else connection + b"," + value
    if length is not None and length > BODY_LIMIT_BYTES:
        raise HttpViolation("the Content-Length of the answer is no size")
    if coding is not None and (length is not None or coding != b"chunked" or minor == b"0"):
        raise HttpViolation("the answer does not tell plainly where it ends (Transfer-Encoding)")
    status = int(code)
    headers = Headers(lines)
    if status < 200:
        if status == 101:
            raise HttpViolation("the answer changes the protocol")
        return Head(status, reason or b"", headers, None, 0, False, True)
    has_body = method != "HEAD" and status not in (204, 304)
    body_bytes = length if has_body else 0
    is_chunked = has_body and coding is not None
    keeps_alive = minor == b"1" if connection is None else _keeps_alive(connection, minor == b"1")
    # Without any frame the body ends with the connection.
    if body_bytes is None and not is_chunked:
        keeps_alive = False
    return Head(status, reason or b"", headers, length, body_bytes, is_chunked, keeps_alive)


def _keeps_alive(connection: bytes, by_default: bool) -> bool:
    options = {option.strip().lower() for option in connection.split(b",")}
    return b"close" not in options and (by_default or b"keep-alive" in options)


class ChunkedBody:
    """Takes a chunked body apart (RFC 9112, section 7.1), however the bytes come in.

    Attributes:
        is_over: whether its end has come, the trailer included. Trailer fields are checked and dropped.
    """

    __slots__ = ("_left", "_line", "_state", "is_over")

    _SIZE, _DATA, _END, _TRAILER = range(4)

    def __init__(self) -> None:
        self.is_over = False
        self._state = self._SIZE
        self._line = bytearray()
        self._left = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of the body in these bytes.

        Raises:
            HttpViolation: it is no chunked body; or bytes come behind its end.
        """
        pieces: list[bytes] = []
        place = 0
        while place < len(data):
            if self.is_over:
                raise HttpViolation("bytes come behind the end of the answer")
            if self._state == self._DATA:
                piece = data[place : place + self._left]
                pieces.append(piece)
                place += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = self._END
            else:
                place = self._read_line(data, place)
        return pieces

    def _read_line(self, data: bytes, place: int) -> int:
        """Go on to the end of the line, if it is there; where the next thing begins."""
        end = data.find(b"\n", place) + 1
        self._line += data[place : end or len(data)]
        limit = HEAD_LIMIT_BYTES if self._state == self._TRAILER else CHUNK_LINE_LIMIT_BYTES
        if len(self._line) > limit:
            raise HttpViolation(f"a chunk of the answer has more than {limit} bytes around its data")
        if not end:
            return len(data)
        if self._state == self._TRAILER:
            self._end_trailer_line()
        else:
            line, self._line = bytes(self._line), bytearray()
            self._end_line(line)
        return end

    def _end_line(self, line: bytes) -> None:
        if self._state == self._END:
            if line != b"\r\n":
                raise HttpViolation("a chunk of the answer is longer than it says")
            self._state = self._SIZE
            return
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise HttpViolation("a chunk of the answer has no size")
        self._left = int(match[1], 16)
        if self._left > BODY_LIMIT_BYTES:
            raise HttpViolation("a chunk of the answer has an impossible size")
        self._state = self._DATA if self._left else self._TRAILER

    def _end_trailer_line(self) -> None:
        # The empty line alone, or behind the last field.
        if self._line == b"\r\n" or self._line.endswith(b"\n\r\n"):
            # A frame that comes behind the body is none, or not ours.
            if _TRAILER.fullmatch(self._line) is None or _FRAMING.search(b"\n" + self._line):
                raise HttpViolation("the trailer of the answer is malformed")
            self.is_over = True


def render_request(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request without a body.

    Args:
        method: in capitals.
        target: path and query, percent-encoded.
        headers: names in lower case, ``host`` included; values of ASCII.

    Raises:
        ConfigError: something in it is no part of a request, a line end for example; says which, without its value.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    text = f"{method} {target} HTTP/1.1\r\n{lines}\r\n"
    # Counted, because a value with a line end in it may well look like two headers.
    if _REQUEST.fullmatch(text) is None or text.count("\n") != len(headers) + 2:
        raise ConfigError(_fault_of(target, headers))
    return text.encode("ascii")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what `render_request` would refuse, for a client that renders by itself. Raises ConfigError."""
    render_request("GET", "/", headers)


def _fault_of(target: str, headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not re.fullmatch(r"[0-9a-z\-]+", name) or not re.fullmatch(r"[\t -~]*", value):
            return f"the header {name!r} cannot be sent"
    return f"the target of {len(target)} characters cannot be sent"
