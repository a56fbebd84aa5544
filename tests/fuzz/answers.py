"""Answers of servers, honest and hostile, from a generator of random numbers: the same seed, the same answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.memory_net import EOF, RESET, Packet

__all__ = ["Attack", "honest", "make_attack", "packets_of"]

CRLF = b"\r\n"

FIELDS = [
    b"x-amz-id-2: eftixk72aD6Ap51TnqcoF8eFidJG9Z/2mkiDFu8yU9AS1ed4OpIszj7UDNEHGran",
    b"x-amz-request-id: 318BC8BC148832E5",
    b"Date: Wed, 28 Oct 2026 22:32:00 GMT",
    b"Last-Modified: Wed, 12 Oct 2009 17:50:00 GMT",
    b'ETag: "fba9dede5f27731c9771645a39863328"',
    b"Accept-Ranges: bytes",
    b"Content-Type: image/jpeg",
    b"Server: AmazonS3",
    b"x-amz-meta-note: caf\xe9",
    b"Via:",
]

TOKENS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b":", b";", b",", b"\xff", b"\x7f", b"\x0b"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 ", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length:", b"\r\nContent-Length: 7"),
    *(b"Transfer-Encoding: chunked\r\n", b"transfer-encoding: identity\r\n", b"Connection: close\r\n"),
    *(b"Connection: keep-alive\r\n", b"0\r\n\r\n", b"1\r\nx\r\n", b"0", b"-1", b"+5", b"5", b"0x5", b"5_0", b"\xb2"),
    *(b"99999999999999999999", b"18446744073709551616", b"ffffffffffffffff", b"FFFFFFFFFFFFFFFFF", b"1e3", b"5, 5"),
]

NUMBERS = [
    *(b"-1", b"+5", b" 5", b"5 ", b"\t5\t", b"05", b"0x5", b"5_0", b"5.0", b"5,5", b"5, 5", b"5;", b"", b" ", b"five"),
    *(b"\xb5", b"\xb2", b"5\0", b"5 5", b"9" * 15, b"1" + b"0" * 15, b"1" + b"0" * 16, b"9" * 16, b"9" * 17),
    *(b"0" * 15 + b"5", b"0" * 16 + b"5", b"9" * 5000, b"18446744073709551621", b"4294967301", b"00000000000000005"),
]

CODINGS = [
    *(b"gzip, chunked", b"chunked, chunked", b"xchunked", b"identity", b"chunked;q=1", b"Chunked", b" chunked\t"),
    *(b"chunked, identity", b"", b"\x0bchunked", b"chu nked", b"chunked,", b",chunked", b'"chunked"'),
]

STATUS_LINES = [
    *(b"HTTP/2 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 "),
    *(
        b"ICY 200 OK",
        b"HTTP/1.1 099 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1\t200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.2 200 OK",
    ),
    *(b"HTTP/01.1 200 OK", b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 -20 OK", b"HTTP/1.1 2\xb20 OK"),
    *(
        b"HTTP/1.1 101 Switching",
        b"HTTP/1.1 999 What",
        b"HTTP/1.1 600 What",
        b"HTTP/1.1200 OK",
        b"",
        b"\r\nHTTP/1.1 200 OK",
    ),
]

FIELD_LINES = [
    *(b"Content-Length : 5", b" Content-Length: 5", b"Content-Length\t: 5", b": 5", b"no colon", b"a b: c", b"x:\0"),
    *(
        b"x: a\r\n folded",
        b"x: a\r\n\tfolded",
        b"Content-Length:\r\n 5",
        b"Transfer-Encoding:\r\n chunked",
        b"x: a\rb: c",
    ),
    *(b"x: a\nb: c", b"x: a\n", b"\xe9: x", b"x: \x7f", b"x: \x01", b"Content-Length: 5\nTransfer-Encoding: chunked"),
    *(
        b"Content-Length: 3",
        b"content-length: 5",
        b"CONTENT-LENGTH: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
    ),
    *(b"Connection: keep-alive, close", b"Connection: x", b"Content-Encoding: gzip", b"x-amz-bucket-region: eu-west-1"),
    *(
        b"Location: http://192.0.2.7/",
        b"Location: //[",
        b'ETag: "\'\\"',
        b"x-amz-checksum-crc32: !",
        b"Content-Range: bytes 0-4/5",
    ),
]

CHUNK_LINES = [
    *(
        b"-5",
        b"+5",
        b"0x5",
        b" 5",
        b"5 ",
        b"5\t",
        b"g",
        b"",
        b"5;a=b",
        b'5;a="\r\n"',
        b"5;",
        b"5 ;x",
        b"5\0",
        b"5\n",
        b"5;\n",
    ),
    *(
        b"f" * 15,
        b"f" * 16,
        b"f" * 17,
        b"0" * 15 + b"5",
        b"0" * 16 + b"5",
        b"10000000000000005",
        b"5_0",
        b"5;" + b"x" * 2000,
    ),
]

STATUSES = [b"200 OK"] * 6 + [b"206 Partial Content", b"404 Not Found", b"403 Forbidden", b"503 Slow Down", b"500 Oops"]
RARE = [
    b"204 No Content",
    b"304 Not Modified",
    b"301 Moved",
    b"307 Temporary Redirect",
    b"400 Bad Request",
    b"416 No",
    b"412 No",
]


@dataclass
class Attack:
    """What the server answers to the request that it betrays.

    Attributes:
        kind: the name of the trick.
        data: the bytes.
        end: what comes behind them: `EOF`, `RESET`, or None for silence.
        is_valid: whether it is an answer with status 200 that has to be delivered.
        whole_bytes: where the answer ends that has something behind it; 0 for others.
    """

    kind: str
    data: bytes
    end: str | None = None
    is_valid: bool = False
    whole_bytes: int = 0


def honest(body: bytes) -> bytes:
    """The plainest of answers."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def make_attack(rng: random.Random, corpus: list[bytes]) -> Attack:
    """One trick of many, or an honest answer that was damaged on the way."""
    if rng.random() < 0.5:
        base = rng.choice(corpus) if corpus and rng.random() < 0.2 else _answer(rng)
        return Attack("mutated", _mutate(rng, base), _end(rng))
    return rng.choice(_TRICKS)(rng)


