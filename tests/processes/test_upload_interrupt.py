"""A process that is interrupted while it uploads aborts that before it ends."""

from __future__ import annotations

import os
import subprocess
import sys

import boto3
import pytest

from asyncio_loader.testing.servers import MotoServer

BUCKET = "interrupted"

# Interrupts itself when the server has created the upload, or has its first part; the answer comes a moment later.
_PUT = """
import asyncio, os, signal, sys
from asyncio_loader import FileClient
from asyncio_loader.stores.s3.admin import Admin
from asyncio_loader.stores.s3.writes import ObjectWriter

owner, name, mode, uri = {"create": Admin, "part": ObjectWriter}[sys.argv[1]], *sys.argv[2:]
real = getattr(owner, name)

async def interrupted(self, *arguments):
    answer = await real(self, *arguments)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.2)
    return answer

setattr(owner, name, interrupted)
signal.signal(signal.SIGINT, signal.default_int_handler)
client = FileClient("s3", part_size_bytes=5 << 20)
try:
    if mode == "put":
        client.put(bytes(16 << 20), uri)
    else:
        with client.open(uri, "wb") as file:
            file.write(bytes(16 << 20))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("mode", ["put", "open"])
@pytest.mark.parametrize(("moment", "name"), [("create", "create_upload"), ("part", "put_part")])
def test_an_interrupted_upload_leaves_nothing(moto_environ: MotoServer, moment: str, name: str, mode: str) -> None:
    s3 = boto3.client("s3", endpoint_url=moto_environ.endpoint_url)
    s3.create_bucket(Bucket=BUCKET)
    arguments = [sys.executable, "-c", _PUT, moment, name, mode, f"s3://{BUCKET}/{moment}"]
    done = subprocess.run(arguments, capture_output=True, text=True, env=dict(os.environ), timeout=60, check=False)
    left = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    objects = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    s3.close()

    assert (done.returncode, done.stderr) == (130, "")
    assert (left, objects) == ([], [])
