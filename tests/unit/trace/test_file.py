from __future__ import annotations

import fcntl
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.trace import TraceFile
from asyncio_loader.trace import file as file_module
from asyncio_loader.trace.events import Events
from tests.trace_format import check_events

LINE = Events(5).span("thread", "x", 6, 1.0, 2.0)


def names(path: Path | str) -> list[str]:
    document = json.loads(Path(path).read_bytes())
    check_events(document)
    return [event["name"] for event in document[1:]]


def test_the_file_is_a_whole_array_from_the_first_moment_and_after_every_append(tmp_path: Path) -> None:
    trace = TraceFile.create(tmp_path / "t.json")

    assert names(trace.path) == []
    assert trace.append([LINE])
    assert trace.append([LINE, LINE])
    assert names(trace.path) == ["x"] * 3
    assert len(Path(trace.path).read_text().splitlines()) == 6


def test_a_new_trace_takes_the_place_of_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    TraceFile.create(path).append([LINE])

    TraceFile.create(path)

    assert names(path) == []


def test_it_pickles_with_an_absolute_path_and_is_not_begun_anew_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trace = TraceFile.create("t.json").labelled("train")
    trace.append([LINE])

    copy = pickle.loads(pickle.dumps(trace))

    assert copy == TraceFile(str(tmp_path / "t.json"), label="train")
    assert names(copy.path) == ["x"]
    assert TraceFile.of(copy) is copy
    assert TraceFile.of(None) is None


def test_threads_append_without_getting_into_each_others_lines(tmp_path: Path) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    threads = [threading.Thread(target=lambda: [trace.append([LINE] * 3) for _ in range(40)]) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert names(trace.path) == ["x"] * 480


@pytest.mark.parametrize("cut", range(1, len(LINE) + 3))
def test_what_a_killed_process_left_is_cut_off_by_the_next_append(tmp_path: Path, cut: int) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    trace.append([LINE] * 3)
    os.truncate(trace.path, os.path.getsize(trace.path) - cut)

    trace.append([LINE])

    assert names(trace.path) == ["x"] * 3


def test_a_process_that_is_forked_in_the_midst_of_it_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    pwrite, copies = os.pwrite, []

    def fork(descriptor: int, data: bytes, offset: int) -> int:
        # What a child has: another descriptor of the same open file.
        copies.append(os.dup(descriptor))
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, "pwrite", fork)
        trace.append([LINE])

    with open(trace.path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(*copies)


def test_a_file_that_was_emptied_meanwhile_is_refused_and_left_alone(tmp_path: Path) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    Path(trace.path).write_bytes(b"notes of mine")

    with pytest.raises(OSError, match="no trace of this loader"):
        trace.append([LINE])
    assert Path(trace.path).read_bytes() == b"notes of mine"


def test_a_full_file_takes_no_more_and_stays_whole(tmp_path: Path) -> None:
    trace = TraceFile.create(tmp_path / "t.json", max_bytes=1 << 20)
    count = 0
    while trace.append([LINE] * 1000):
        count += 1000

    assert 0 < os.path.getsize(trace.path) <= 1 << 20
    assert names(trace.path) == ["x"] * count


def test_a_disk_that_fills_up_in_the_middle_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    trace.append([LINE])
    pwrite = os.pwrite

    def write_a_part(descriptor: int, data: bytes, offset: int) -> int:
        # As the kernel does where the last block fits and the next one does not.
        return pwrite(descriptor, data[:20], offset)

    with monkeypatch.context() as patch:
        patch.setattr(file_module.os, "pwrite", write_a_part)
        with pytest.raises(OSError, match="No space left on device"):
            trace.append([LINE] * 5)

    assert names(trace.path) == ["x"]
    assert trace.append([LINE])
    assert names(trace.path) == ["x"] * 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing/t.json", r"trace='missing/t.json' cannot be written: No such file or directory"),
        (".", r"trace='.' cannot be written: Is a directory"),
        ("s3://bucket/t.json", r"trace='s3://bucket/t.json' must be a local path"),
        ("", r"trace must be a path or a TraceFile, not ''"),
        (3, r"trace must be a path or a TraceFile, not 3"),
        (b"t.json", r"trace must be a path or a TraceFile, not b't.json'"),
        ("a\0b", r"cannot be written: embedded null"),
    ],
)
def test_a_path_that_is_none_is_said_at_once(
    path: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=said):
        TraceFile.of(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(ConfigError, match="cannot be written: Permission denied"):
        TraceFile.create(tmp_path / "t.json")


@pytest.mark.parametrize("size", [0, 1000, "1 GB", True])
def test_a_size_that_is_none(size: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trace: max_bytes must be a whole number of at least 1048576"):
        TraceFile.create(tmp_path / "t.json", max_bytes=size)
