from __future__ import annotations

from hashlib import md5

import pytest

from asyncio_loader.testing.simulator.answers import Answer, Bucket, answer_error
from asyncio_loader.testing.simulator.requests import Request
from asyncio_loader.testing.simulator.spool import StoredObject

BODY = bytes(range(100))
BUCKET = Bucket(
    "bucket",
    {
        key: StoredObject(key, memoryview(body), md5(body).hexdigest(), 784111777.0)
        for key, body in {"a/b c+%.jpg": BODY, "empty": b""}.items()
    },
)


def ask(
    target: str,
    method: str = "GET",
    *,
    byte_range: str | None = None,
    host: str = "127.0.0.1:1",
    bucket: Bucket = BUCKET,
) -> Answer:
    return bucket.answer(Request(method, target, host, byte_range, True, 0))


def headers(answer: Answer) -> dict[str, str]:
    lines = answer.head.decode().removesuffix("\r\n").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def code(answer: Answer) -> str:
    return bytes(answer.body).decode().split("<Code>")[1].split("</Code>")[0]


def test_a_get_brings_the_object_and_its_headers() -> None:
    answer = ask("/bucket/a/b%20c%2B%25.jpg")

    assert answer.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert bytes(answer.body) == BODY
    assert answer.key == "a/b c+%.jpg"
    assert headers(answer)["Content-Length"] == "100"
    assert headers(answer)["ETag"] == f'"{md5(BODY).hexdigest()}"'
    assert headers(answer)["Last-Modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_plus_in_the_path_is_a_plus() -> None:
    assert ask("/bucket/a/b%20c+%25.jpg").status == 200


def test_a_second_get_is_the_same_answer() -> None:
    assert ask("/bucket/empty") is ask("/bucket/empty")


def test_a_head_has_the_length_and_no_body() -> None:
    answer = ask("/bucket/a/b%20c+%25.jpg", "HEAD")

    assert headers(answer)["Content-Length"] == "100"
    assert len(answer.body) == 0


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [
        ("bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=95-1000", range(95, 100)),
        ("bytes=-5", range(95, 100)),
        ("bytes=-500", range(100)),
    ],
)
def test_a_range_brings_its_bytes(byte_range: str, expected: range) -> None:
    answer = ask("/bucket/a/b%20c+%25.jpg", byte_range=byte_range)

    assert answer.status == 206
    assert bytes(answer.body) == bytes(expected)
    assert headers(answer)["Content-Range"] == f"bytes {expected.start}-{expected.stop - 1}/100"


@pytest.mark.parametrize("byte_range", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_behind_the_end_is_416(byte_range: str) -> None:
    answer = ask("/bucket/a/b%20c+%25.jpg", byte_range=byte_range)

    assert (answer.status, code(answer)) == (416, "InvalidRange")
    assert headers(answer)["Content-Range"] == "bytes */100"


def test_an_empty_object_has_no_range() -> None:
    assert ask("/bucket/empty", byte_range="bytes=0-").status == 416


@pytest.mark.parametrize("byte_range", ["bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=-", "nonsense"])
def test_a_range_that_s3_does_not_take_brings_everything(byte_range: str) -> None:
    assert ask("/bucket/a/b%20c+%25.jpg", byte_range=byte_range).status == 200


def test_a_range_does_not_spoil_the_whole_object() -> None:
    ask("/bucket/a/b%20c+%25.jpg", byte_range="bytes=0-9")

    assert len(ask("/bucket/a/b%20c+%25.jpg").body) == 100


def test_a_missing_key_is_no_such_key() -> None:
    answer = ask("/bucket/nothing")

    assert (answer.status, code(answer)) == (404, "NoSuchKey")
    assert answer.key == "nothing"


def test_a_missing_bucket_is_no_such_bucket() -> None:
    answer = ask("/other/a")

    assert (answer.status, code(answer)) == (404, "NoSuchBucket")


def test_the_bucket_may_stand_in_the_host() -> None:
    assert ask("/empty", host="bucket.s3.example.com").status == 200


def test_an_ip_address_is_no_bucket() -> None:
    answer = ask("/127/k", bucket=Bucket("127", {"k": StoredObject("k", memoryview(b"x"), "e", 0.0)}))

    assert answer.status == 200


def test_head_bucket_finds_it() -> None:
    assert ask("/bucket", "HEAD").status == 200
    assert ask("/other", "HEAD").status == 404


def test_a_listing_is_xml() -> None:
    answer = ask("/bucket?list-type=2&prefix=a%2F")

    assert answer.status == 200
    assert b"<Key>a/b c+%.jpg</Key>" in bytes(answer.body)
    assert b"empty" not in bytes(answer.body)


def test_a_wrong_listing_is_400() -> None:
    assert ask("/bucket?list-type=2&max-keys=x").status == 400


@pytest.mark.parametrize(
    ("method", "target"),
    [("PUT", "/bucket/a"), ("DELETE", "/bucket/a"), ("POST", "/bucket?delete"), ("GET", "/"), ("GET", "/bucket?acl")],
)
def test_anything_else_is_405(method: str, target: str) -> None:
    answer = ask(target, method)

    assert (answer.status, code(answer)) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    ("status", "expected"), [(503, "SlowDown"), (500, "InternalError"), (403, "AccessDenied"), (502, "InternalError")]
)
def test_an_error_has_the_code_of_s3(status: int, expected: str) -> None:
    assert code(answer_error(status)) == expected


def test_an_error_escapes_the_key() -> None:
    assert b"<Key>a&lt;b</Key>" in bytes(answer_error(404, key="a<b").body)


def test_an_error_for_a_head_has_no_body() -> None:
    assert len(answer_error(503, method="HEAD").body) == 0


WITH_CHECKSUM = Request("GET", "/photos/k", "", None, True, 0, "\r\nx-amz-checksum-mode: enabled\r\n")


def test_a_checksum_is_for_those_who_ask() -> None:
    body = memoryview(b"123456789")
    bucket = Bucket("photos", {"k": StoredObject("k", body, "e", 0.0)}, checksum="crc32")
    asked, plain, head, part = (
        headers(bucket.answer(request))
        for request in (
            WITH_CHECKSUM,
            WITH_CHECKSUM._replace(headers=""),
            WITH_CHECKSUM._replace(method="HEAD"),
            WITH_CHECKSUM._replace(range="bytes=0-3"),
        )
    )

    assert (asked["x-amz-checksum-crc32"], asked["x-amz-checksum-type"]) == ("y/Q5Jg==", "FULL_OBJECT")
    assert head["x-amz-checksum-crc32"] == "y/Q5Jg=="
    assert not any(name.startswith("x-amz-checksum") for name in (*plain, *part))


def test_a_bucket_may_know_no_checksums() -> None:
    bucket = Bucket("photos", {"k": StoredObject("k", memoryview(b"x"), "e", 0.0)})

    assert not any(name.startswith("x-amz-checksum") for name in headers(bucket.answer(WITH_CHECKSUM)))


def test_an_error_may_have_a_code_and_elements_of_its_own() -> None:
    answer = answer_error(403, "RequestTimeTooSkewed", elements=[("ServerTime", "<now>")])

    assert code(answer) == "RequestTimeTooSkewed"
    assert b"<Message>The difference between" in bytes(answer.body)
    assert b"<ServerTime>&lt;now&gt;</ServerTime>" in bytes(answer.body)
