"""An upload in parts: whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncio_loader.records import Buffer

__all__ = ["part_size", "put_parts"]

# "Amazon S3 multipart upload limits", Amazon S3 User Guide.
_MAX_PARTS = 10_000
# Four parts of 8 MiB at ~85 MB/s a connection fill a 2.5 Gbit/s line, at the price of 32 MiB of copies.
_PARTS_IN_FLIGHT = 4


def part_size(total_bytes: int, wanted_bytes: int) -> int:
    """The wanted size of a part, or the least that makes do with the parts that S3 allows."""
    return max(wanted_bytes, -(-total_bytes // _MAX_PARTS))


async def put_parts(client: Any, bucket: str, key: str, data: Buffer, *, part_bytes: int) -> None:
    """Upload in parts through a botocore client. Raises what that raises.

    If a part fails or the call is cancelled, the upload is aborted, so that no part stays behind and costs.
    """
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = (await client.create_multipart_upload(**upload))["UploadId"]
    try:
        parts = await _put_all(client, upload, memoryview(data), part_size(len(data), part_bytes))
        await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    except BaseException:
        # Shielded by nothing: a second cancellation may leave the parts to the bucket's lifecycle rule.
        await client.abort_multipart_upload(**upload)
        raise


async def _put_all(client: Any, upload: dict[str, str], data: memoryview, part_bytes: int) -> list[dict[str, Any]]:
    slots = asyncio.Semaphore(_PARTS_IN_FLIGHT)

    async def put_part(number: int) -> dict[str, Any]:
        async with slots:
            body = bytes(data[(number - 1) * part_bytes : number * part_bytes])
            answer = await client.upload_part(**upload, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

    count = -(-len(data) // part_bytes)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(put_part(n), name=f"{upload['Key']}#{n}") for n in range(1, count + 1)]
    except ExceptionGroup as failures:
        # The first failure cancelled the others; it tells the story alone.
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
