from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.datasets.quarantine import (
    Quarantined,
    append_quarantined,
    check_quarantine,
    parse_quarantine,
    read_quarantine,
)
from asyncio_loader.errors import ConfigError, ObjectNotFound
from asyncio_loader.records import Failed, ObjectRef

NOW = datetime(2026, 11, 25, 21, 30, 5, 123456, tzinfo=UTC)


def failed(key: str = "s3://b/7.jpg", message: str = "no such object") -> Failed:
    return Failed(ObjectRef(key), ObjectNotFound(message), position=70, index=7, epoch=3, attempts=2)


def test_a_line_says_what_failed_where_why_and_when(tmp_path: Path) -> None:
    path = tmp_path / "made" / "quarantine.jsonl"
    append_quarantined(str(path), Quarantined.of(failed(), NOW))

    assert json.loads(path.read_text()) == {
        "key": "s3://b/7.jpg",
        "index": 7,
        "epoch": 3,
        "position": 70,
        "error": "ObjectNotFound",
        "message": "no such object",
        "attempts": 2,
        "time": "2026-11-25T21:30:05.123+00:00",
    }


@pytest.mark.parametrize("key", ["s3://b/ä b.jpg", "s3://b/two\nlines\u2028.jpg", "s3://b/\udcff"])
def test_any_key_is_one_line_and_comes_back(tmp_path: Path, key: str) -> None:
    path = tmp_path / "q"
    entries = [Quarantined.of(failed(key), NOW), Quarantined.of(failed(), NOW)]
    for entry in entries:
        append_quarantined(str(path), entry)

    assert read_quarantine(path) == entries
    assert path.read_bytes().count(b"\n") == 2


def test_a_long_message_is_cut() -> None:
    message = Quarantined.of(failed(message="x" * 5000)).message

    assert len(message) == 1000
    assert message.endswith("x…")


def test_the_time_is_the_present_one_by_default() -> None:
    before = datetime.now(UTC)
    time = datetime.fromisoformat(Quarantined.of(failed()).time)

    assert abs((time - before).total_seconds()) < 60


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "q")
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                for number in range(200):
                    append_quarantined(path, Quarantined.of(failed(f"{child}/{number}/" + "k" * 1500)))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4

    keys = [entry.key.rpartition("/")[0] for entry in read_quarantine(path)]
    assert len(keys) == 800
    for child in range(4):
        assert [key for key in keys if key.startswith(f"{child}/")] == [f"{child}/{n}" for n in range(200)]


def test_where_there_is_no_file_nothing_failed(tmp_path: Path) -> None:
    assert read_quarantine(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "q, line 2: not JSON"),
        (b"[1]", r"q, line 2: must be a JSON object, not \[1\]"),
        (b'{"key": 5}', "q, line 2: 'key' must be str, not 5"),
        (b'{"key": "a"}', "q, line 2: 'index' must be int, not None"),
    ],
)
def test_a_line_of_another_kind_is_refused_with_its_number(line: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_quarantine(b"\n" + line + b"\n", source="q")


@pytest.mark.parametrize(("value", "path"), [(None, None), ("a/q.jsonl", "a/q.jsonl"), (Path("a/q"), "a/q")])
def test_a_path_may_be_a_str_or_a_path(value: Any, path: str | None) -> None:
    assert check_quarantine(value) == path


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "quarantine must be a path or None, not ''"),
        (True, "quarantine must be a path or None, not True"),
        ("s3://b/q", "quarantine='s3://b/q' must be a local path"),
        ("/", "quarantine='/' is a directory"),
    ],
)
def test_what_cannot_be_appended_to_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_quarantine(value)