def packets_of(rng: random.Random, attack: Attack) -> list[Packet]:
    """The answer cut into packets."""
    data, packets = attack.data, []
    way = rng.random()
    if way < 0.4:
        cuts = []
    elif way < 0.55 and len(data) <= 400:
        cuts = list(range(1, len(data)))
    else:
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 6)))
    pause_s = rng.choice([0.0, 0.0, 0.0, 0.001, 3.0, 29.0, 31.0]) if cuts else 0.0
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if stop > start:
            packets.append((pause_s, data[start:stop]))
    if attack.end is not None:
        packets.append((rng.choice([0.0, 0.0, 1.0]), attack.end))
    return packets


# Honest answers.


def _head(rng: random.Random, status: bytes, *fields: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    lines = [*rng.sample(FIELDS, rng.randrange(4)), *fields]
    rng.shuffle(lines)
    return CRLF.join([version + b" " + status, *lines, b"", b""])


def _body(rng: random.Random) -> bytes:
    size = rng.randrange(64) if rng.random() < 0.93 else rng.choice([rng.randrange(12_000), rng.randrange(60_000)])
    return rng.randbytes(size)


def _chunks(rng: random.Random, body: bytes, *, trailer: bytes = b"") -> bytes:
    parts, place = [], 0
    while place < len(body):
        piece = body[place : place + rng.randrange(1, max(2, len(body)))]
        extension = rng.choice([b"", b"", b"", b";a=b", b";chunk-signature=" + b"0" * 64])
        parts.append(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece))
        place += len(piece)
    return b"".join(parts) + b"0\r\n" + trailer + CRLF


def _answer(rng: random.Random) -> bytes:
    status = rng.choice(STATUSES if rng.random() < 0.9 else RARE)
    body = _body(rng)
    if not status.startswith(b"2"):
        body = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>%s</Message></Error>" % body.hex().encode()
    if rng.random() < 0.5:
        return _interim(rng) + _head(rng, status, b"Content-Length: %d" % len(body)) + body
    return _interim(rng) + _head(rng, status, b"Transfer-Encoding: chunked") + _chunks(rng, body)


