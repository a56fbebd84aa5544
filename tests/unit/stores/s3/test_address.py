"""From URIs to request lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asyncio_loader.errors import ConfigError
from asyncio_loader.options import Addressing
from asyncio_loader.stores.s3.address import Address, Endpoint, encode_key, parse_uri


def _endpoint(url: str = "http://localhost:9000", addressing: Addressing = "auto") -> Endpoint:
    return Endpoint.parse(url, addressing, source="S3Options.endpoint_url")


def _url(address: Address) -> str:
    return f"{address.scheme}://{address.host}{address.path}"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://bucket/a/b.jpg", ("bucket", "a/b.jpg")),
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket//lead", ("bucket", "/lead")),
        ("s3://my.bucket_1/a b%20", ("my.bucket_1", "a b%20")),
    ],
)
def test_a_uri_splits_at_the_first_slash(uri: str, parts: tuple[str, str]) -> None:
    assert parse_uri(uri) == parts


@pytest.mark.parametrize("uri", ["s3://", "s3:///key"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=f"'{uri}' names no bucket: it must look like s3://bucket/key"):
        parse_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["s3://ab/key", "s3://../key", "s3://a b/key", "s3://user@host/key", "s3://arn:aws:s3:x/key"],
)
def test_an_impossible_bucket_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="is no bucket name"):
        parse_uri(uri)


def test_a_uri_of_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="must look like s3://bucket/key"):
        parse_uri("/data/a.jpg")


@pytest.mark.parametrize(
    ("key", "encoded"),
    [
        ("a b+c%20.jpg", "a%20b%2Bc%2520.jpg"),
        ("ü/日", "%C3%BC/%E6%97%A5"),
        ("a//b/../c/./d", "a//b/../c/./d"),
        ("?#&=;~-._", "%3F%23%26%3D%3B~-._"),
    ],
)
def test_every_byte_but_the_unreserved_is_encoded_once(key: str, encoded: str) -> None:
    assert encode_key(key) == encoded


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="not Unicode text"):
        encode_key("a\udcff")


@given(st.text(min_size=1))
def test_a_url_of_the_path_is_left_as_it_is(key: str) -> None:
    try:
        url = _url(_endpoint().locate(f"s3://bucket/{key}"))
    except ConfigError:
        return

    # As aiohttp gets it.
    assert str(URL(url, encoded=True)) == url
    assert URL(url, encoded=True).raw_path_qs == url.removeprefix("http://localhost:9000")


@pytest.mark.parametrize(
    ("url", "addressing", "uri", "expected"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "auto", "s3://bucket/k", "https://bucket.s3.eu-west-1.amazonaws.com/k"),
        ("https://s3.eu-west-1.amazonaws.com", "path", "s3://bucket/k", "https://s3.eu-west-1.amazonaws.com/bucket/k"),
        (
            "https://s3.eu-west-1.amazonaws.com",
            "auto",
            "s3://a.bucket/k",
            "https://s3.eu-west-1.amazonaws.com/a.bucket/k",
        ),
        (
            "https://s3.eu-west-1.amazonaws.com",
            "auto",
            "s3://A_bucket/k",
            "https://s3.eu-west-1.amazonaws.com/A_bucket/k",
        ),
        ("https://minio.local", "auto", "s3://bucket/k", "https://minio.local/bucket/k"),
        ("https://minio.local", "virtual", "s3://bucket/k", "https://bucket.minio.local/k"),
        ("https://minio.local/gate/", "auto", "s3://bucket/k", "https://minio.local/gate/bucket/k"),
        ("https://minio.local", "virtual", "s3://bucket//k", "https://bucket.minio.local//k"),
        ("http://[::1]:9000", "auto", "s3://bucket/k", "http://[::1]:9000/bucket/k"),
        ("http://MINIO:80", "auto", "s3://bucket/k", "http://minio/bucket/k"),
    ],
)
def test_the_bucket_stands_where_addressing_wants_it(url: str, addressing: Addressing, uri: str, expected: str) -> None:
    assert _url(_endpoint(url, addressing).locate(uri)) == expected


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:9000", "localhost:9000"),
        ("http://localhost:80", "localhost"),
        ("https://localhost:443", "localhost"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000"),
    ],
)
def test_the_host_header_has_a_port_where_it_is_not_the_schemes(url: str, host: str) -> None:
    assert _endpoint(url).locate("s3://bucket/key").host == host


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "ftp://host",
        "http://user:sekret@host",
        "http://user:sekret@host:x",
        "http://host?a=b",
        "http://host#f",
    ],
)
def test_an_endpoint_that_is_none_is_refused_by_the_name_of_its_source(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^S3Options\.endpoint_url") as caught:
        _endpoint(url)

    assert "sekret" not in str(caught.value)


def test_a_bucket_cannot_stand_before_an_address() -> None:
    with pytest.raises(ConfigError, match="addressing='path'"):
        _endpoint("http://127.0.0.1:9000", "virtual")


def test_a_bucket_that_is_no_host_name_cannot_be_virtual() -> None:
    with pytest.raises(ConfigError, match="'My_Bucket' is no host name"):
        _endpoint("https://minio.local", "virtual").locate("s3://My_Bucket/k")


def test_a_bucket_is_no_object() -> None:
    with pytest.raises(ConfigError, match="names a bucket, not an object"):
        _endpoint().locate("s3://bucket/")
