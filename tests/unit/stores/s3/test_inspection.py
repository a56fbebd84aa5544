from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, ConnectionLost, ObjectNotFound
from asyncio_loader.options import RetryPolicy, S3Options
from asyncio_loader.stores.s3.inspection import Whereabouts, find_site
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.simulator import Fault, S3Simulator

KEYS = "aws_access_key_id = AKIDLONGENOUGHTOSHOW\naws_secret_access_key = anotherSecret31\n"


def sources(**options: Any) -> tuple[str, str]:
    found = find_site(S3Options(**options))
    return found.endpoint_source, found.region_source


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(
        "[default]\nregion = eu-west-1\n"
        "[profile lab]\nendpoint_url = http://lab.example\n"
        "[profile job]\ncredential_process = /bin/cat " + str(tmp_path / "keys.json") + "\n"
    )
    (tmp_path / "credentials").write_text(f"[default]\n{KEYS}")
    (tmp_path / "keys.json").write_text(
        '{"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "anotherSecret31", "SessionToken": "t",'
        f' "Expiration": "{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))}"}}'
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def test_settings_are_told_with_what_set_them(profiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sources() == ("Amazon's own", "profile 'default'")
    assert sources(profile_name="lab") == ("profile 'lab'", "the default")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://b")
    assert sources() == ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://a")
    assert sources() == ("AWS_ENDPOINT_URL_S3", "AWS_REGION")
    assert sources(endpoint_url="http://c", region_name="x-1") == ("S3Options.endpoint_url", "S3Options.region_name")


def test_what_is_told_is_what_is_used(profiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://b")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")

    found: Whereabouts = find_site(S3Options())

    assert (found.site.endpoint.url, found.endpoint_source) == ("https://s3.eu-west-1.amazonaws.com", "Amazon's own")


def test_a_profile_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no AWS profile 'nobody'"):
        find_site(S3Options(profile_name="nobody"))


async def test_keys_are_told_without_their_secret(profiles: None) -> None:
    store = S3Store(S3Options())
    identity = await (await store.inspect()).identify()
    await store.aclose()

    assert identity is not None
    assert identity.source == "profile 'default' in ~/.aws/credentials"
    assert (identity.key_id, identity.expires_in_s, identity.is_temporary) == ("AKID…SHOW", None, False)
    assert "anotherSecret31" not in repr(identity)


async def test_keys_that_expire_are_told_with_their_time(profiles: None) -> None:
    store = S3Store(S3Options(profile_name="job"))
    identity = await (await store.inspect()).identify()
    await store.aclose()

    assert identity is not None
    # A short id is not shown in part.
    assert (identity.source, identity.key_id) == ("the credential_process of profile 'job'", "")
    assert identity.is_temporary
    assert identity.expires_in_s == pytest.approx(7200, abs=60)


async def test_anonymous_requests_are_nobodys_and_no_keys_are_an_error() -> None:
    for anonymous in (True, False):
        store = S3Store(S3Options(anonymous=anonymous))
        inspection = await store.inspect()
        if anonymous:
            assert await inspection.identify() is None
        else:
            with pytest.raises(AccessDenied, match="no AWS credentials"):
                await inspection.identify()
        await store.aclose()


async def ask(server: S3Simulator, uri: str = "s3://bucket/a") -> Any:
    store = S3Store(S3Options(endpoint_url=server.endpoint_url, region_name="us-east-1", anonymous=True))
    try:
        inspection = await store.inspect()
        assert await inspection.look_up(uri) == ["127.0.0.1"]
        return await inspection.ask(uri)
    finally:
        await store.aclose()


async def test_the_first_answer_tells_time_and_trouble() -> None:
    with S3Simulator({"a": b"12345"}, clock_offset_s=-50.0) as server:
        there, missing = await ask(server), await ask(server, "s3://bucket/b")
        nowhere = await ask(server, "s3://another/b")

    assert (there.error, there.region, there.is_of_keys, there.is_of_time, there.is_no_bucket) == (
        (None, "", False, False, False)
    )
    assert there.skew_s == pytest.approx(-50.0, abs=2.0)
    assert there.elapsed_s > 0
    assert isinstance(missing.error, ObjectNotFound)
    assert nowhere.is_no_bucket


@pytest.mark.parametrize(
    ("fault", "about"),
    [
        (Fault("status", status=403, code="SignatureDoesNotMatch"), "is_of_keys"),
        (Fault("status", status=403, code="InvalidAccessKeyId"), "is_of_keys"),
        (Fault("status", status=403, code="RequestTimeTooSkewed"), "is_of_time"),
    ],
)
async def test_a_refusal_is_told_by_its_kind(fault: Fault, about: str) -> None:
    with S3Simulator({"a": b"12345"}, faults=[fault]) as server:
        answer = await ask(server)

    assert isinstance(answer.error, AccessDenied)
    assert getattr(answer, about)
    assert [answer.is_of_keys, answer.is_of_time, answer.is_no_bucket].count(True) == 1


async def test_another_region_is_told_and_not_followed() -> None:
    elsewhere = Fault("status", status=301, code="PermanentRedirect", region="eu-west-3")
    with S3Simulator({"a": b"12345"}, faults=[elsewhere]) as server:
        answer = await ask(server)
        assert len(server.requests()) == 1

    assert answer.region == "eu-west-3"


async def test_where_nobody_answers_there_is_no_answer() -> None:
    store = S3Store(S3Options(endpoint_url="http://127.0.0.1:9", anonymous=True), timeouts=RetryPolicy())
    with pytest.raises(ConnectionLost):
        await (await store.inspect()).ask("s3://bucket/a")
    await store.aclose()


async def test_a_host_of_no_possible_name_has_no_address() -> None:
    store = S3Store(S3Options(endpoint_url=f"http://{'x' * 64}.test", anonymous=True))
    with pytest.raises(ConnectionLost, match="cannot be looked up"):
        await (await store.inspect()).look_up("s3://bucket/a")
    await store.aclose()
