"""Buckets in other regions: where they are asked for, and what is believed of who says so."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.stores.s3.address import Endpoint
from asyncio_loader.stores.s3.credentials import Credentials
from asyncio_loader.stores.s3.exchange import Exchange, Slot
from asyncio_loader.stores.s3.faults import Refusal
from asyncio_loader.stores.s3.routes import Route, Routes
from asyncio_loader.stores.s3.sigv4 import Keys
from asyncio_loader.stores.s3.transport import Answer, Request

URI = "s3://bucket/key"
AWS = "https://s3.us-east-1.amazonaws.com"
HERE = "bucket.s3.us-east-1.amazonaws.com"
THERE = "bucket.s3.eu-west-1.amazonaws.com"
REDIRECT_IN_REGION = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncio_loader.stores.s3.routes._told", set())


class _Answer:
    """See `Answer`."""

    placed = None
    reason = ""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.status = status
        self.headers = headers
        self.content_length = len(body)
        self._body = body

    def rest(self) -> None:
        return None

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def read_into(self, target: memoryview) -> int:
        raise NotImplementedError


class _Amazon:
    """In place of `Transports`: answers by host.

    Attributes:
        requests: all that came.
    """

    def __init__(self, answers: Mapping[str, tuple[int, Mapping[str, str], bytes]]) -> None:
        self.requests: list[Request] = []
        self.reading = self.writing = self
        self._answers = answers

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Answer]:
        self.requests.append(request)
        yield _Answer(*self._answers[request.address.host])

    async def aclose(self) -> None:
        return None

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Host and region of each request."""
        return [(request.headers["host"], request.headers["authorization"].split("/")[2]) for request in self.requests]


class _Credentials(Credentials):
    def __init__(self) -> None:
        self._keys = Keys("AKID", "secret")

    def fresh_keys(self) -> Keys:
        return self._keys


async def _read(answer: Answer, _: Slot) -> int:
    return answer.status


