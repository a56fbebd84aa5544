"""PUT of objects and of parts: signed by us, for botocore would copy each body and hash it on the loop's thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping

from asyncio_loader.errors import ServerFault
from asyncio_loader.options import RetryPolicy
from asyncio_loader.records import Buffer
from asyncio_loader.stores.retry import RetryLog, retry_calls
from asyncio_loader.stores.s3.exchange import Body, Exchange, Slot
from asyncio_loader.stores.s3.sigv4 import UNSIGNED_PAYLOAD
from asyncio_loader.stores.s3.transport import Answer

__all__ = ["ObjectWriter"]

# What SHA-256 takes a millisecond or less for.
_QUICK_BYTES = 512 * 1024


class ObjectWriter:
    """Sends objects and parts through an `Exchange`, as often as the policy allows.

    Over http the signature covers the body, so that the server refuses one that was changed on the way; over https TLS
    sees to that.
    """

    def __init__(self, exchange: Exchange, retry: RetryPolicy) -> None:
        self._exchange = exchange
        self._retry = retry
        # One for all: else each part of each object would warn of the same fault anew.
        self._log = RetryLog()

    async def put(self, uri: str, data: Buffer) -> None:
        """See `WritableStore.put`; in one request."""
        await self._put(uri, data, None)

    async def put_part(self, uri: str, upload_id: str, number: int, data: Buffer) -> str:
        """See `MultipartStore.put_part`."""
        etag = await self._put(uri, data, {"partNumber": str(number), "uploadId": upload_id})
        if not etag:
            raise ServerFault(f"{uri}: the server took part {number} and gave no ETag for it", key=uri)
        return etag

    async def _put(self, uri: str, data: Buffer, query: Mapping[str, str] | None) -> str:
        view = memoryview(data).cast("B")
        body = Body(view, await self._sha256(view))

        async def attempt() -> str:
            return await self._exchange.run("PUT", uri, _read_etag, query=query, body=body)

        etag, _ = await retry_calls(attempt, uri, retry=self._retry, on_retry=self._log)
        return etag

    async def _sha256(self, data: memoryview) -> str:
        if self._exchange.endpoint.scheme == "https":
            return UNSIGNED_PAYLOAD
        if len(data) <= _QUICK_BYTES:
            return hashlib.sha256(data).hexdigest()
        return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()


async def _read_etag(answer: Answer, _: Slot) -> str:
    return answer.headers.get("ETag", "")
