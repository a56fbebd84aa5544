"""obstore: object_store, a Rust client, from Python's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from bench.measure import Cost
from bench.peers.tasks import BUCKET, REGION, GetTask, run_tasks

__all__ = ["get", "get_range", "open_store"]


def open_store(endpoint_url: str, ca_bundle: str | None = None) -> S3Store:
    """A store on the bucket; credentials are those of the environment."""
    options: dict[str, Any] = {"allow_http": endpoint_url.startswith("http://")}
    if ca_bundle:
        options["root_certificate"] = Path(ca_bundle).read_bytes()
    return S3Store(
        BUCKET,
        endpoint=endpoint_url,
        region=REGION,
        virtual_hosted_style_request=False,
        client_options=options,  # type: ignore[arg-type]
    )


def get(task: GetTask) -> Cost:
    """`get_async`, and the body in one piece."""

    async def get_object(store: S3Store, key: str) -> int:
        return len(await (await obstore.get_async(store, key)).bytes_async())

    return _run(task, get_object)


def get_range(task: GetTask) -> Cost:
    """`get_range_async` of the whole object, whose size one has to know."""

    async def get_object(store: S3Store, key: str) -> int:
        return len(await obstore.get_range_async(store, key, start=0, length=task.size_bytes))

    return _run(task, get_object)


def _run(task: GetTask, get_object: Callable[[S3Store, str], Awaitable[int]]) -> Cost:
    @asynccontextmanager
    async def open_get() -> AsyncIterator[Callable[[str], Awaitable[int]]]:
        store = open_store(task.endpoint_url, task.ca_bundle)
        yield lambda key: get_object(store, key)

    return run_tasks(task, open_get)
