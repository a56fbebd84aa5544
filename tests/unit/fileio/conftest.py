"""The tree of files that mmcv's own tests use, on disk and on S3."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer

TREE = {
    "dir1/text3.txt": b"text3",
    "dir2/dir3/text4.txt": b"text4",
    "dir2/img.jpg": b"\xff\xd8image",
    "text1.txt": b"text1",
    "text2.txt": b"text2",
}


@pytest.fixture
def disk_tree(tmp_path: Path) -> str:
    """The tree in a directory."""
    for name, data in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return str(tmp_path)


@pytest.fixture
def s3_tree(moto_environ: MotoServer, request: pytest.FixtureRequest) -> str:
    """The tree in a bucket on moto, with a directory's mark as consoles make it; this process's S3."""
    root = f"s3://files/{id(request.node):x}"

    async def upload() -> None:
        store = S3Store()
        await store.create_bucket(root)
        for name, data in {**TREE, "dir1/": b""}.items():
            await store.put(f"{root}/{name}", data)
        await store.aclose()

    asyncio.run(upload())
    return root
