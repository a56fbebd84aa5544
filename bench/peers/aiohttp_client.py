"""aiohttp with our signatures: what a careful project makes of asyncio without a client of its own."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from asyncio_loader.stores.s3.sigv4 import Keys, Signer
from bench.measure import Cost
from bench.peers.tasks import BUCKET, REGION, GetTask, run_tasks

__all__ = ["get"]


def get(task: GetTask) -> Cost:
    """`session.get` and `read`."""

    @asynccontextmanager
    async def open_get() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
        host, port, is_tls = task.address
        signer = Signer(Keys(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]), REGION)
        context: ssl.SSLContext | bool = ssl.create_default_context(cafile=task.ca_bundle) if is_tls else True
        connector = aiohttp.TCPConnector(limit=task.in_flight, ssl=context)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

            async def get_object(key: str) -> int:
                path = f"/{BUCKET}/{key}"
                headers = signer.sign("GET", f"{host}:{port}", path, now_s=time.time())
                url = URL(task.endpoint_url + path, encoded=True)
                async with session.get(url, headers=headers) as response:
                    response.raise_for_status()
                    return len(await response.read())

            yield get_object

    return run_tasks(task, open_get)
