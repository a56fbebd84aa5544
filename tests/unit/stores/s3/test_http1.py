"""The syntax of HTTP/1.1: what is read, what is refused, what is sent."""

from __future__ import annotations

import time

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.s3.http1 import (
    BODY_LIMIT_BYTES,
    CHUNK_LINE_LIMIT_BYTES,
    FIELD_LIMIT,
    HEAD_LIMIT_BYTES,
    ChunkedBody,
    Head,
    Headers,
    HttpViolation,
    parse_head,
    render_request,
)


def _parse(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", method: str = "GET") -> Head:
    return parse_head(b"\r\n".join([status, *lines, b"", b""]), method=method)


def test_a_head_has_status_reason_and_fields() -> None:
    head = _parse(b"Content-Length: 5", b'ETag: "a"', b"x-note:  caf\xe9\t", status=b"HTTP/1.1 404 Not Found")

    assert (head.status, head.reason, head.is_interim) == (404, "Not Found", False)
    assert dict(head.headers) == {"content-length": "5", "etag": '"a"', "x-note": "café"}


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_a_reason_may_be_missing(line: bytes) -> None:
    assert _parse(status=line).reason == ""


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"HTTP/2 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1  200 OK",
            b"ICY 200 OK",
        ),
        *(b"http/1.1 200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b""),
        *(b"HTTP/1.1 200 OK\n", b"HTTP/1.1\t200 OK", b"HTTP/1.1 2\xb20 OK", b"\r\nHTTP/1.1 200 OK"),
    ],
)
def test_a_status_line_is_strict(line: bytes) -> None:
    with pytest.raises(HttpViolation, match="is not HTTP"):
        _parse(b"Content-Length: 5", status=line)


@pytest.mark.parametrize(
    "line",
    [
        *(b"a b: c", b"a : c", b" a: c", b"a\t: c", b": c", b"no colon", b"\xe9: c", b"a: \0", b"a: \x7f", b"a: \x01"),
        *(b"a: b\nc: d", b"a: b\rc: d", b"a: b\n", b"a: b\r\n folded", b"a: b\r\n\tfolded", b"a: b\r\r"),
    ],
)
def test_a_field_is_strict(line: bytes) -> None:
    with pytest.raises(HttpViolation, match="is not HTTP"):
        _parse(line, b"Content-Length: 5")


def test_nothing_may_stand_behind_the_empty_line() -> None:
    with pytest.raises(HttpViolation, match="is not HTTP"):
        parse_head(b"HTTP/1.1 200 OK\r\n\r\nx")


def test_so_many_fields_and_no_more() -> None:
    assert len(_parse(*[b"a: b"] * FIELD_LIMIT).headers) == 1
    with pytest.raises(HttpViolation, match=f"more than {FIELD_LIMIT} header fields"):
        _parse(*[b"a: b"] * (FIELD_LIMIT + 1))


@pytest.mark.parametrize("name", [b"Connection", b"Content-Length", b"Transfer-Encoding", b"x"])
def test_a_field_of_blanks_takes_no_longer_than_any_other(name: bytes) -> None:
    blanks = b" " * (HEAD_LIMIT_BYTES - 100)
    started = time.process_time()
    for line in (name + b": a" + blanks + b"b", name + b":" + blanks, name + b": a" + b" b" * (len(blanks) // 2)):
        try:
            _parse(line)
        except HttpViolation:
            continue

    # In quadratic time it would be 8 s.
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"5", 5), (b"\t5 ", 5), (b"000000000000005", 5), (b"", None)]
)
def test_a_length_is_digits(value: bytes, length: int | None) -> None:
    if length is None:
        with pytest.raises(HttpViolation):
            _parse(b"Content-Length:" + value)
    else:
        head = _parse(b"Content-Length:" + value)
        assert (head.content_length, head.body_bytes, head.keeps_alive) == (length, length, True)


@pytest.mark.parametrize(
    "value",
    [b"-1", b"+5", b"0x5", b"5_0", b"5.0", b"5,5", b"5, 5", b"5 5", b"five", b"\xb2", b"9" * 17, b"9" * 5000],
)
def test_what_is_no_length_is_refused(value: bytes) -> None:
    with pytest.raises(HttpViolation, match="Content-Length of the answer is no size"):
        _parse(b"Content-Length: " + value)


def test_a_length_has_a_limit() -> None:
    assert _parse(b"Content-Length: %d" % BODY_LIMIT_BYTES).body_bytes == BODY_LIMIT_BYTES
    with pytest.raises(HttpViolation, match="is no size"):
        _parse(b"Content-Length: %d" % (BODY_LIMIT_BYTES + 1))


