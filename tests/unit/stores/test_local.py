"""What `LocalStore` has beyond the contract."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, ObjectChanged, ObjectNotFound, ServerFault, ShortRead
from asyncio_loader.stores.base import Entry
from asyncio_loader.stores.local import LocalStore, os_errors, read_file, replacing, write_file


async def _uris(store: LocalStore, uri: str) -> list[str]:
    return [entry.uri async for entry in store.list(uri)]


async def test_a_failed_put_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    with pytest.raises(TypeError):
        await LocalStore().put(str(target), 5)  # type: ignore[arg-type]

    assert os.listdir(tmp_path) == ["a"]
    assert target.read_bytes() == b"old"


async def test_put_on_a_directory_is_refused_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()

    with pytest.raises(ObjectNotFound):
        await LocalStore().put(f"{tmp_path}/dir", b"")

    assert os.listdir(tmp_path) == ["dir"]


async def test_put_makes_a_file_that_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(f"{tmp_path}/a", b"")
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_put_keeps_the_mode_of_what_it_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(0o600)

    write_file(f"{tmp_path}/a", b"new")

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("exists", [True, False])
def test_put_replaces_what_a_link_leads_to(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "dir").mkdir()
    if exists:
        (tmp_path / "dir" / "a").write_bytes(b"old")
    (tmp_path / "link").symlink_to("dir/a")

    write_file(f"{tmp_path}/link", b"new")

    assert os.readlink(tmp_path / "link") == "dir/a"
    assert (tmp_path / "dir" / "a").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["dir", "link"]
    assert os.listdir(tmp_path / "dir") == ["a"]


@pytest.mark.parametrize("size", [5, 100_000])
def test_a_full_disk_is_told_at_the_write_or_at_the_end(tmp_path: Path, size: int) -> None:
    # A file that the system lets grow no further: five bytes are noticed when the buffer is written out.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, before[1]))
    try:
        with pytest.raises(ServerFault, match=f"^{tmp_path}/a: File too large$"), replacing(f"{tmp_path}/a") as file:
            file.write(b"x" * size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    assert os.listdir(tmp_path) == []


def test_an_error_of_the_block_comes_through_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of another") as caught, replacing(f"{tmp_path}/a"):
        raise OSError("of another")

    assert type(caught.value) is OSError
    assert os.listdir(tmp_path) == []


async def test_a_name_of_the_longest_kind_can_be_put(tmp_path: Path) -> None:
    name = "n" * 255

    await LocalStore().put(f"{tmp_path}/{name}", b"1")

    assert (tmp_path / name).read_bytes() == b"1"


async def test_relative_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = LocalStore()
    await store.put("dir/a", b"1")
    await store.put("b", b"2")

    assert await store.get("dir/a") == b"1"
    assert [entry async for entry in store.list("")] == [Entry("b", 1), Entry("dir/a", 1)]


async def test_list_follows_links_once_and_skips_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a").write_bytes(b"1")
    (tmp_path / "dir" / "up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")

    assert await _uris(LocalStore(), f"{tmp_path}/") == [f"{tmp_path}/dir/a", f"{tmp_path}/link/a"]


async def test_list_leaves_out_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").touch()

    assert await _uris(LocalStore(), f"{tmp_path}/") == [f"{tmp_path}/a"]


@pytest.mark.parametrize("uri", ["", "file://", "a\0b", "s3://bucket/key"])
async def test_what_is_no_path_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="no path of a local file"):
        await LocalStore().get(uri)


def test_a_file_that_shrinks_while_it_is_read_is_a_short_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)[:6], 9, *real(fd)[7:]]))

    with pytest.raises(ShortRead, match="from 9 to 5 bytes"):
        read_file(f"{tmp_path}/a")


@pytest.mark.parametrize(
    ("raised", "meant", "said"),
    [
        (FileNotFoundError(2, "No such file or directory"), ObjectNotFound, "no such file"),
        (NotADirectoryError(20, "Not a directory"), ObjectNotFound, "no such file"),
        (IsADirectoryError(21, "Is a directory"), ObjectNotFound, "a directory, not a file"),
        (PermissionError(13, "Permission denied"), AccessDenied, "Permission denied"),
        (OSError(5, "Input/output error"), ServerFault, "Input/output error"),
    ],
)
def test_errors_of_the_system_become_ours(raised: OSError, meant: type[Exception], said: str) -> None:
    with pytest.raises(meant, match=f"^/data/a: {said}$"), os_errors("/data/a"):
        raise raised


async def test_blocking_calls_leave_the_loop_free(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with asyncio.TaskGroup() as group:
        # Reading a pipe blocks until somebody writes: only a free loop gets as far as that.
        reading = group.create_task(LocalStore().get(f"{tmp_path}/pipe"))
        await asyncio.to_thread((tmp_path / "pipe").write_bytes, b"1")

    assert reading.result() == b"1"


async def test_a_file_that_is_rewritten_in_place_is_another_version(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"0123456789")
    first = await LocalStore().get_range(str(target), 0, 5)
    os.utime(target, ns=(1, 1))

    with pytest.raises(ObjectChanged, match=str(target)):
        await LocalStore().get_range(str(target), 5, 10, etag=first.etag)
