"""What was begun and never ended is aborted, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import multiprocessing
import os
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from asyncio_loader import FileClient
from asyncio_loader.errors import AccessDenied, ConfigError, FetchError
from asyncio_loader.fileio.journal import Upload, UploadJournal
from asyncio_loader.stores.s3.store import S3Store


@pytest.fixture
def journal(tmp_path: Path) -> UploadJournal:
    return UploadJournal(tmp_path / "run" / "uploads.jsonl")


@pytest.fixture
def aborted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the S3 backend is asked to abort; nothing goes out. An upload named "denied" is refused."""
    asked: list[tuple[str, str]] = []

    async def abort_upload(self: S3Store, uri: str, upload_id: str) -> None:
        if upload_id == "denied":
            raise AccessDenied(f"{uri}: not allowed")
        asked.append((uri, upload_id))

    monkeypatch.setattr(S3Store, "abort_upload", abort_upload)
    return asked


def _leave_behind(path: Path, *upload_ids: str) -> None:
    """As a process that was killed leaves it."""
    lines = [{"begun": {"uri": f"s3://b/{name}", "upload_id": name, "storage": {}}} for name in upload_ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_nothing_is_there_before_the_first_upload(journal: UploadJournal) -> None:
    assert journal.abort_leftovers() == []
    assert not journal.path.parent.exists()


def test_what_ended_is_no_leftover(journal: UploadJournal, aborted: list[object]) -> None:
    journal.begin("s3://b/a", "1")
    journal.begin("s3://b/b", "2")
    journal.end("1")
    journal.end("2")

    assert UploadJournal(journal.path).abort_leftovers() == []
    assert aborted == []


def test_what_was_begun_and_not_ended_is_aborted_once(journal: UploadJournal, aborted: list[object]) -> None:
    _leave_behind(journal.path, "1", "2")
    journal.path.write_text(f"{journal.path.read_text()}{json.dumps({'ended': '1'})}\n")

    assert journal.abort_leftovers() == [Upload("s3://b/2", "2")]
    assert journal.abort_leftovers() == []
    assert aborted == [("s3://b/2", "2")]
    assert journal.path.read_bytes() == b""


def test_each_line_is_on_the_disk_before_the_call_returns(
    journal: UploadJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.pread(fd, 1000, 0)))
    journal.begin("s3://b/a", "1", {"region_name": "x"})
    journal.end("1")

    begun, ended = ([json.loads(line) for line in content.splitlines() if line] for content in synced)
    assert begun == [{"begun": {"uri": "s3://b/a", "upload_id": "1", "storage": {"region_name": "x"}}}]
    assert ended == [*begun, {"ended": "1"}]


def test_a_torn_line_is_passed_over_and_swallows_none(journal: UploadJournal, aborted: list[object]) -> None:
    _leave_behind(journal.path, "1")
    with journal.path.open("ab") as file:
        file.write(b'{"begun": {"uri": "s3://b/\xff')
    journal.begin("s3://b/new", "2")
    journal.end("2")

    assert journal.abort_leftovers() == [Upload("s3://b/1", "1")]
    assert aborted == [("s3://b/1", "1")]


