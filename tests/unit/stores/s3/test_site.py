"""Where S3 is: our options win, then botocore's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.site import Site, resolve_site

CONFIG = """
[default]
region = eu-central-1

[profile lab]
region = eu-west-3
endpoint_url = https://lab.example
ca_bundle = /lab.pem

[profile minio]
services = local
endpoint_url = https://everything.example

[services local]
s3 =
    endpoint_url = https://minio.example:9000

[profile plain]
ignore_configured_endpoint_urls = true
endpoint_url = https://ignored.example
region = cn-north-1

[profile stack]
use_dualstack_endpoint = true
region = eu-west-1
"""


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def _site(**options: object) -> Site:
    site, _ = resolve_site(S3Options(**options))  # type: ignore[arg-type]
    return site


def test_without_anything_said_it_is_aws_in_the_profiles_region() -> None:
    site = _site()

    assert (site.endpoint.url, site.region, site.profile) == (
        "https://s3.eu-central-1.amazonaws.com",
        "eu-central-1",
        "default",
    )
    assert site.endpoint.is_aws


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://environment.example")
    monkeypatch.setenv("AWS_REGION", "us-west-1")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/environment.pem")

    site = _site(endpoint_url="https://options.example", region_name="us-west-2", ca_bundle="/options.pem")

    assert (site.endpoint.url, site.region, site.ca_bundle) == (
        "https://options.example",
        "us-west-2",
        "/options.pem",
    )
    assert not site.endpoint.is_aws


def test_the_environment_wins_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    monkeypatch.setenv("AWS_PROFILE", "lab")

    site = _site()

    assert (site.endpoint.url, site.region, site.ca_bundle, site.profile) == (
        "https://all.example",
        "us-west-1",
        "/lab.pem",
        "lab",
    )


def test_the_variable_for_s3_wins_over_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example")

    assert _site().endpoint.url == "https://s3.example"


@pytest.mark.parametrize(
    ("profile", "endpoint"),
    [
        ("lab", "https://lab.example"),
        ("minio", "https://minio.example:9000"),
        ("plain", "https://s3.cn-north-1.amazonaws.com.cn"),
        ("stack", "https://s3.dualstack.eu-west-1.amazonaws.com"),
    ],
)
def test_a_profile_has_its_endpoint(profile: str, endpoint: str) -> None:
    assert _site(profile_name=profile).endpoint.url == endpoint


def test_a_region_that_nobody_knows_yet_is_tried() -> None:
    assert _site(region_name="xx-new-9").endpoint.url == "https://s3.xx-new-9.amazonaws.com"


def test_without_a_region_it_is_us_east_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nothing")

    assert _site(endpoint_url="http://localhost:9000").region == "us-east-1"


@pytest.mark.parametrize(
    ("name", "hint"), [("labb", "did you mean 'lab'?"), ("zzz", "known: default, lab, minio, plain, stack")]
)
def test_an_unknown_profile_is_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _site(profile_name=name)

    assert str(caught.value) == f"S3Options.profile_name: there is no AWS profile {name!r} ({hint})"


def test_an_unknown_profile_of_the_environment_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "labb")

    with pytest.raises(ConfigError, match=r"^AWS_PROFILE: there is no AWS profile 'labb'"):
        _site()


def test_a_broken_config_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken").write_text("[default\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))

    with pytest.raises(ConfigError, match=r"AWS configuration: .*broken"):
        _site()


def test_an_endpoint_of_the_environment_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")

    with pytest.raises(
        ConfigError, match=r"^AWS_ENDPOINT_URL: 'localhost:9000' must look like .*'http://localhost:9000'"
    ):
        _site()
