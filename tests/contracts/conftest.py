"""One bucket on each real server for the session, and in it a place of its own for each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer, RcloneServer

BUCKET = "s3://contract"

_numbers = itertools.count()


@pytest.fixture(scope="session")
def moto_bucket(moto_server: MotoServer) -> str:
    """A bucket on moto, as URI."""
    return _create(moto_server)


@pytest.fixture(scope="session")
def rclone_bucket(rclone_server: RcloneServer) -> str:
    """A bucket on rclone, as URI."""
    return _create(rclone_server)


@pytest.fixture
def fresh_name() -> str:
    """A name that no other test has."""
    return f"test-{next(_numbers)}"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A class of tests may name another loop than asyncio's own."""
    return {"loop": getattr(item.cls, "new_event_loop", asyncio.new_event_loop)}


def _create(server: MotoServer | RcloneServer) -> str:
    async def create() -> None:
        store = S3Store(S3Options(endpoint_url=server.endpoint_url))
        await store.create_bucket(BUCKET)
        await store.aclose()

    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environ.items():
            patch.setenv(name, value)
        asyncio.run(create())
    return BUCKET
