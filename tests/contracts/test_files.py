"""`FileClient` keeps its contract in memory, on disk, and on both real servers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncio_loader import FileClient
from asyncio_loader.options import S3Options
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer, RcloneServer
from tests.contracts.file_contract import FileContract


class TestFilesInMemory(FileContract):
    @pytest.fixture
    def client(self, root: str) -> FileClient:
        return FileClient("memory", path_mapping={"data": root})

    @pytest.fixture
    def root(self, fresh_name: str) -> str:
        return f"memory://files/{fresh_name}"


class TestFilesOnDisk(FileContract):
    slash = ""
    is_local = True

    @pytest.fixture
    def client(self) -> FileClient:
        return FileClient("disk")

    @pytest.fixture
    def root(self, tmp_path: Path) -> str:
        return str(tmp_path)


class TestFilesOnMoto(FileContract):
    @pytest.fixture
    def client(self, moto_environ: MotoServer, root: str) -> FileClient:
        return FileClient("aws", path_mapping={"data/": f"{root}/"})

    @pytest.fixture
    def root(self, moto_bucket: str, fresh_name: str) -> str:
        return f"{moto_bucket}/files/{fresh_name}"

    def test_a_listing_goes_on_behind_a_page(self, client: FileClient, root: str) -> None:
        names = [f"{number:04}" for number in range(1003)]
        _put_all(f"{root}/many", [*names, "sub/a", "sub/b"])

        assert list(client.list_dir_or_file(f"{root}/many")) == [*names, "sub/"]

    def test_the_mark_of_a_directory_is_no_file(self, client: FileClient, root: str) -> None:
        _put_all(root, ["", "marked/", "marked/a", "empty/"])

        assert list(client.list_dir_or_file(root)) == ["empty/", "marked/"]
        assert list(client.list_dir_or_file(root, list_dir=False, recursive=True)) == ["marked/a"]
        assert list(client.list_dir_or_file(root, recursive=True)) == ["empty/", "marked/", "marked/a"]
        assert not client.isfile(f"{root}/empty/")
        assert client.isdir(f"{root}/empty")
        assert client.exists(f"{root}/empty")


class TestFilesOnRclone(FileContract):
    @pytest.fixture
    def client(self, rclone_environ: RcloneServer, root: str) -> FileClient:
        return FileClient("aws", path_mapping={"data/": f"{root}/"})

    @pytest.fixture
    def root(self, rclone_bucket: str, fresh_name: str) -> str:
        return f"{rclone_bucket}/files/{fresh_name}"


def _put_all(root: str, names: list[str]) -> None:
    async def put_all() -> None:
        store = S3Store(S3Options())
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(store.put(f"{root}/{name}", b""))
        await store.aclose()

    asyncio.run(put_all())
