from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.bridge import trace_writer
from asyncio_loader.bridge.trace_writer import TraceWriter
from asyncio_loader.stats import Counters
from asyncio_loader.trace import Recorder, TraceFile, read_trace


def open_writer(path: Path) -> TraceWriter:
    return TraceWriter(TraceFile.create(path), Recorder(), Counters())


def note(writer: TraceWriter, name: str) -> None:
    writer.recorder.span(name, time.perf_counter())


def names(path: Path) -> list[str]:
    return [span.name for span in read_trace(path).spans()]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "asyncio-loader-trace"]


def test_what_is_recorded_is_written_soon(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    writer = open_writer(path)
    note(writer, "early")
    while names(path) != ["early"]:
        time.sleep(0.001)
    note(writer, "late")
    writer.close()
    writer.close()

    assert names(path) == ["early", "late"]
    assert threads() == []


def test_flush_does_not_wait_for_the_thread(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "t.json")
    note(writer, "now")
    writer.flush()

    assert names(tmp_path / "t.json") == ["now"]
    writer.close()


def test_a_writer_that_is_dropped_writes_down_what_it_has(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "t.json")
    note(writer, "last")
    del writer
    gc.collect()

    assert names(tmp_path / "t.json") == ["last"]
    assert threads() == []


def _record_and_leave(path: Path) -> None:
    """A worker process ends without `atexit`."""
    writer = TraceWriter(TraceFile(str(path)), Recorder(worker=0), Counters())
    note(writer, "of a worker")
    _kept.append(writer)


_kept: list[Any] = []


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_process_that_ends_writes_down_what_it_has(start_method: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    writer = open_writer(path)
    note(writer, "before")
    process = multiprocessing.get_context(start_method).Process(target=_record_and_leave, args=(path,))
    process.start()
    process.join()
    note(writer, "after")
    writer.close()

    assert process.exitcode == 0
    assert sorted(names(path)) == ["after", "before", "of a worker"]


def _use_the_parents(writer: TraceWriter) -> None:
    note(writer, "of a child")
    writer.flush()
    writer.close()


def test_a_forked_child_leaves_the_parents_trace_alone(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "t.json")
    process = multiprocessing.get_context("fork").Process(target=_use_the_parents, args=(writer,))
    process.start()
    process.join()
    note(writer, "of the parent")
    writer.close()

    assert process.exitcode == 0
    assert names(tmp_path / "t.json") == ["of the parent"]


def test_a_disk_that_is_full_is_said_once_and_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.json"
    writer = open_writer(path)
    writer.flush()
    with monkeypatch.context() as patch:
        patch.setattr(TraceFile, "append", _no_room)
        for _ in range(3):
            note(writer, "lost")
            writer.flush()

    assert not writer.recorder.is_on
    writer.close()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"{path}: No space left on device: the trace ends here; loading goes on"
    ]
    json.loads(path.read_bytes())


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_writer, "_PATIENCE_S", 0.01)
    begun, answers = threading.Event(), threading.Event()
    append = TraceFile.append

    def hang(self: TraceFile, lines: list[str]) -> bool:
        begun.set()
        answers.wait()
        return append(self, lines)

    monkeypatch.setattr(TraceFile, "append", hang)
    writer = open_writer(tmp_path / "t.json")
    assert begun.wait(30)
    note(writer, "late")

    writer.flush()
    writer.close()

    assert threads() == ["asyncio-loader-trace"]
    answers.set()
    while threads():
        time.sleep(0.001)
    assert names(tmp_path / "t.json") == ["late"]


def _no_room(self: TraceFile, lines: list[str]) -> bool:
    raise OSError(28, "No space left on device", self.path)
