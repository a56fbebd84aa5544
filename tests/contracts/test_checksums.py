"""What real servers tell of their objects' checksums, and that `S3Store` compares with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.config import Config

from asyncio_loader.errors import FetchError
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store

MIB = 1024 * 1024
DATA = b"the bytes of an object"


@pytest.fixture(params=["moto", "rclone"])
def root(request: pytest.FixtureRequest, fresh_name: str) -> str:
    """A place for objects on a server that is this process's S3."""
    request.getfixturevalue(f"{request.param}_environ")
    return f"{request.getfixturevalue(f'{request.param}_bucket')}/{fresh_name}/"


@pytest.fixture
def client(root: str) -> Any:
    """boto3's: it sends checksums, which we don't."""
    return boto3.client("s3", config=Config(request_checksum_calculation="when_required"))


@pytest.fixture(params=["http1", "aiohttp"])
async def store(request: pytest.FixtureRequest, root: str) -> AsyncIterator[S3Store]:
    """One that takes nothing without comparing it."""
    store = S3Store(S3Options(transport=request.param, part_size_bytes=5 * MIB), verify="always")
    yield store
    await store.aclose()


async def put(client: Any, uri: str, **how: str) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    await asyncio.to_thread(partial(client.put_object, Bucket=bucket, Key=key, Body=DATA, **how))


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32C", "CRC32", "SHA1", "SHA256"])
async def test_the_checksum_that_an_object_was_put_with(store: S3Store, root: str, client: Any, algorithm: str) -> None:
    await put(client, f"{root}a", ChecksumAlgorithm=algorithm)

    assert await store.get(f"{root}a") == DATA
    checksum = (await store.head(f"{root}a")).checksum
    assert checksum is not None
    assert (checksum.algorithm, checksum.matches(DATA), checksum.matches(DATA[1:])) == (algorithm.lower(), True, False)


async def test_the_etag_of_an_object_that_was_put_without_one(store: S3Store, root: str, client: Any) -> None:
    await put(client, f"{root}a")

    assert await store.get(f"{root}a") == DATA


@pytest.mark.parametrize("root", ["moto"], indirect=True)
async def test_an_upload_in_parts_has_none_on_moto(store: S3Store, root: str) -> None:
    await store.put(f"{root}a", bytes(6 * MIB))

    with pytest.raises(FetchError, match='verify="always"'):
        await store.get(f"{root}a")


@pytest.mark.parametrize("root", ["rclone"], indirect=True)
async def test_rclone_tells_that_of_the_whole_with_a_part(store: S3Store, root: str, client: Any) -> None:
    """And we believe it of the whole alone."""
    await put(client, f"{root}a", ChecksumAlgorithm="CRC32")

    part, whole = await store.get_range(f"{root}a", 0, 3), await store.get_range(f"{root}a", 0, 100)
    assert (part.data, part.checksum) == (DATA[:3], None)
    assert whole.checksum is not None
    assert whole.checksum.matches(DATA)
