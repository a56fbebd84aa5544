"""What is aborted at a start, and what a start does not wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import ConfigError, ConnectionLost, FetchTimeout
from asyncio_loader.fileio import leftovers
from asyncio_loader.fileio.journal import Upload
from asyncio_loader.fileio.leftovers import abort_through, abort_where_noted
from asyncio_loader.stores.s3.store import S3Store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str]]:
    """Server and name of each upload that is to be aborted. Nothing goes out; "lost" and "slow" are what they say."""
    calls: list[tuple[str | None, str]] = []

    async def abort_upload(self: S3Store, uri: str, upload_id: str) -> None:
        calls.append((self.found_options.endpoint_url, upload_id))
        if upload_id == "lost":
            raise ConnectionLost(f"{uri}: cannot reach it", key=uri)
        if upload_id == "slow":
            await asyncio.Event().wait()

    monkeypatch.setattr(S3Store, "abort_upload", abort_upload)
    return calls


def _uploads(*upload_ids: str, **storage: Any) -> list[Upload]:
    return [Upload(f"s3://bucket/{upload_id}", upload_id, storage) for upload_id in upload_ids]


def test_each_is_aborted_where_it_was(asked: list[object]) -> None:
    here, there = _uploads("1", endpoint_url="http://here"), _uploads("2", endpoint_url="http://there")

    assert abort_where_noted(here + there, "journal") == here + there
    assert asked == [("http://here", "1"), ("http://there", "2")]


@pytest.mark.parametrize("storage", [{"newer_option": 1}, {"addressing": "unheard of"}, {"part_size_bytes": 1}])
def test_a_note_that_cannot_be_read_is_a_warning(
    asked: list[object], caplog: pytest.LogCaptureFixture, storage: dict[str, Any]
) -> None:
    good = _uploads("1")

    assert abort_where_noted(_uploads("2", **storage) + good, "journal") == good
    assert "journal: the upload to s3://bucket/2 is left over and stays for now: " in caplog.text
    assert next(iter(storage)) in caplog.text


@pytest.mark.parametrize(
    "storage", [{"profile_name": "gone"}, {"ca_bundle": "/gone.pem", "endpoint_url": "https://127.0.0.1:1"}]
)
def test_a_storage_that_is_gone_is_a_warning(caplog: pytest.LogCaptureFixture, storage: dict[str, Any]) -> None:
    assert abort_where_noted(_uploads("1", **storage), "journal") == []
    assert "journal: the upload to s3://bucket/1 is left over and stays for now: " in caplog.text
    assert "gone" in caplog.text


def test_what_is_no_object_of_s3_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    storage = {"endpoint_url": "http://127.0.0.1:1", "anonymous": True}

    assert abort_where_noted([Upload("ftp://bucket/1", "1", storage)], "journal") == []
    assert "'ftp://bucket/1' is no S3 URI" in caplog.text


def test_a_server_that_is_down_is_asked_once(asked: list[object], caplog: pytest.LogCaptureFixture) -> None:
    up = _uploads("4", endpoint_url="http://up")
    down = _uploads("1", "lost", "3", endpoint_url="http://down")

    assert abort_where_noted(down + up, "journal") == [down[0], *up]
    assert asked == [("http://down", "1"), ("http://down", "lost"), ("http://up", "4")]
    assert [record.getMessage() for record in caplog.records] == [
        "journal: the upload to s3://bucket/lost and 1 more is left over and stays for now: "
        "s3://bucket/lost: cannot reach it"
    ]


def test_a_server_that_does_not_answer_keeps_no_start_waiting(
    asked: list[object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leftovers, "_TOTAL_S", 0.05)

    assert abort_where_noted(_uploads("slow", "2"), "journal") == []
    assert asked == [(None, "slow")]
    assert "s3://bucket/slow: no answer within the 0.05 s that a start waits" in caplog.text


def test_a_connection_that_is_refused_is_no_matter_of_minutes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    assert abort_where_noted(_uploads("1", "2", endpoint_url="http://127.0.0.1:1"), "journal") == []
    assert "cannot reach http://127.0.0.1:1" in caplog.text
    assert "s3://bucket/1 and 1 more" in caplog.text


def test_a_client_of_ones_own_stops_at_a_lost_connection(asked: list[object]) -> None:
    uploads = _uploads("1", "lost", "3")
    client = FileClient("aws")

    assert abort_through(client, uploads, "journal") == uploads[:1]
    assert asked == [(None, "1"), (None, "lost")]


def test_a_client_of_ones_own_that_is_wrong_is_an_error() -> None:
    with pytest.raises(ConfigError, match="gone"):
        abort_through(FileClient("aws", profile_name="gone"), _uploads("1"), "journal")
    with pytest.raises(ConfigError, match=r"journal: .* knows no uploads"):
        abort_through(FileClient("disk"), _uploads("1"), "journal")


def test_a_timeout_of_the_store_keeps_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def abort_upload(self: S3Store, uri: str, upload_id: str) -> None:
        raise FetchTimeout(f"{uri}: no connection")

    monkeypatch.setattr(S3Store, "abort_upload", abort_upload)

    assert abort_where_noted(_uploads("1"), "journal") == []
    assert "s3://bucket/1: no connection" in caplog.text