def test_what_cannot_be_aborted_is_kept_and_named(
    journal: UploadJournal, aborted: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    _leave_behind(journal.path, "denied", "2")

    with caplog.at_level(logging.WARNING):
        assert journal.abort_leftovers() == [Upload("s3://b/2", "2")]

    assert "s3://b/denied: not allowed" in caplog.text
    assert b"denied" in journal.path.read_bytes()

    caplog.clear()
    assert journal.abort_leftovers() == []
    assert "s3://b/denied: not allowed" in caplog.text
    assert aborted == [("s3://b/2", "2")]


def test_an_open_upload_of_this_process_is_no_leftover(
    journal: UploadJournal, aborted: list[object], caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin("s3://b/a", "1")

    with caplog.at_level(logging.WARNING):
        assert UploadJournal(journal.path).abort_leftovers() == []

    assert "a running process has uploads open" in caplog.text
    assert aborted == []
    journal.end("1")


def _hold_upload(path: Path, pipe: Connection) -> None:
    UploadJournal(path).begin("s3://b/child", "child")
    pipe.send("begun")
    pipe.recv()


def test_an_upload_is_a_leftover_once_its_process_is_dead(journal: UploadJournal, aborted: list[object]) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_hold_upload, args=(journal.path, theirs))
    child.start()
    assert ours.recv() == "begun"

    while_it_lives = journal.abort_leftovers()
    child.kill()
    child.join()

    assert while_it_lives == []
    assert journal.abort_leftovers() == [Upload("s3://b/child", "child")]
    assert aborted == [("s3://b/child", "child")]


def test_threads_write_whole_lines(journal: UploadJournal) -> None:
    def upload(name: str) -> None:
        for number in range(20):
            journal.begin("s3://b/a", f"{name}{number}")
            journal.end(f"{name}{number}")

    threads = [threading.Thread(target=upload, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = [json.loads(line) for line in journal.path.read_bytes().splitlines() if line]
    assert len(lines) == 160


def test_an_end_that_was_not_begun_here_is_passed_over(journal: UploadJournal) -> None:
    journal.end("other")

    assert not journal.path.exists()


def test_the_client_given_aborts(journal: UploadJournal, aborted: list[object]) -> None:
    _leave_behind(journal.path, "1")

    with pytest.raises(ConfigError, match="knows no uploads that could be aborted"):
        journal.abort_leftovers(FileClient("disk"))

    assert journal.abort_leftovers(FileClient("aws")) == [Upload("s3://b/1", "1")]


def test_a_place_where_nobody_may_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(FetchError, match=f"{tmp_path}/file/uploads"):
        UploadJournal(tmp_path / "file" / "uploads").begin("s3://b/a", "1")


def _fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    # As the system does it: what still fits is written, and only the next write would raise.
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))


def test_a_line_that_did_not_fit_is_an_error_and_nothing_is_open(
    journal: UploadJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _fill_the_disk(patch)
        with pytest.raises(FetchError, match="No space left on device"):
            journal.begin("s3://b/a", "1")
    assert (journal._fd, journal._open) == (None, set())

    # A later upload is noted as ever.
    journal.begin("s3://b/b", "2")
    journal.leave("2")
    assert journal.path.read_bytes().splitlines()[-1].startswith(b'{"begun": {"uri": "s3://b/b"')


def test_an_end_that_cannot_be_noted_is_a_warning_and_frees_the_journal(
    journal: UploadJournal, aborted: list[object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal.begin("s3://b/a", "1")
    with monkeypatch.context() as patch:
        _fill_the_disk(patch)
        journal.end("1")

    assert "No space left on device; the end of an upload could not be noted" in caplog.text
    assert journal._fd is None
    # The server will say that there is no such upload.
    assert UploadJournal(journal.path).abort_leftovers() == [Upload("s3://b/a", "1")]


def test_an_upload_that_was_left_is_a_leftover_though_its_process_lives(
    journal: UploadJournal, aborted: list[object]
) -> None:
    journal.begin("s3://b/a", "1")
    journal.leave("1")

    assert UploadJournal(journal.path).abort_leftovers() == [Upload("s3://b/a", "1")]


def test_without_locks_uploads_are_noted_and_not_cleaned_up(
    journal: UploadJournal, aborted: list[object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    journal.begin("s3://b/a", "1")
    journal.leave("1")

    assert journal.abort_leftovers() == []
    assert aborted == []
    assert b'"1"' in journal.path.read_bytes()
    assert [record.getMessage() for record in caplog.records] == [
        f"{journal.path}: no locks on this file system: uploads left over are not cleaned up"
    ]


def test_a_lock_that_fails_otherwise_is_an_error_that_leaves_nothing_open(
    journal: UploadJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    journal.path.parent.mkdir()
    journal.path.touch()
    before = os.listdir("/proc/self/fd")
    for act in (lambda: journal.begin("s3://b/a", "1"), journal.abort_leftovers):
        with pytest.raises(FetchError, match=f"{journal.path}: Input/output error"):
            act()

    assert journal._fd is None
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_an_abort_that_cannot_be_noted_stops_no_start(
    journal: UploadJournal, aborted: list[object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _leave_behind(journal.path, "1", "2")
    _fill_the_disk(monkeypatch)

    assert [upload.upload_id for upload in journal.abort_leftovers()] == ["1", "2"]
    assert "the end of leftover uploads could not be noted" in caplog.text