@pytest.mark.parametrize("second", [b"Content-Length: 5", b"CONTENT-LENGTH: 6", b"content-length:"])
def test_a_second_length_is_refused(second: bytes) -> None:
    with pytest.raises(HttpViolation):
        _parse(b"Content-Length: 5", second)


def test_chunked_is_the_only_coding() -> None:
    head = _parse(b"transfer-encoding: Chunked\t")

    assert (head.is_chunked, head.body_bytes, head.content_length, head.keeps_alive) == (True, None, None, True)


@pytest.mark.parametrize(
    "lines",
    [
        *(
            [b"Transfer-Encoding: " + coding]
            for coding in (b"gzip, chunked", b"chunked, chunked", b"identity", b"", b"xchunked")
        ),
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
    ],
)
def test_what_leaves_the_end_open_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(HttpViolation, match="does not tell plainly where it ends"):
        _parse(*lines)


def test_http_1_0_knows_no_chunks() -> None:
    with pytest.raises(HttpViolation, match="does not tell plainly where it ends"):
        _parse(b"Transfer-Encoding: chunked", status=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    ("status", "method"), [(b"204 No", "GET"), (b"304 Not", "GET"), (b"200 OK", "HEAD"), (b"404 Not", "HEAD")]
)
@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"x: y"])
def test_some_answers_have_no_body(status: bytes, method: str, field: bytes) -> None:
    head = _parse(field, status=b"HTTP/1.1 " + status, method=method)

    assert (head.body_bytes, head.is_chunked, head.keeps_alive) == (0, False, True)
    assert head.content_length == (5 if b"5" in field else None)


def test_interim_answers_are_known() -> None:
    head = _parse(b"Link: x", status=b"HTTP/1.1 103 Early Hints")

    assert (head.is_interim, head.body_bytes) == (True, 0)


def test_the_protocol_is_not_changed() -> None:
    with pytest.raises(HttpViolation, match="changes the protocol"):
        _parse(status=b"HTTP/1.1 101 Switching Protocols")


@pytest.mark.parametrize(
    ("version", "fields", "keeps_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"connection: keep-alive , Close"], False),
        (b"1.1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_whether_the_connection_stays(version: bytes, fields: list[bytes], keeps_alive: bool) -> None:
    assert _parse(b"Content-Length: 5", *fields, status=b"HTTP/" + version + b" 200 OK").keeps_alive == keeps_alive


def test_an_answer_without_a_frame_ends_with_its_connection() -> None:
    head = _parse(b"Connection: keep-alive")

    assert (head.body_bytes, head.is_chunked, head.keeps_alive) == (None, False, False)


def test_headers_are_found_in_any_case_and_joined() -> None:
    headers = Headers(b"A: 1\r\nb:2\r\na:\t3 \r\n")

    assert (headers["a"], headers["A"], headers.get("B"), headers.get("c", "-"), len(headers)) == (
        "1, 3",
        "1, 3",
        "2",
        "-",
        2,
    )
    assert list(headers) == ["a", "b"]
    with pytest.raises(KeyError):
        headers["c"]


# Chunks.

WIKI = b'4\r\nWiki\r\n7;a=b\r\npedia i\r\nB;q="1"\r\nn \r\nchunks.\r\n0\r\n\r\n'


def _feed(*pieces: bytes) -> tuple[bytes, bool]:
    body = ChunkedBody()
    return b"".join(part for piece in pieces for part in body.feed(piece)), body.is_over


def test_chunks_are_put_together() -> None:
    assert _feed(WIKI) == (b"Wikipedia in \r\nchunks.", True)


@pytest.mark.parametrize("cut", range(len(WIKI)))
def test_chunks_may_be_cut_anywhere(cut: int) -> None:
    assert _feed(WIKI[:cut], WIKI[cut:]) == (b"Wikipedia in \r\nchunks.", True)
    assert _feed(WIKI[:cut])[1] is False


def test_chunks_may_come_byte_by_byte() -> None:
    assert _feed(*(WIKI[n : n + 1] for n in range(len(WIKI)))) == (b"Wikipedia in \r\nchunks.", True)


@pytest.mark.parametrize("trailer", [b"", b"a: b\r\n", b"x-amz-checksum-crc32: AAAAAA==\r\nb:\r\n"])
def test_a_trailer_is_dropped(trailer: bytes) -> None:
    data = b"1\r\nx\r\n0\r\n" + trailer + b"\r\n"

    assert _feed(data) == (b"x", True)
    assert _feed(*(data[n : n + 1] for n in range(len(data)))) == (b"x", True)


@pytest.mark.parametrize("size", [b"000000000000001", b"1\t ", b"1;", b"1; a", b"1;a\x80"])
def test_a_size_may_have_zeros_blanks_and_extensions(size: bytes) -> None:
    assert _feed(size + b"\r\nx\r\n0\r\n\r\n") == (b"x", True)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"-1\r\nx\r\n",
            b"+1\r\nx\r\n",
            b"0x1\r\nx\r\n",
            b" 1\r\nx\r\n",
            b"1_0\r\nx\r\n",
            b"g\r\n",
            b"\r\n",
            b"\n",
            b"1\n",
        ),
        *(
            b"1;\0\r\n",
            b"1;a\n",
            b"1 a\r\n",
            b"1 ;a\r\n",
            b"1\r\nxy\r\n",
            b"1\r\nx\n",
            b"1\r\nx\r\r\n",
            b"1\r\nx0\r\n\r\n",
        ),
        *(b"f" * 16 + b"\r\n", b"f" * 17 + b"\r\n", b"10000000000000001\r\n", b"%x\r\n" % (BODY_LIMIT_BYTES + 1)),
        *(
            b"0\r\n\n",
            b"0\r\na b: c\r\n\r\n",
            b"0\r\n: c\r\n\r\n",
            b"0\r\na: b\n\r\n",
            b"0\r\na: \0\r\n\r\n",
            b"0\r\n a: b\r\n\r\n",
        ),
    ],
)
def test_chunks_are_strict(data: bytes) -> None:
    with pytest.raises(HttpViolation):
        _feed(data + b"\r\n" * 3)


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"transfer-encoding: identity", b"a: b\r\nConnection: close"])
def test_a_trailer_frames_nothing(field: bytes) -> None:
    with pytest.raises(HttpViolation, match="trailer"):
        _feed(b"0\r\n" + field + b"\r\n\r\n")


