"""An upload in parts is whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncio_loader.stores.s3.multipart import part_size, put_parts


class FakeClient:
    """botocore's client, as far as parts go; may fail or wait at one part."""

    def __init__(self, failing_part: int = 0, waiting_part: int = 0) -> None:
        self.parts: dict[int, bytes] = {}
        self.done: list[str] = []
        self.waits = asyncio.Event()
        self._failing_part = failing_part
        self._waiting_part = waiting_part

    async def create_multipart_upload(self, **_: str) -> dict[str, str]:
        return {"UploadId": "upload"}

    async def upload_part(self, *, PartNumber: int, Body: bytes, **_: str) -> dict[str, str]:  # noqa: N803
        if PartNumber == self._failing_part:
            raise ConnectionResetError("part failed")
        if PartNumber == self._waiting_part:
            self.waits.set()
            await asyncio.Event().wait()
        self.parts[PartNumber] = Body
        return {"ETag": f"etag{PartNumber}"}

    async def complete_multipart_upload(self, *, MultipartUpload: Any, **_: str) -> None:  # noqa: N803
        self.done.append(" ".join(part["ETag"] for part in MultipartUpload["Parts"]))

    async def abort_multipart_upload(self, **_: str) -> None:
        self.done.append("aborted")


@pytest.mark.parametrize(
    ("total", "wanted", "size"), [(100, 8, 8), (80_000, 8, 8), (80_001, 8, 9), (10**9, 8, 100_000)]
)
def test_parts_grow_where_there_would_be_too_many(total: int, wanted: int, size: int) -> None:
    assert part_size(total, wanted) == size
    assert -(-total // size) <= 10_000


async def test_parts_are_put_together_in_order() -> None:
    client = FakeClient()

    await put_parts(client, "bucket", "key", b"aaabbbc", part_bytes=3)

    assert client.parts == {1: b"aaa", 2: b"bbb", 3: b"c"}
    assert client.done == ["etag1 etag2 etag3"]


async def test_a_failed_part_aborts_the_upload() -> None:
    client = FakeClient(failing_part=2)

    with pytest.raises(ConnectionResetError, match="part failed"):
        await put_parts(client, "bucket", "key", b"aaabbbc", part_bytes=3)

    assert client.done == ["aborted"]


async def test_cancelling_aborts_the_upload() -> None:
    client = FakeClient(waiting_part=2)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(put_parts(client, "bucket", "key", b"aaabbbc", part_bytes=3))
        await client.waits.wait()
        task.cancel()

    assert task.cancelled()
    assert client.done == ["aborted"]