def _exchange(amazon: _Amazon, url: str = AWS, region: str = "us-east-1") -> Exchange:
    endpoint = Endpoint.parse(url, "auto", source="test")
    return Exchange(amazon, endpoint, region, _Credentials(), max_connections=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        (301, {"x-amz-bucket-region": "eu-west-1"}, b""),
        (301, {}, b"<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region></Error>"),
        (400, {"x-amz-bucket-region": "eu-west-1"}, b""),
        (400, {}, REDIRECT_IN_REGION),
        (307, {"x-amz-bucket-region": "eu-west-1"}, b""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_bucket_is_asked_for_in_its_own_region_and_from_then_on_at_once(
    method: str, answer: tuple[int, dict[str, str], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    amazon = _Amazon({HERE: answer, THERE: (200, {}, b"")})
    exchange = _exchange(amazon)

    for _ in range(3):
        assert await exchange.run(method, URI, _read) == 200

    assert amazon.asked == [(HERE, "us-east-1"), *[(THERE, "eu-west-1")] * 3]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "s3://bucket is in region 'eu-west-1', not in 'us-east-1', which costs a request in vain: set"
        " S3Options.region_name (AWS_REGION, or the profile's region)"
    ]


async def test_other_buckets_stay_where_they_are() -> None:
    amazon = _Amazon(
        {
            HERE: (301, {"x-amz-bucket-region": "eu-west-1"}, b""),
            THERE: (200, {}, b""),
            "other.s3.us-east-1.amazonaws.com": (200, {}, b""),
        }
    )
    exchange = _exchange(amazon)
    await exchange.run("GET", URI, _read)

    assert await exchange.run("GET", "s3://other/key", _read) == 200
    assert amazon.asked[-1] == ("other.s3.us-east-1.amazonaws.com", "us-east-1")


async def test_an_error_there_is_an_error() -> None:
    amazon = _Amazon({HERE: (301, {"x-amz-bucket-region": "eu-west-1"}, b""), THERE: (404, {}, b"")})

    with pytest.raises(ObjectNotFound, match=f"{URI}: no such object"):
        await _exchange(amazon).run("GET", URI, _read)

    assert [host for host, _ in amazon.asked] == [HERE, THERE]


async def test_a_bucket_that_is_new_is_asked_for_where_location_says_this_once() -> None:
    new = "bucket.s3-eu-west-1.amazonaws.com"
    answer = (307, {"location": f"https://{new}/key?x=y"}, b"<Error><Code>TemporaryRedirect</Code></Error>")
    amazon = _Amazon({HERE: answer, new: (200, {}, b"")})
    exchange = _exchange(amazon)

    for _ in range(2):
        await exchange.run("GET", URI, _read)

    assert amazon.asked == [(HERE, "us-east-1"), (new, "us-east-1")] * 2
    assert {request.target for request in amazon.requests} == {"/key"}


async def test_a_region_may_come_behind_a_host_and_nothing_behind_that() -> None:
    new = "bucket.s3-eu-west-1.amazonaws.com"
    answers = {
        HERE: (307, {"location": f"https://{new}/key"}, b""),
        new: (400, {}, REDIRECT_IN_REGION),
        THERE: (301, {"x-amz-bucket-region": "ap-south-1"}, b""),
    }
    amazon = _Amazon(answers)

    with pytest.raises(ConfigError, match="is in region 'ap-south-1'"):
        await _exchange(amazon).run("GET", URI, _read)

    assert [host for host, _ in amazon.asked] == [HERE, new, THERE]


async def test_two_that_name_each_other_are_asked_no_further() -> None:
    amazon = _Amazon(
        {
            HERE: (301, {"x-amz-bucket-region": "eu-west-1"}, b""),
            THERE: (301, {"x-amz-bucket-region": "us-east-1"}, b""),
        }
    )

    with pytest.raises(ConfigError, match=r"set S3Options\.region_name"):
        await _exchange(amazon).run("GET", URI, _read)

    assert len(amazon.requests) == 3


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/key",
        "https://bucket.s3.amazonaws.com.evil.example/key",
        "https://evil-s3.amazonaws.com/key",
        "https://s3-evil-1234.us-east-1.elb.amazonaws.com/key",
        "https://ec2-192-0-2-1.compute-1.amazonaws.com/key",
        "https://abc.execute-api.us-east-1.amazonaws.com/.s3.amazonaws.com",
        "https://bucket.s3.cn-north-1.amazonaws.com.cn/key",
        "https://bucket.s3.us-east-1.amazonaws.com:8443/key",
        "https://user@bucket.s3.eu-west-1.amazonaws.com/key",
        "https://..s3.amazonaws.com/key",
        "//bucket.s3.eu-west-1.amazonaws.com/key",
        "ftp://bucket.s3.eu-west-1.amazonaws.com/key",
        "/key",
        "",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_location_that_is_not_amazons_s3_is_not_followed(location: str, status: int) -> None:
    amazon = _Amazon({HERE: (status, {"location": location}, b"")})

    with pytest.raises(LoaderError):
        await _exchange(amazon).run("GET", URI, _read)

    assert len(amazon.requests) == 1


async def test_another_server_sends_nobody_anywhere() -> None:
    amazon = _Amazon({"minio.test": (307, {"location": "https://bucket.s3.eu-west-1.amazonaws.com/key"}, b"")})

    with pytest.raises(ConfigError):
        await _exchange(amazon, "https://minio.test").run("GET", URI, _read)

    assert len(amazon.requests) == 1


async def test_another_server_is_asked_again_with_the_region_it_wants() -> None:
    answers = iter([(400, {}, REDIRECT_IN_REGION), (200, {}, b""), (200, {}, b"")])

    class Minio(_Amazon):
        @asynccontextmanager
        async def send(self, request: Request) -> AsyncIterator[Answer]:
            self.requests.append(request)
            yield _Answer(*next(answers))

    minio = Minio({})
    exchange = _exchange(minio, "https://minio.test")
    for _ in range(2):
        assert await exchange.run("GET", URI, _read) == 200

    assert minio.asked == [
        ("minio.test", "us-east-1"),
        ("minio.test", "eu-west-1"),
        ("minio.test", "eu-west-1"),
    ]


@pytest.mark.parametrize("region", ["", "us-east-1", "x", "../../evil", "eu-west-1.evil", "EU", "a b", "é1", "a" * 60])
def test_what_is_no_other_region_is_nowhere(region: str) -> None:
    routes = Routes(Endpoint.parse(AWS, "auto", source="test"), "us-east-1")

    assert routes.elsewhere(URI, routes.of(URI), Refusal(301, region=region)) is None


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (403, "AccessDenied"), (400, ""), (503, "SlowDown")])
def test_other_refusals_lead_nowhere(status: int, code: str) -> None:
    routes = Routes(Endpoint.parse(AWS, "auto", source="test"), "us-east-1")

    assert routes.elsewhere(URI, routes.of(URI), Refusal(status, code)) is None


@pytest.mark.parametrize(
    ("url", "there"),
    [
        (AWS, "s3.eu-west-1.amazonaws.com"),
        ("https://s3.dualstack.us-east-1.amazonaws.com", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("https://s3-fips.us-east-1.amazonaws.com", "s3-fips.eu-west-1.amazonaws.com"),
        ("https://minio.us-east-1.test", "minio.us-east-1.test"),
    ],
)
def test_the_endpoint_of_a_region_differs_by_its_name(url: str, there: str) -> None:
    endpoint = Endpoint.parse(url, "path", source="test")
    routes = Routes(endpoint, "us-east-1")

    found = routes.elsewhere(URI, routes.of(URI), Refusal(301, region="eu-west-1"))

    assert found == Route(endpoint.in_region("us-east-1", "eu-west-1"), "eu-west-1")
    assert found.locate(URI).host == there