def test_nothing_may_come_behind_the_last_chunk() -> None:
    body = ChunkedBody()
    body.feed(b"0\r\n\r\n")
    with pytest.raises(HttpViolation, match="behind the end"):
        body.feed(b"H")
    with pytest.raises(HttpViolation, match="behind the end"):
        ChunkedBody().feed(b"0\r\n\r\nH")


@pytest.mark.parametrize(
    ("start", "filler", "limit_bytes"),
    [
        (b"1;", b"x", CHUNK_LINE_LIMIT_BYTES),
        (b"0\r\n", b"x", HEAD_LIMIT_BYTES),
        (b"0\r\n", b"x: y\r\n", HEAD_LIMIT_BYTES),
        (b"1\r\nx", b"\r", CHUNK_LINE_LIMIT_BYTES),
    ],
)
def test_what_stands_around_chunks_has_a_limit(start: bytes, filler: bytes, limit_bytes: int) -> None:
    body = ChunkedBody()
    body.feed(start)
    for _ in range(limit_bytes // len(filler) - 2):
        body.feed(filler)

    with pytest.raises(HttpViolation, match=f"more than {limit_bytes} bytes around its data"):
        body.feed(filler * 3)


# Requests.


def test_a_request_is_what_was_signed() -> None:
    request = render_request(
        "GET", "/bucket/a%20b?partNumber=1", {"host": "localhost:9000", "x-amz-date": "20261125T000000Z"}
    )

    assert request == (
        b"GET /bucket/a%20b?partNumber=1 HTTP/1.1\r\nhost: localhost:9000\r\nx-amz-date: 20261125T000000Z\r\n\r\n"
    )


@pytest.mark.parametrize(
    "target", ["/a b", "/a\r\n", "/a HTTP/1.1\r\nx: y", "/a\n", "/\0", "/é", "a", "", "http://host/a", "/a\t", "/\x7f"]
)
def test_a_target_cannot_break_out(target: str) -> None:
    with pytest.raises(ConfigError, match=f"the target of {len(target)} characters cannot be sent"):
        render_request("GET", target, {"host": "h"})


@pytest.mark.parametrize(
    "value", ["a\r\nx-evil: 1", "a\n", "a\r", "a\r\n\r\nGET /evil HTTP/1.1\r\nhost: h", "\0", "é", "a\x7f", "日"]
)
def test_a_value_cannot_break_out(value: str) -> None:
    with pytest.raises(ConfigError, match="the header 'x-amz-security-token' cannot be sent") as caught:
        render_request("GET", "/", {"host": "h", "x-amz-security-token": value})

    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["a: b\r\nc", "a b", "A", "", "a\r\n", "a:"])
def test_a_name_cannot_break_out(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be sent"):
        render_request("GET", "/", {"host": "h", name: "x"})
