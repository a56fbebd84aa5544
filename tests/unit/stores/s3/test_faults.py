"""What S3 answers, as the error tree has it."""

from __future__ import annotations

import pytest

from asyncio_loader.errors import (
    AccessDenied,
    ChecksumMismatch,
    ConfigError,
    FetchError,
    FetchTimeout,
    LoaderError,
    ObjectNotFound,
    ServerFault,
    Throttled,
)
from asyncio_loader.stores.s3.faults import Refusal, error_of, parse_refusal

URI = "s3://bucket/a key.jpg"


def _error(status: int, code: str = "", message: str = "", region: str = "") -> LoaderError:
    return error_of(URI, Refusal(status, code, message, region), region="us-east-1")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", ObjectNotFound),
        (404, "NoSuchBucket", ObjectNotFound),
        (404, "", ObjectNotFound),
        (403, "AccessDenied", AccessDenied),
        (403, "", AccessDenied),
        (401, "", AccessDenied),
        (403, "SignatureDoesNotMatch", AccessDenied),
        (403, "InvalidAccessKeyId", AccessDenied),
        (400, "ExpiredToken", AccessDenied),
        (403, "RequestTimeTooSkewed", AccessDenied),
        (403, "InvalidObjectState", AccessDenied),
        (503, "SlowDown", Throttled),
        (503, "SlowDownRead", Throttled),
        (400, "Throttling", Throttled),
        (400, "ThrottlingException", Throttled),
        (400, "RequestLimitExceeded", Throttled),
        (503, "RequestThrottled", Throttled),
        (429, "Novelty", Throttled),
        (429, "", Throttled),
        (503, "ServiceUnavailable", ServerFault),
        (503, "", ServerFault),
        (500, "InternalError", ServerFault),
        (502, "", ServerFault),
        (504, "", ServerFault),
        (501, "NotImplemented", FetchError),
        (505, "", FetchError),
        (400, "RequestTimeout", FetchTimeout),
        (400, "PriorRequestNotComplete", ServerFault),
        (400, "BadDigest", ChecksumMismatch),
        (403, "InvalidTokenId", AccessDenied),
        (400, "InvalidArgument", FetchError),
        (301, "PermanentRedirect", ConfigError),
        (307, "TemporaryRedirect", ConfigError),
        (400, "AuthorizationHeaderMalformed", ConfigError),
        (400, "InvalidBucketName", ConfigError),
        (418, "Teapot", FetchError),
    ],
)
def test_each_answer_has_its_error(status: int, code: str, kind: type[LoaderError]) -> None:
    error = _error(status, code)

    assert type(error) is kind
    assert str(error).startswith(f"{URI}: ")
    assert f"(HTTP {status} {code}".rstrip() in str(error)
    assert "\n" not in str(error)


def test_an_error_of_an_object_has_its_key() -> None:
    error = _error(404, "NoSuchKey")

    assert isinstance(error, FetchError)
    assert error.key == URI


@pytest.mark.parametrize("status", [301, 400])
def test_another_region_is_named(status: int) -> None:
    error = _error(status, region="eu-west-1")

    assert isinstance(error, ConfigError)
    assert "'eu-west-1'" in str(error)
    assert "'us-east-1'" in str(error)
    assert "region_name" in str(error)


def test_the_clock_is_named() -> None:
    assert "clock" in str(_error(403, "RequestTimeTooSkewed"))


def test_unknown_codes_bring_the_servers_words() -> None:
    assert "A new kind of trouble" in str(_error(400, "Novelty", "A new kind of trouble"))


def test_a_document_is_read_without_what_repeats_the_request() -> None:
    body = b"""<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>The provided
        token has expired.</Message><Token-0>s3cr3t</Token-0></Error>"""

    answer = parse_refusal(400, "Bad Request", {}, body)

    assert answer == Refusal(400, "ExpiredToken", "The provided token has expired.", "")


def test_the_region_comes_from_header_or_document() -> None:
    document = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"

    assert parse_refusal(301, "", {"x-amz-bucket-region": "eu-west-2"}, b"").region == "eu-west-2"
    assert parse_refusal(400, "", {}, document).region == "eu-west-1"


def test_a_throttled_head_is_known_by_its_reason() -> None:
    assert parse_refusal(503, "Slow Down", {}, b"").code == "SlowDown"
    assert parse_refusal(503, "Service Unavailable", {}, b"").code == ""


@pytest.mark.parametrize("body", [b"", b"<html>nothing of S3</html>", b"\xff\xfe<Code", b"<Code>" * 100_000])
def test_a_document_that_is_none_does_no_harm(body: bytes) -> None:
    assert parse_refusal(500, "", {}, body) == Refusal(500)


DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
DATE_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        (DATE, DATE_S),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", DATE_S),
        ("Tue, 14 Nov 2023 22:13:20 -0000", DATE_S),
        ("Tue, 14 Nov 2023 23:13:20 +0100", DATE_S),
        ("", None),
        ("yesterday", None),
        ("Tue, 99 Nov 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 99999 22:13:20 GMT", None),
    ],
)
def test_the_date_of_an_answer(text: str, expected_s: float | None) -> None:
    assert parse_refusal(403, "", {"date": text}, b"").date_s == expected_s


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": " 120 "}, 120.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 20.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT", "date": DATE}, 0.0),
    ],
)
def test_when_to_come_again(headers: dict[str, str], expected_s: float | None) -> None:
    assert parse_refusal(503, "", headers, b"", now_s=DATE_S + 10).retry_after_s == expected_s


def test_a_date_to_come_again_needs_a_clock() -> None:
    assert parse_refusal(503, "", {"retry-after": DATE}, b"").retry_after_s is None


def test_throttling_tells_how_long_to_stay_away() -> None:
    error = error_of(URI, Refusal(503, "SlowDown", retry_after_s=7.0), region="us-east-1")

    assert isinstance(error, Throttled)
    assert error.retry_after_s == 7.0
    assert "none for 7 s" in str(error)


def test_a_server_that_says_when_to_come_again_is_not_broken_but_busy() -> None:
    assert type(error_of(URI, Refusal(503, "ServiceUnavailable", retry_after_s=1.0), region="us-east-1")) is Throttled
    assert type(error_of(URI, Refusal(500, "InternalError", retry_after_s=1.0), region="us-east-1")) is ServerFault


def test_expired_keys_bring_the_advice_for_their_kind() -> None:
    error = error_of(URI, Refusal(400, "ExpiredToken"), region="us-east-1", renewal="ask the porter")

    assert str(error).endswith("(HTTP 400 ExpiredToken); ask the porter")


@pytest.mark.parametrize(
    ("status", "code", "has_token", "expected"),
    [
        (400, "ExpiredToken", True, True),
        (403, "InvalidAccessKeyId", False, True),
        (400, "", True, True),
        (400, "", False, False),
        (403, "AccessDenied", True, False),
        (404, "", True, False),
    ],
)
def test_which_refusals_newer_keys_may_turn(status: int, code: str, has_token: bool, expected: bool) -> None:
    assert Refusal(status, code).is_of_keys(has_token=has_token) is expected
