"""Our signatures are botocore's."""

from __future__ import annotations

import copy
import datetime
import itertools
import pickle
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from asyncio_loader.errors import ConfigError
from asyncio_loader.stores.s3.address import encode_key
from asyncio_loader.stores.s3.http1 import render_request
from asyncio_loader.stores.s3.sigv4 import EMPTY_SHA256, Keys, Signer

HOST = "s3.eu-west-1.amazonaws.com"
NOW_S = 1_795_000_000
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def _botocore_authorization(method: str, path: str, token: str | None, headers: dict[str, str]) -> str:
    request = AWSRequest(method, f"https://{HOST}{path}", headers=headers)
    request.context["payload_signing_enabled"] = True
    now = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now.replace(tzinfo=None)):
        botocore.auth.S3SigV4Auth(ReadOnlyCredentials("AKIDEXAMPLE", SECRET, token), "s3", "eu-west-1").add_auth(
            request
        )
    return str(request.headers["Authorization"])


@given(
    method=st.sampled_from(["GET", "HEAD"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{20,40}", fullmatch=True),
    last_byte=st.none() | st.integers(0, 10**12),
)
def test_signatures_equal_botocores(method: str, key: str, token: str | None, last_byte: int | None) -> None:
    path = f"/bucket/{encode_key(key)}"
    extra = {} if last_byte is None else {"range": f"bytes=0-{last_byte}"}

    ours = Signer(Keys("AKIDEXAMPLE", SECRET, token), "eu-west-1").sign(method, HOST, path, now_s=NOW_S, extra=extra)

    assert ours["authorization"] == _botocore_authorization(method, path, token, extra)


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{20,40}", fullmatch=True),
    hosts=st.lists(st.sampled_from(["s3.eu-west-1.amazonaws.com", "bucket.example:9000", "[::1]:9000"]), min_size=1),
    seconds=st.lists(st.sampled_from([0, 1, 2, 86_400]), min_size=1),
    extras=st.lists(st.sampled_from([None, {}, {"x-amz-checksum-mode": "ENABLED"}, {"if-match": '"a"'}]), min_size=1),
)
def test_a_get_that_is_ready_is_the_one_that_is_signed_and_rendered_anew(
    key: str, token: str | None, hosts: list[str], seconds: list[int], extras: list[dict[str, str] | None]
) -> None:
    plain = {"accept-encoding": "identity"}
    path = f"/bucket/{encode_key(key)}"
    signer = Signer(Keys("AKIDEXAMPLE", SECRET, token), "eu-west-1")
    for host, second, extra in itertools.product(hosts, seconds, extras):
        ready = signer.get(host, path, NOW_S + second + 0.5, plain, extra)

        fresh = Signer(Keys("AKIDEXAMPLE", SECRET, token), "eu-west-1")
        headers = fresh.sign("GET", host, path, now_s=NOW_S + second, extra=extra)
        signature = headers.pop("authorization")
        assert ready == render_request("GET", path, {**headers, **plain, "authorization": signature})


def test_a_get_with_a_token_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="x-amz-security-token") as caught:
        Signer(Keys("AKIDEXAMPLE", SECRET, "sekret\r\nx: y"), "eu-west-1").get(HOST, "/b/k", NOW_S, {})

    assert "sekret" not in str(caught.value)


def test_a_signer_follows_the_time() -> None:
    signer = Signer(Keys("AKIDEXAMPLE", SECRET), "eu-west-1")
    fresh = Signer(Keys("AKIDEXAMPLE", SECRET), "eu-west-1")

    before = signer.sign("GET", HOST, "/b/k", now_s=NOW_S)
    tomorrow = signer.sign("GET", HOST, "/b/k", now_s=NOW_S + 86_400)

    assert before["x-amz-date"] != tomorrow["x-amz-date"]
    assert tomorrow == fresh.sign("GET", HOST, "/b/k", now_s=NOW_S + 86_400)


def test_the_headers_to_send_are_the_signed_ones_and_the_signature() -> None:
    headers = Signer(Keys("AKIDEXAMPLE", SECRET, "token"), "eu-west-1").sign("GET", HOST, "/b/k", now_s=NOW_S)

    assert headers["host"] == HOST
    assert headers["x-amz-content-sha256"] == EMPTY_SHA256
    assert headers["x-amz-security-token"] == "token"
    assert sorted(headers) == [
        "authorization",
        "host",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    ]


@pytest.mark.parametrize("holder", [Keys("AKIDEXAMPLE", SECRET, "token"), Signer(Keys("AKIDEXAMPLE", SECRET), "r")])
def test_holders_of_secrets_show_and_give_away_nothing(holder: object) -> None:
    assert SECRET not in repr(holder)
    assert "token" not in repr(holder)
    with pytest.raises(TypeError):
        pickle.dumps(holder)
    with pytest.raises(TypeError):
        copy.copy(holder)
