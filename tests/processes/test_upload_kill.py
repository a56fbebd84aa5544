"""A process that is killed while it uploads leaves no object, and its parts are gone after the next start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from asyncio_loader import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.testing.servers import MotoServer, RcloneServer

BUCKET = "killed"
KEY = "run/epoch_1.pth"
URI = f"s3://{BUCKET}/{KEY}"

# Sends the first parts, says so, and goes on until it is killed.
_SAVE = """
import sys
from asyncio_loader import FileClient
from asyncio_loader.fileio.journal import UploadJournal
uri, path = sys.argv[1:]
client = FileClient.infer_client(uri=uri)
with client.open(uri, "wb", journal=UploadJournal(path)) as file:
    while True:
        file.write(bytes(24 << 20))
        print("writing", flush=True)
"""


@pytest.fixture(params=["moto", "rclone"])
def s3(request: pytest.FixtureRequest) -> Iterator[Any]:
    """boto3's client of the server, which is this process's S3 as well."""
    server: MotoServer | RcloneServer = request.getfixturevalue(f"{request.param}_environ")
    client = boto3.client("s3", endpoint_url=server.endpoint_url)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()


def _kill_during_upload(journal: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SAVE, URI, str(journal)], stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.kill()
    assert said == b"writing\n"


def _open_uploads(s3: Any) -> list[tuple[str, str]]:
    found = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())
    return [(upload["Key"], upload["UploadId"]) for upload in found]


def test_a_killed_upload_leaves_nothing_behind_the_next_start(s3: Any, tmp_path: Path) -> None:
    foreign = (KEY, s3.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"])
    client = FileClient.infer_client(uri=URI)
    client.remove(URI)

    _kill_during_upload(tmp_path / "uploads.jsonl")
    left = [upload for upload in _open_uploads(s3) if upload != foreign]
    is_there = client.exists(URI)
    aborted = UploadJournal(tmp_path / "uploads.jsonl").abort_leftovers()

    assert not is_there
    assert len(left) == 1
    assert [(KEY, upload.upload_id) for upload in aborted] == left
    assert _open_uploads(s3) == [foreign]
    s3.abort_multipart_upload(Bucket=BUCKET, Key=KEY, UploadId=foreign[1])


def test_a_killed_upload_leaves_the_previous_object(s3: Any, tmp_path: Path) -> None:
    client = FileClient.infer_client(uri=URI)
    client.put(b"previous", URI)

    _kill_during_upload(tmp_path / "uploads.jsonl")
    UploadJournal(tmp_path / "uploads.jsonl").abort_leftovers(client)

    assert bytes(client.get(URI)) == b"previous"
    assert _open_uploads(s3) == []
    assert (tmp_path / "uploads.jsonl").read_bytes() == b""
