"""Requests to answers: what a bucket that may be read only says, without a thought for time or sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from asyncio_loader.testing.simulator.checksums import Checksum, encode_checksum
from asyncio_loader.testing.simulator.listing import InvalidArgumentError, ListingQuery, render_page
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.spool import StoredObject
from asyncio_loader.testing.simulator.times import http_time

__all__ = ["Answer", "Bucket", "answer_document", "answer_error"]

_EMPTY = memoryview(b"")

# "Error responses", Amazon S3 API reference: the usual code of a status, and what S3 says with a code.
_CODES = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    400: "InvalidArgument",
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    416: "InvalidRange",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}
_MESSAGES = {
    "AccessDenied": "Access Denied",
    "ExpiredToken": "The provided token has expired.",
    "InternalError": "We encountered an internal error. Please try again.",
    "InvalidArgument": "Invalid Argument",
    "InvalidRange": "The requested range is not satisfiable",
    "MethodNotAllowed": "The specified method is not allowed against this resource.",
    "NoSuchBucket": "The specified bucket does not exist",
    "NoSuchKey": "The specified key does not exist.",
    "PermanentRedirect": "The bucket you are attempting to access must be addressed using the specified endpoint."
    " Please send all future requests to this endpoint.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "SlowDown": "Please reduce your request rate.",
    "TooManyRequests": "Please reduce your request rate.",
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

    def __init__(self, name: str, objects: Mapping[str, StoredObject], *, checksum: Checksum | None = None) -> None:
        self._name = name
        self._objects = objects
        self._checksum = checksum
        self._sorted_keys = sorted(key.encode() for key in objects)
        self._whole: dict[str, Answer] = {}
        self._whole_with_checksum: dict[str, Answer] = {}

    def answer(self, request: Request) -> Answer:
        """What S3 would say."""
        target = request.target
        if request.host.startswith(self._name + ".") and not request.host.startswith("127.0.0.1"):
            target = f"/{self._name}{target}"
        if request.range is not None or request.method != "GET":
            answer = self._answer_target(target, request)
            return answer._replace(body=_EMPTY) if request.method == "HEAD" else answer
        ready = self._whole_with_checksum if _wants_checksum(request) else self._whole
        answer = ready.get(target) or self._answer_target(target, request)
        if answer.key and answer.status == 200:
            ready[target] = answer
        return answer

    def _answer_target(self, target: str, request: Request) -> Answer:
        path, _, query = target.partition("?")
        bucket, _, quoted_key = path.removeprefix("/").partition("/")
        key = unquote(quoted_key)
        if request.method not in ("GET", "HEAD") or not bucket:
            return answer_error(405, key=key)
        if unquote(bucket) != self._name:
            return answer_error(404, "NoSuchBucket")
        if key:
            return self._answer_object(key, request)
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

    def _answer_object(self, key: str, request: Request) -> Answer:
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
        span = _parse_range(request.range, size) if request.range else None
        if span is None:
            headers += self._checksum_headers(stored, request)
            return _assemble(200, headers, stored.body, key=key)
        if span.start >= span.stop:
            return answer_error(416, key=key, extra=[("Content-Range", f"bytes */{size}")])
        headers.append(("Content-Range", f"bytes {span.start}-{span.stop - 1}/{size}"))
        return _assemble(206, headers, stored.body[span.start : span.stop], key=key)

    def _checksum_headers(self, stored: StoredObject, request: Request) -> list[tuple[str, str]]:
        # That of the whole object tells nothing of a part: a range gets none.
        if self._checksum is None or not _wants_checksum(request):
            return []
        value = encode_checksum(self._checksum, stored.body)
        return [(f"x-amz-checksum-{self._checksum}", value), ("x-amz-checksum-type", "FULL_OBJECT")]


def answer_error(
    status: int,
    code: str | None = None,
    message: str | None = None,
    *,
    key: str = "",
    method: str = "GET",
    extra: Sequence[tuple[str, str]] = (),
    elements: Sequence[tuple[str, str]] = (),
) -> Answer:
    """An error document of S3.

    Args:
        status: HTTP status.
        code: None: the usual one of the status.
        message: None: what S3 says with the code.
        key: the object that it is about.
        method: a HEAD gets no body.
        extra: more headers.
        elements: more elements of the document.
    """
    code = code or _CODES.get(status) or _CODES[500 if status >= 500 else 400]
    fields = [("Code", code), ("Message", message or _MESSAGES.get(code, code)), ("Key", key), *elements]
    document = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields)
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{document}<RequestId>SIMULATOR</RequestId></Error>'.encode()
    answer = _assemble(status, [("Content-Type", "application/xml"), *extra], body, key=key)
    return answer._replace(body=_EMPTY) if method == "HEAD" else answer


def answer_document(document: bytes, content_type: str) -> Answer:
    """A document that is no object."""
    return _assemble(200, [("Content-Type", content_type)], document)


def _wants_checksum(request: Request) -> bool:
    return request.header("x-amz-checksum-mode") == "enabled"


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
