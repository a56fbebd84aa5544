"""The backend for local files, and what all backends share."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.fileio.backends import DiskBackend, FilePath, StorageBackend


class GetOnlyBackend(StorageBackend):
    """The least that a user's backend must be."""

    def get(self, filepath: FilePath) -> bytes:
        return f"content of {filepath}".encode()


def test_a_backend_that_gets_also_gets_text() -> None:
    assert GetOnlyBackend().get_text("é") == "content of é"
    assert GetOnlyBackend().name == "GetOnlyBackend"
    assert not GetOnlyBackend().allow_symlink


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("put", (b"", "a")),
        ("put_text", ("", "a")),
        ("remove", ("a",)),
        ("exists", ("a",)),
        ("isfile", ("a",)),
        ("isdir", ("a",)),
        ("join_path", ("a", "b")),
        ("get_local_path", ("a",)),
        ("list_dir_or_file", ("a",)),
    ],
)
def test_what_a_backend_cannot_do_it_says(method: str, arguments: tuple[object, ...]) -> None:
    with pytest.raises(NotImplementedError, match="GetOnlyBackend cannot"):
        getattr(GetOnlyBackend(), method)(*arguments)


@pytest.mark.parametrize("kind", [str, Path])
def test_disk_reads_bytes_and_text(disk_tree: str, kind: type) -> None:
    disk = DiskBackend()

    assert disk.get(kind(f"{disk_tree}/dir2/img.jpg")) == b"\xff\xd8image"
    assert disk.get_text(kind(f"{disk_tree}/text1.txt")) == "text1"


def test_disk_takes_file_uris(disk_tree: str) -> None:
    disk = DiskBackend()

    assert disk.get(f"file://{disk_tree}/text1.txt") == b"text1"
    assert disk.isfile(f"file://{disk_tree}/text1.txt")
    assert list(disk.list_dir_or_file(f"file://{disk_tree}/dir1")) == ["text3.txt"]


def test_disk_says_what_is_missing() -> None:
    with pytest.raises(ObjectNotFound, match="/no/such/file"):
        DiskBackend().get("/no/such/file")


def test_disk_writes_and_removes(tmp_path: Path) -> None:
    disk = DiskBackend()
    disk.put(b"1", tmp_path / "new" / "a")
    disk.put_text("é", tmp_path / "new" / "b", encoding="latin-1")

    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert (tmp_path / "new" / "b").read_bytes() == b"\xe9"

    disk.remove(tmp_path / "new" / "a")
    disk.remove(tmp_path / "new" / "a")

    assert not disk.exists(tmp_path / "new" / "a")


def test_disk_tells_files_from_directories(disk_tree: str) -> None:
    disk = DiskBackend()

    found = [
        (disk.exists(p), disk.isfile(p), disk.isdir(p))
        for p in (f"{disk_tree}/{n}" for n in ("dir1", "text1.txt", "x"))
    ]

    assert found == [(True, False, True), (True, True, False), (False, False, False)]


def test_disk_joins_as_the_system_does() -> None:
    assert DiskBackend().join_path("a", Path("b"), "c") == "a/b/c"


def test_a_local_path_of_disk_is_the_file_itself(disk_tree: str) -> None:
    with DiskBackend().get_local_path(f"{disk_tree}/text1.txt") as path:
        assert path == f"{disk_tree}/text1.txt"

    assert DiskBackend().isfile(f"{disk_tree}/text1.txt")


ALL = ["dir1", "dir1/text3.txt", "dir2", "dir2/dir3", "dir2/dir3/text4.txt", "dir2/img.jpg", "text1.txt", "text2.txt"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["dir1", "dir2", "text1.txt", "text2.txt"]),
        ({"recursive": True}, ALL),
        ({"list_file": False}, ["dir1", "dir2"]),
        ({"list_file": False, "recursive": True}, ["dir1", "dir2", "dir2/dir3"]),
        ({"list_dir": False}, ["text1.txt", "text2.txt"]),
        ({"list_dir": False, "recursive": True}, [name for name in ALL if "." in name]),
        ({"list_dir": False, "suffix": ".jpg"}, []),
        ({"list_dir": False, "suffix": ".jpg", "recursive": True}, ["dir2/img.jpg"]),
        ({"list_dir": False, "suffix": (".txt", ".jpg"), "recursive": True}, [name for name in ALL if "." in name]),
    ],
)
def test_disk_lists_as_mmcv_does(disk_tree: str, arguments: dict[str, object], expected: list[str]) -> None:
    (Path(disk_tree) / ".hidden").touch()

    assert list(DiskBackend().list_dir_or_file(disk_tree, **arguments)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"suffix": ".txt"}, {"list_dir": False, "suffix": [".txt"]}])
def test_wrong_arguments_of_a_listing_fail_at_the_call(disk_tree: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        DiskBackend().list_dir_or_file(disk_tree, **arguments)  # type: ignore[arg-type]