def _interim(rng: random.Random) -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" * rng.randrange(1, 4) if rng.random() < 0.05 else b""


def _end(rng: random.Random) -> str | None:
    return rng.choice([EOF, EOF, RESET, None, None])


def _mutate(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        # Most of what there is to break is in the head.
        reach = min(len(changed), 200) if rng.random() < 0.8 else len(changed)
        start = rng.randrange(reach + 1)
        stop = min(len(changed), start + rng.choice([1, 1, 2, 5, 20]))
        match rng.randrange(6):
            case 0 if start < len(changed):
                changed[start] = rng.randrange(256)
            case 1:
                del changed[start:stop]
            case 2:
                changed[start:start] = rng.choice(TOKENS)
            case 3:
                changed[start:stop] = rng.choice(TOKENS)
            case 4:
                changed[start:start] = changed[start:stop]
            case _:
                del changed[start:]
    return bytes(changed)


# Tricks. Each is a plain case of what the name says.


def _valid(rng: random.Random) -> Attack:
    body = _body(rng)
    if rng.random() < 0.6:
        data = _head(rng, b"200 OK", b"Content-Length: %d" % len(body)) + body
    else:
        trailer = rng.choice([b"", b"", b"x-amz-checksum-crc32: AAAAAA==\r\n", b"a: b\r\nc:\r\n"])
        data = _head(rng, b"200 OK", b"Transfer-Encoding: chunked") + _chunks(rng, body, trailer=trailer)
    return Attack("valid", _interim(rng) + data, rng.choice([None, EOF]), is_valid=True)


def _early_end(rng: random.Random) -> Attack:
    data = _answer(rng)
    return Attack("early end", data[: rng.randrange(len(data))], rng.choice([EOF, RESET, None]))


def _endless_head(rng: random.Random) -> Attack:
    filler = rng.choice(
        [b"x: y\r\n" * 12_000, b"x: " + b"y" * 70_000, b"x" * 70_000, b"x:" + b" " * 70_000, b"\r\n" * 10]
    )
    start = rng.choice([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 ", b"", b"HTTP/1.1 200 OK\r\nConnection: a"])
    return Attack("endless head", start + filler, _end(rng))


def _endless_interim(rng: random.Random) -> Attack:
    count = rng.choice([15, 16, 17, 40])
    return Attack("endless 1xx", b"HTTP/1.1 100 Continue\r\n\r\n" * count + honest(b"hello"), _end(rng))


def _wrong_length(rng: random.Random) -> Attack:
    body = _body(rng)
    length = max(0, len(body) + rng.choice([-7, -1, 1, 7, 1000]))
    return Attack("wrong length", _head(rng, b"200 OK", b"Content-Length: %d" % length) + body, _end(rng))


def _garbage_behind(rng: random.Random) -> Attack:
    behind = rng.choice([b"x", CRLF, b"\0", b"garbage" * 50, b"HTTP/1.1 ", rng.randbytes(20)])
    whole = _valid(rng).data
    return Attack("garbage behind", whole + behind, _end(rng), whole_bytes=len(whole))


def _smuggled(rng: random.Random) -> Attack:
    whole = _answer(rng)
    return Attack("smuggled", whole + honest(b"smuggled"), _end(rng), whole_bytes=len(whole))


def _two_frames(rng: random.Random) -> Attack:
    fields = [
        b"Content-Length: %d" % rng.choice([0, 5, 15]),
        b"Transfer-Encoding: " + rng.choice([b"chunked", *CODINGS]),
    ]
    return Attack("two frames", _head(rng, b"200 OK", *fields) + _chunks(rng, b"hello"), _end(rng))


def _two_lengths(rng: random.Random) -> Attack:
    fields = [b"Content-Length: 5", rng.choice([b"Content-Length: 5", b"content-length: 3", b"Content-Length:"])]
    return Attack("two lengths", _head(rng, b"200 OK", *fields) + b"hello", _end(rng))


def _odd_number(rng: random.Random) -> Attack:
    fields = [b"Content-Length: " + rng.choice(NUMBERS)]
    status = rng.choice(STATUSES)
    return Attack("odd number", _head(rng, status, *fields) + b"hello", _end(rng))


def _odd_coding(rng: random.Random) -> Attack:
    fields = [b"Transfer-Encoding: " + rng.choice(CODINGS)]
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"])
    return Attack("odd coding", _head(rng, b"200 OK", *fields, version=version) + _chunks(rng, b"hello"), _end(rng))


def _odd_status(rng: random.Random) -> Attack:
    return Attack("odd status", rng.choice(STATUS_LINES) + b"\r\nContent-Length: 5\r\n\r\nhello", _end(rng))


def _odd_field(rng: random.Random) -> Attack:
    fields = [rng.choice(FIELD_LINES), rng.choice([b"Content-Length: 5", b"x: y"])]
    return Attack("odd field", _head(rng, rng.choice(STATUSES + RARE), *fields) + b"hello", _end(rng))


def _bare_lines(rng: random.Random) -> Attack:
    data = _answer(rng)
    return Attack("bare lines", data.replace(CRLF, rng.choice([b"\n", b"\r", b"\n\r"]), rng.randrange(1, 9)), _end(rng))


def _odd_chunk(rng: random.Random) -> Attack:
    line, end = rng.choice(CHUNK_LINES), rng.choice([CRLF, CRLF, CRLF, b"", b"\n", b"xx"])
    data = line + CRLF + b"hello" + end + b"0\r\n\r\n"
    return Attack("odd chunk", _head(rng, b"200 OK", b"Transfer-Encoding: chunked") + data, _end(rng))


def _odd_trailer(rng: random.Random) -> Attack:
    trailer = rng.choice([*(line + CRLF for line in FIELD_LINES), b"x" * 70_000, b"x: y\r\n" * 12_000, b"\n", b"\r"])
    data = _chunks(rng, b"hello", trailer=trailer)
    return Attack("odd trailer", _head(rng, b"200 OK", b"Transfer-Encoding: chunked") + data, _end(rng))


def _odd_range(rng: random.Random) -> Attack:
    number = rng.choice([b"0", b"4", b"5", b"9" * 15, b"9" * 5000, b"-1", b"*"])
    told = rng.choice([b"bytes 0-4/", b"bytes */", b"bytes 9-4/", b"bytes 0-", b"bytes 5-4/"]) + number
    status = rng.choice([b"206 Partial Content", b"416 No", b"200 OK"])
    return Attack(
        "odd range", _head(rng, status, b"Content-Range: " + told, b"Content-Length: 5") + b"hello", _end(rng)
    )


def _no_frame(rng: random.Random) -> Attack:
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.0"])
    return Attack("no frame", _head(rng, rng.choice(STATUSES), version=version) + _body(rng), _end(rng))


def _document(rng: random.Random) -> Attack:
    status = rng.choice(
        [b"404 Not Found", b"503 Slow Down", b"400 Bad Request", b"301 Moved", b"307 Temporary Redirect"]
    )
    text = rng.choice(
        [b"<Error><Code>SlowDown</Code></Error>", b"<Code>" * 5000, b"\xff\xfe", b"<Code>\x1b[2J</Code>", b""]
    )
    region = rng.choice(
        [b"x: y", b"x-amz-bucket-region: eu-west-1", b"x-amz-bucket-region: \xff/../", b"Location: http://a.s3.b"]
    )
    if rng.random() < 0.5:
        return Attack("document", _head(rng, status, region, b"Content-Length: %d" % len(text)) + text, _end(rng))
    return Attack("document", _head(rng, status, region, b"Transfer-Encoding: chunked") + _chunks(rng, text), _end(rng))


def _noise(rng: random.Random) -> Attack:
    return Attack("noise", rng.randbytes(rng.randrange(200)), _end(rng))


_TRICKS: list[Callable[[random.Random], Attack]] = [
    *(_valid, _valid, _early_end, _early_end, _endless_interim, _wrong_length, _garbage_behind, _smuggled, _two_frames),
    *(
        _two_lengths,
        _odd_number,
        _odd_coding,
        _odd_status,
        _odd_field,
        _odd_field,
        _bare_lines,
        _odd_chunk,
        _odd_trailer,
    ),
    *(_odd_range, _no_frame, _document, _noise, _endless_head),
]
