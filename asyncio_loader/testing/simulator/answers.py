"""Requests to answers: what a bucket that may be read only says, without a thought for time or sockets."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from asyncio_loader.testing.simulator.listing import InvalidArgumentError, ListingQuery, render_page
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.times import http_time

__all__ = ["Answer", "Bucket", "answer_document", "answer_error"]

_EMPTY = memoryview(b"")

_ERRORS = {
    400: ("InvalidArgument", "Invalid Argument"),
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    405: ("MethodNotAllowed", "The specified method is not allowed against this resource."),
    416: ("InvalidRange", "The requested range is not satisfiable"),
    429: ("TooManyRequests", "Please reduce your request rate."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


class Answer(NamedTuple):
    """One answer.

    Attributes:
        status: HTTP status.
        head: from the status line to the last header of the answer's own, CRLF included. Date, Connection and the
            blank line are the connection's to add.
        body: the bytes that follow. None for a HEAD, though Content-Length tells what a GET would bring.
        key: the object's key, decoded; empty for anything else.
    """

    status: int
    head: bytes
    body: memoryview
    key: str


class Bucket:
    """The one bucket that is served, addressed by path or by Host header."""

    def __init__(self, name: str, objects: Mapping[str, StoredObject]) -> None:
        self._name = name
        self._objects = objects
        self._sorted_keys = sorted(key.encode() for key in objects)
        self._whole: dict[str, Answer] = {}

    def answer(self, request: Request) -> Answer:
        """What S3 would say."""
        target = request.target
        if request.host.startswith(self._name + ".") and not request.host.startswith("127.0.0.1"):
            target = f"/{self._name}{target}"
        is_whole = request.range is None and request.method == "GET"
        ready = self._whole.get(target) if is_whole else None
        if ready is not None:
            return ready
        answer = self._answer_target(target, request)
        if request.method == "HEAD":
            return answer._replace(body=_EMPTY)
        if is_whole and answer.key and answer.status == 200:
            self._whole[target] = answer
        return answer

    def _answer_target(self, target: str, request: Request) -> Answer:
        path, _, query = target.partition("?")
        bucket, _, quoted_key = path.removeprefix("/").partition("/")
        key = unquote(quoted_key)
        if request.method not in ("GET", "HEAD") or not bucket:
            return answer_error(405, key=key)
        if unquote(bucket) != self._name:
            return answer_error(404, "NoSuchBucket", "The specified bucket does not exist")
        if key:
            return self._answer_object(key, request.range)
        if request.method == "HEAD":
            return _assemble(200, [("x-amz-bucket-region", "us-east-1")], _EMPTY)
        # A blank value (`delimiter=`) is a value.
        return self._answer_listing(dict(parse_qsl(query, keep_blank_values=True)))

    def _answer_listing(self, parameters: dict[str, str]) -> Answer:
        if parameters.get("list-type") != "2":
            return answer_error(405)
        try:
            document = render_page(self._name, self._objects, self._sorted_keys, ListingQuery.parse(parameters))
        except InvalidArgumentError as error:
            return answer_error(400, message=str(error))
        return answer_document(document, "application/xml")

    def _answer_object(self, key: str, byte_range: str | None) -> Answer:
        stored = self._objects.get(key)
        if stored is None:
            return answer_error(404, key=key)
        headers = [
            ("Last-Modified", http_time(stored.modified_s)),
            ("ETag", f'"{stored.etag}"'),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "binary/octet-stream"),
        ]
        size = len(stored.body)
        span = _parse_range(byte_range, size) if byte_range else None
        if span is None:
            return _assemble(200, headers, stored.body, key=key)
        if span.start >= span.stop:
            return answer_error(416, key=key, extra=[("Content-Range", f"bytes */{size}")])
        headers.append(("Content-Range", f"bytes {span.start}-{span.stop - 1}/{size}"))
        return _assemble(206, headers, stored.body[span.start : span.stop], key=key)


def answer_error(
    status: int,
    code: str | None = None,
    message: str | None = None,
    *,
    key: str = "",
    method: str = "GET",
    extra: list[tuple[str, str]] | None = None,
) -> Answer:
    """An error document of S3. `code` and `message`: None for the usual ones of the status. A HEAD gets none."""
    usual = _ERRORS.get(status) or _ERRORS[500 if status >= 500 else 400]
    document = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code or usual[0]}</Code>'
        f"<Message>{escape(message or usual[1])}</Message><Key>{escape(key)}</Key>"
        "<RequestId>SIMULATOR</RequestId></Error>"
    ).encode()
    headers = [("Content-Type", "application/xml"), *(extra or [])]
    answer = _assemble(status, headers, document, key=key)
    return answer._replace(body=_EMPTY) if method == "HEAD" else answer


def answer_document(document: bytes, content_type: str) -> Answer:
    """A document that is no object."""
    return _assemble(200, [("Content-Type", content_type)], document)


def _parse_range(text: str, size_bytes: int) -> range | None:
    """The bytes meant; empty where none of them exist; None where S3 ignores the header and sends everything."""
    unit, _, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    is_number = all(part == "" or (part.isascii() and part.isdigit()) for part in (first, last))
    if unit.strip() != "bytes" or not dash or not is_number or not (first or last):
        return None
    if not first:
        return range(max(0, size_bytes - int(last)), size_bytes)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size_bytes, int(last) + 1) if last else size_bytes)


def _assemble(status: int, headers: list[tuple[str, str]], body: bytes | memoryview, *, key: str = "") -> Answer:
    lines = [f"HTTP/1.1 {status} {_reason(status)}", "Server: S3Simulator", "x-amz-request-id: SIMULATOR"]
    lines.extend(f"{name}: {value}" for name, value in headers)
    lines.append(f"Content-Length: {len(body)}\r\n")
    return Answer(status, "\r\n".join(lines).encode("latin-1"), memoryview(body), key)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
