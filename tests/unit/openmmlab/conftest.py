"""On real servers the tree of files that OpenMMLab's own tests of storage backends use; on the simulator images."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping

import pytest

from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing import S3Simulator
from tests.unit.openmmlab.prefetch_case import images

TREE = {
    "dir1/text3.txt": b"text3",
    "dir2/dir3/text4.txt": b"text4",
    "dir2/img.jpg": b"\xff\xd8image",
    "text1.txt": b"text1",
    "text2.txt": b"text2",
}


@pytest.fixture(scope="module")
def _images_of_case() -> Iterator[S3Simulator]:
    with S3Simulator(images()) as server:
        yield server


@pytest.fixture
def simulator(_images_of_case: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> S3Simulator:
    """The eleven images of prefetch_case.py on this process's S3, and an empty log."""
    for name, value in _images_of_case.environ.items():
        monkeypatch.setenv(name, value)
    _images_of_case.requests(clear=True)
    return _images_of_case


@pytest.fixture
def fill() -> Callable[[str, Mapping[str, bytes]], None]:
    """Puts objects under a URI, and makes the bucket for them."""
    return lambda root, objects: asyncio.run(_fill(root, objects))


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket on each server in turn, which is this process's S3."""
    request.getfixturevalue(f"{request.param}_environ")
    name = f"s3://openmmlab-{uuid.uuid4().hex}"
    asyncio.run(_fill(name, {}))
    return name


@pytest.fixture
def tree(bucket: str) -> str:
    """URI of a directory that holds the tree."""
    asyncio.run(_fill(f"{bucket}/tree", TREE))
    return f"{bucket}/tree"


async def _fill(root: str, objects: Mapping[str, bytes]) -> None:
    store = S3Store()
    if not await store.has_bucket(root):
        await store.create_bucket(root)
    for name, data in objects.items():
        await store.put(f"{root}/{name}", data)
    await store.aclose()
