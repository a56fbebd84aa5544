"""Each kind of trouble on a real server or the simulator, and the one line that it ends in."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader import cli
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.environment import environment
from asyncio_loader.testing.servers import MotoServer, RcloneServer
from asyncio_loader.testing.simulator import Fault, S3Simulator, Throttle

OBJECTS = {f"a/{number}.jpg": bytes(1000) for number in range(4)}
URI = "s3://bucket/a/"

Doctor = Callable[..., Any]


@contextmanager
def simulator(**about: Any) -> Iterator[S3Simulator]:
    """One with the objects, as this process's S3."""
    with S3Simulator(OBJECTS, **about) as server, environment(server.environ):
        yield server


def fill(bucket: str) -> None:
    async def put() -> None:
        store = S3Store(S3Options())
        await store.create_bucket(bucket)
        for key, data in OBJECTS.items():
            await store.put(f"{bucket}/{key}", data)
        await store.aclose()

    asyncio.run(put())


@pytest.mark.parametrize(
    ("uri", "advice"),
    [("mybucket/coco/", "did you mean s3://mybucket/coco/?"), ("./my/", "look at the bucket and the prefix")],
)
def test_a_bucket_without_s3_before_it_is_a_path_that_is_not_there(
    uri: str, advice: str, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    told = doctor(uri)

    assert told.code == 1
    assert advice in told.out


def test_all_is_well_on_a_server_that_verifies_signatures(rclone_environ: RcloneServer, doctor: Doctor) -> None:
    fill("s3://doctor")

    told = doctor("s3://doctor/a/", "--write")

    assert (told.code, told.trouble) == (0, {})
    assert list(told.lines) == [
        *("cores", "files", "jpeg", "resize", "pillow"),
        *("endpoint", "region", "credentials", "addresses", "connection", "clock"),
        *("list", "get", "put", "first byte", "1 in flight", "4 in flight"),
    ]
    assert told.out.startswith("s3://doctor/a/\n")
    assert told.out.endswith("\nall is well\n")
    assert told.lines["endpoint"][1] == f"{rclone_environ.endpoint_url} (AWS_ENDPOINT_URL_S3)"
    assert told.lines["region"][1] == "us-east-1 (AWS_REGION)"
    assert told.lines["credentials"][1] == "from the environment (AWS_ACCESS_KEY_ID)"
    assert told.lines["list"][1] == "4 objects, 1 KB in the median"


def test_what_it_put_is_gone_again(moto_environ: MotoServer, doctor: Doctor) -> None:
    fill("s3://doctor-put")

    assert (
        doctor("s3://doctor-put/a/0.jpg", "--write")
        .lines["put"][1]
        .startswith("put, read and deleted s3://doctor-put/a/asyncio-loader-doctor-")
    )

    assert doctor("s3://doctor-put").lines["list"][1] == "4 objects, 1 KB in the median"


def test_a_wrong_secret_is_a_matter_of_the_credentials(
    rclone_environ: RcloneServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    told = doctor("s3://any/a/")

    assert (told.code, told.trouble) == (1, {"credentials": "failed"})
    _, text, advice = told.lines["credentials"]
    assert text == "the signature is wrong (HTTP 403 SignatureDoesNotMatch)"
    assert "AWS_SECRET_ACCESS_KEY" in advice


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_a_bucket_that_is_not_there(server: str, doctor: Doctor, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(f"{server}_environ")

    told = doctor("s3://no-such-bucket/a/")

    assert (told.code, told.trouble) == (1, {"bucket": "failed"})
    assert told.lines["bucket"][1].startswith("no such bucket (HTTP 404 NoSuchBucket)")


def test_a_prefix_with_nothing_in_it(rclone_environ: RcloneServer, doctor: Doctor) -> None:
    fill("s3://doctor-prefix")

    told = doctor("s3://doctor-prefix/b/")

    assert (told.code, told.trouble) == (1, {"list": "failed"})


def test_no_keys_at_all(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    told = doctor(URI)

    assert (told.code, told.trouble) == (1, {"credentials": "failed"})
    assert told.lines["credentials"][2] == "for a public bucket set S3Options.anonymous"


def test_a_token_that_has_expired(doctor: Doctor) -> None:
    with simulator(faults=[Fault("status", status=400, code="ExpiredToken")]):
        told = doctor(URI)

    assert (told.code, told.trouble) == (1, {"credentials": "failed"})
    assert told.lines["credentials"][1] == "the session token is expired or not valid (HTTP 400 ExpiredToken)"
    assert "only a new start of the program renews" in told.lines["credentials"][2]


def test_an_endpoint_where_nobody_listens(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told = doctor(URI, "--anonymous", "--endpoint-url", url)

    assert (told.code, told.trouble) == (1, {"connection": "failed"})
    _, text, advice = told.lines["connection"]
    assert text == f"cannot reach {url} (Connection refused)"
    assert advice.startswith("look at S3Options.endpoint_url; is that the right endpoint (S3Options.endpoint_url)")


def test_a_certificate_of_an_authority_that_nobody_named(doctor: Doctor) -> None:
    with simulator(tls=True) as server:
        unknown = doctor(URI)
        with environment({"AWS_CA_BUNDLE": server.ca_bundle}):
            trusted = doctor(URI)

    assert (unknown.code, unknown.trouble) == (1, {"connection": "failed"})
    assert "is not trusted" in unknown.lines["connection"][1]
    assert "AWS_CA_BUNDLE" in unknown.lines["connection"][2]
    assert (trusted.code, trusted.trouble) == (0, {})


def test_a_host_that_nobody_knows(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    # The name of no host (RFC 6761), but some resolvers ask the network for it.
    def unknown(*about: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("asyncio_loader.bridge.loop_thread._new_event_loop", asyncio.new_event_loop)

    told = doctor(URI, "--anonymous", "--endpoint-url", "http://s3.invalid")

    assert (told.code, told.trouble) == (1, {"addresses": "failed"})
    assert told.lines["addresses"][1] == "s3.invalid cannot be looked up (Name or service not known)"


def test_a_bucket_in_another_region(doctor: Doctor) -> None:
    elsewhere = Fault("status", status=301, code="PermanentRedirect", region="eu-west-3", credential="*/us-east-1/*")
    with simulator(faults=[elsewhere]):
        told = doctor(URI)

    # The loader finds its way; each process asks once in vain.
    assert (told.code, told.trouble) == (0, {"region": "warning"})
    _, text, advice = told.lines["region"]
    assert text.startswith("the bucket is in 'eu-west-3', not in 'us-east-1'")
    assert advice.startswith("set AWS_REGION=eu-west-3")


def test_a_listing_that_is_denied(doctor: Doctor) -> None:
    with simulator(faults=[Fault("status", key="", status=403)]):
        prefix, one = doctor(URI), doctor(f"{URI}1.jpg")

    assert (prefix.code, prefix.trouble) == (1, {"list": "failed"})
    # What is known by name may be read.
    assert (one.code, one.trouble) == (0, {"list": "warning"})
    assert one.lines["get"][1] == "1.jpg can be read"


def test_a_get_that_is_denied(doctor: Doctor) -> None:
    with simulator(faults=[Fault("status", key="?*", status=403)]):
        told = doctor(URI)

    assert (told.code, told.trouble) == (1, {"get": "failed"})
    assert "s3:GetObject" in told.lines["get"][2]


def test_a_put_that_is_not_possible(doctor: Doctor) -> None:
    with simulator():
        told = doctor(URI, "--write")

    # The simulator only reads.
    assert (told.code, told.trouble) == (1, {"put": "failed"})
    assert "HTTP 405" in told.lines["put"][1]


@pytest.mark.parametrize(
    ("offset_s", "code", "level"), [(-120, 0, "warning"), (3600, 0, "warning"), (200_000, 1, "failed")]
)
def test_clocks_that_are_apart(offset_s: int, code: int, level: str, doctor: Doctor) -> None:
    with simulator(clock_offset_s=offset_s):
        told = doctor(URI)

    assert (told.code, told.trouble) == (code, {"clock": level})


def test_a_server_that_throttles(doctor: Doctor) -> None:
    with simulator(throttle=Throttle(per_second=50, burst=3)):
        told = doctor(URI, "--seconds", "0.5")

    assert told.code == 0
    assert set(told.trouble.values()) == {"warning"}
    assert "(HTTP 503 SlowDown)" in told.lines["4 in flight"][1]


def test_what_the_stores_warn_of_is_told_once(doctor: Doctor, caplog: pytest.LogCaptureFixture) -> None:
    with simulator(clock_offset_s=3600):
        doctor(URI)

    assert caplog.records == []
    assert logging.getLogger("asyncio_loader").level == logging.NOTSET


def test_no_such_profile(doctor: Doctor) -> None:
    told = doctor(URI, "--profile", "lab")

    assert (told.code, told.trouble) == (1, {"settings": "failed"})
    assert "there is no AWS profile 'lab'" in told.lines["settings"][1]


def test_an_endpoint_of_the_environment_that_is_no_url(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "minio:9000")

    told = doctor(URI)

    assert (told.code, told.trouble) == (1, {"settings": "failed"})
    assert "'minio:9000' must look like https://host[:port]" in told.lines["settings"][1]


def test_files_of_this_machine(tmp_path: Path, doctor: Doctor) -> None:
    (tmp_path / "a.jpg").write_bytes(b"123")

    for uri in (f"{tmp_path}/", f"file://{tmp_path}/", f"{tmp_path}/a.jpg"):
        told = doctor(uri, "--write")

        assert (told.code, told.trouble) == (0, {})
        assert told.lines["get"][1] == "a.jpg can be read"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path, doctor: Doctor) -> None:
    told = doctor(f"{tmp_path}/new/", "--write")

    assert (told.code, told.lines["put"][1]) == (1, f"{tmp_path}/new is no directory")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_empty_in_a_new_process(doctor: Doctor) -> None:
    told = doctor("memory://x/", "--write")

    assert (told.code, told.trouble) == (0, {"list": "warning"})
    assert told.lines["put"][0] == "ok"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["s3://"], "'s3://' names no bucket"),
        (["s3:///a.jpg"], "names no bucket"),
        (["s3://x/a"], "'x' is no bucket name"),
        (["http://x/y"], "there is no store for http://"),
        (["a.jpg", "--profile", "lab", "--anonymous"], "--profile, --anonymous: these are for s3:// URIs"),
        (["s3://bucket", "--endpoint-url", "minio:9000"], "S3Options.endpoint_url must be a URL"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", *arguments]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert said in line


@pytest.mark.parametrize("arguments", [[], ["a", "--seconds", "0"], ["a", "--mib", "x"], ["a", "--concurrency", "-1"]])
def test_bad_numbers_are_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *arguments])

    assert ended.value.code == 2
    assert "usage: asyncio-loader doctor" in capsys.readouterr().err
