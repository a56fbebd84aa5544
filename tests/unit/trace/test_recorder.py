from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import pytest

from asyncio_loader.stats import Counters
from asyncio_loader.trace import Recorder
from asyncio_loader.trace import recorder as recorder_module
from tests.trace_format import check_events


def drained(recorder: Recorder, counters: Counters | None = None) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in recorder.drain(counters or Counters())]
    check_events(events)
    return events


def test_threads_have_tracks_with_their_names() -> None:
    recorder = Recorder(label="train", worker=3)
    thread = threading.Thread(target=lambda: recorder.span("transform", time.perf_counter(), n=1), name="transformer")
    thread.start()
    thread.join()
    recorder.instant("GET failed", error="Throttled")

    events = drained(recorder)

    named = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert sorted(named.values()) == ["train: MainThread", "train: transformer"]
    assert [event["args"]["name"] for event in events if event["name"] == "process_name"] == [
        "asyncio_loader train worker 3"
    ]
    (span,) = [event for event in events if event["ph"] == "X"]
    (instant,) = [event for event in events if event["ph"] == "i"]
    assert named[span["tid"]] == "train: transformer"
    assert span["args"] == {"n": 1}
    assert instant["tid"] == threading.get_native_id()
    assert {event["pid"] for event in events} == {os.getpid()}
    assert [event for event in drained(recorder) if event["ph"] == "M"] == []


def test_short_waits_are_left_out() -> None:
    recorder = Recorder()
    recorder.wait("waits for a sample", time.perf_counter())
    recorder.wait("waits for a sample", time.perf_counter() - 0.001)

    (wait,) = [event for event in drained(recorder) if event["ph"] == "X"]
    assert wait["dur"] >= 1000


def test_figures_are_shown_when_they_change() -> None:
    recorder, counters = Recorder(label="val"), Counters()
    counters.level = 32
    first = drained(recorder, counters)
    counters.in_flight, counters.pace = 5, 120.5
    second = drained(recorder, counters)

    assert {event["name"]: event["args"] for event in first if event["ph"] == "C"} == {
        "val: objects in flight": {"objects": 0},
        "val: window": {"bytes": 0},
        "val: level": {"GETs": 32},
    }
    assert {event["name"]: event["args"] for event in second} == {
        "val: objects in flight": {"objects": 5},
        "val: pace": {"GETs/s": 120.5},
    }


def test_what_is_not_drained_in_time_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_PENDING", 10)
    recorder = Recorder()
    for _ in range(25):
        recorder.span("batch", time.perf_counter())

    events = drained(recorder)

    assert sum(event["ph"] == "X" for event in events) == 10
    assert [event["args"] for event in events if event["name"] == "records dropped"] == [{"records": 15}]
    assert [event for event in drained(recorder) if event["name"] == "records dropped"] == []


def test_after_stop_nothing_is_kept() -> None:
    recorder = Recorder()
    recorder.span("batch", time.perf_counter())
    recorder.stop()
    recorder.span("batch", time.perf_counter())

    assert [event for event in drained(recorder) if event["ph"] == "X"] == []
    assert recorder.objects().draw(0, "s3://b/k", epoch=0, position=0, index=0) is None
