"""Our HTTP parser against h11: what ours takes, h11 takes for the same.

The other way round it does not hold, and is not meant to. Ours refuses what h11 lets pass:

* a line that ends in a bare line feed, and empty lines before the status line (RFC 9112, 2.2: a recipient MAY take it);
* a folded field (RFC 9112, 5.2: a user agent replaces it by blanks, a server or proxy must refuse it);
* the same Content-Length twice (RFC 9110, 8.6: MAY be taken), and Content-Length beside Transfer-Encoding (RFC 9112,
  6.3: "ought to be handled as an error");
* Transfer-Encoding in HTTP/1.0, which h11 takes for chunked (RFC 9112, 6.1: "MUST treat the message as if the framing
  is faulty");
* numbers, heads, chunk lines, trailers and interim answers beyond the limits of `stores.s3.http1`;
* a trailer with Content-Length, Transfer-Encoding or Connection (RFC 9110, 6.5.1: not to be sent);
* 101, which changes the protocol, and bytes behind the end of the answer.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncio_loader.stores.s3.http1 import ChunkedBody, Head, HttpViolation, parse_head
from tests.fuzz.answers import CHUNK_LINES, CODINGS, FIELD_LINES, FIELDS, NUMBERS, STATUS_LINES, TOKENS
from tests.fuzz.http1 import load_corpus
from tests.fuzz.reference import read_with_h11

Answer = tuple[Head, bytes, bytes]
"""The head, the body, and what stands behind the end."""

statuses = st.sampled_from([*STATUS_LINES, *[b"HTTP/1.1 200 OK"] * 20, b"HTTP/1.1 204 No", b"HTTP/1.0 200 OK"])
fields = st.one_of(
    st.sampled_from([*FIELD_LINES, *FIELDS]),
    st.sampled_from(NUMBERS).map(lambda number: b"Content-Length: " + number),
    st.sampled_from([*CODINGS, *[b"chunked"] * 10]).map(lambda coding: b"Transfer-Encoding: " + coding),
    st.builds(lambda name, value: name + b":" + value, st.binary(max_size=5), st.binary(max_size=5)),
)
line_ends = st.sampled_from([*[b"\r\n"] * 30, b"\n", b"\r", b"\n\r"])
chunks = st.builds(
    lambda size, extension, data, end: (b"%x" % len(data) if size is None else size) + extension + b"\r\n" + data + end,
    st.one_of(st.none(), st.none(), st.none(), st.sampled_from(CHUNK_LINES)),
    st.sampled_from([b"", b"", b"", b";a=b", b"\t", b";\x80"]),
    st.binary(max_size=20),
    st.sampled_from([*[b"\r\n"] * 10, b"", b"\n"]),
)
bodies = st.one_of(
    st.binary(max_size=30),
    st.lists(chunks, max_size=4).map(lambda parts: b"".join(parts) + b"0\r\n\r\n"),
    st.builds(lambda line: b"0\r\n" + line + b"\r\n\r\n", st.sampled_from(FIELD_LINES)),
)
answers = st.builds(
    lambda status, lines, end, body: status + end + b"".join(line + end for line in lines) + end + body,
    statuses,
    st.lists(fields, max_size=4),
    line_ends,
    bodies,
)
damages = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), st.sampled_from([b"", *TOKENS])), max_size=2)
methods = st.sampled_from(["GET", "GET", "GET", "HEAD"])


def _damage(data: bytes, damage: list[tuple[int, int, bytes]]) -> bytes:
    for place, length, token in damage:
        data = data[:place] + token + data[place + length :]
    return data


wire = st.builds(_damage, st.one_of(answers, st.sampled_from(load_corpus())), damages)


def _read(pieces: list[bytes], method: str) -> Answer | None:
    """What ours makes of an answer that comes in these pieces; None where it has not come to its end."""
    come = b""
    head, chunked, body = None, None, b""
    for piece in pieces:
        come += piece
        while head is None and (end := come.find(b"\r\n\r\n") + 4) > 3:
            found, come = parse_head(come[:end], method=method), come[end:]
            head = None if found.is_interim else found
            chunked = ChunkedBody() if head is not None and head.is_chunked else None
        if head is not None and chunked is None:
            body, come = body + come, b""
        elif chunked is not None:
            body, come = body + b"".join(chunked.feed(come)), b""
    if head is None or (chunked is not None and not chunked.is_over) or len(body) < (head.body_bytes or 0):
        return None
    length = head.body_bytes if chunked is None and head.body_bytes is not None else len(body)
    return head, body[:length], body[length:]


def _outcome(pieces: list[bytes], method: str) -> object:
    try:
        answer = _read(pieces, method)
    except HttpViolation:
        return "refused"
    return answer and (answer[0].status, dict(answer[0].headers), answer[0].keeps_alive, *answer[1:])


@given(wire, methods)
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ;x\r\nhello\r\n0\r\n\r\n", "GET")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: identity\r\n\r\n", "GET")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", "GET")
@settings(max_examples=1500, deadline=None)
def test_what_ours_takes_h11_takes_for_the_same(data: bytes, method: str) -> None:
    try:
        answer = _read([data], method)
    except HttpViolation:
        return
    if answer is None:
        return
    head, body, rest = answer

    is_framed = head.is_chunked or head.body_bytes is not None
    reading = read_with_h11(data, method=method, is_closed=not is_framed)

    assert reading.offence is None
    assert (head.status, body, True) == (reading.status, reading.body, reading.is_whole)
    # Of bytes behind the end ours lets none come, h11 keeps them.
    assert rest == reading.rest
    joined: dict[str, str] = {}
    for raw_name, raw_value in reading.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    # h11 writes this one anew.
    assert {**dict(head.headers), "transfer-encoding": ""} == {**joined, "transfer-encoding": ""}
    assert head.content_length == reading.content_length


@given(wire, methods, st.lists(st.integers(0, 600), max_size=6))
@settings(max_examples=1000, deadline=None)
def test_the_cuts_between_reads_change_nothing(data: bytes, method: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in pairwise(places)]

    assert _outcome(pieces, method) == _outcome([data], method)


@given(wire, methods)
@settings(max_examples=300, deadline=None)
def test_byte_by_byte_it_is_the_same(data: bytes, method: str) -> None:
    data = data[:600]

    assert _outcome([data[n : n + 1] for n in range(len(data))], method) == _outcome([data], method)
