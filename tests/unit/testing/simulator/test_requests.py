from __future__ import annotations

import pytest

from asyncio_loader.testing.simulator.requests import CHUNKED, BadRequestError, HeadReader, Request, parse_head


def test_a_plain_get() -> None:
    head = b"GET /bucket/a%20b HTTP/1.1\r\nHOST: 127.0.0.1:80\r\nAccept: */*\r\n"
    headers = "\r\nhost: 127.0.0.1:80\r\naccept: */*\r\n"

    assert parse_head(head) == Request("GET", "/bucket/a%20b", "127.0.0.1:80", None, True, 0, headers)


def test_no_header_at_all() -> None:
    assert parse_head(b"GET / HTTP/1.1\r\n") == Request("GET", "/", "", None, True, 0, "\r\n")


def test_the_headers_of_interest_in_any_case() -> None:
    head = b"PUT /k HTTP/1.1\r\nrange:bytes=1-2\r\nConnection: Close\r\ncontent-LENGTH: 12\r\n"

    request = parse_head(head)

    assert request == Request("PUT", "/k", "", "bytes=1-2", False, 12, request.headers)
    assert request.header("content-length") == "12"
    assert request.header("length") == ""


def test_a_name_that_ends_like_another_is_not_taken_for_it() -> None:
    assert parse_head(b"GET /k HTTP/1.1\r\nX-Range: bytes=1-2\r\nIf-Range: x\r\n").range is None


@pytest.mark.parametrize(("extra", "keeps_alive"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_http_1_0_closes_unless_asked_not_to(extra: bytes, keeps_alive: bool) -> None:
    assert parse_head(b"GET / HTTP/1.0\r\n" + extra).keeps_alive is keeps_alive


def test_a_body_of_unknown_length() -> None:
    assert parse_head(b"PUT /k HTTP/1.1\r\nTransfer-Encoding: chunked\r\n").body_bytes == CHUNKED


@pytest.mark.parametrize(
    "head", [b"\r\n", b"GET /\r\n", b"GET / SMTP/1.0\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n"]
)
def test_what_is_no_head_is_refused(head: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_head(head)


def test_heads_are_cut_wherever_the_network_cuts() -> None:
    stream = b"GET /a HTTP/1.1\r\nA: b\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
    for cut in range(len(stream)):
        reader = HeadReader()
        heads = []
        for part in (stream[:cut], stream[cut:]):
            reader.feed(part)
            while (head := reader.next_head()) is not None:
                heads.append(head)

        assert heads == [b"GET /a HTTP/1.1\r\nA: b\r\n", b"GET /b HTTP/1.1\r\n"]


def test_a_body_is_dropped() -> None:
    reader = HeadReader()
    reader.skip(5)
    reader.feed(b"123")

    assert reader.next_head() is None

    reader.feed(b"45GET / HTTP/1.1\r\n\r\n")

    assert reader.next_head() == b"GET / HTTP/1.1\r\n"


def test_a_head_without_end_is_refused() -> None:
    reader = HeadReader()
    reader.feed(b"x" * 70_000)

    assert reader.is_full
    with pytest.raises(BadRequestError, match="no end"):
        reader.next_head()
