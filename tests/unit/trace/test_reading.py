from __future__ import annotations

import os
from pathlib import Path

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.stats import Counters
from asyncio_loader.trace import Recorder, TraceFile, read_trace
from asyncio_loader.trace.events import Events, args_text

EVENTS = Events(7)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    trace, recorder = TraceFile.create(tmp_path / "t.json"), Recorder()
    tracks = recorder.objects()
    record = tracks.draw(0, "s3://b/k", epoch=0, position=3, index=4)
    assert record is not None
    record.grant()
    attempt = record.begin()
    attempt.head_s = attempt.begun_s
    attempt.end()
    tracks.close()
    trace.append(recorder.drain(Counters()))

    read = read_trace(trace.path)

    assert read.is_whole
    (span,) = read.spans("object")
    assert (span.pid, span.args["uri"], span.args["position"]) == (os.getpid(), "s3://b/k", 3)
    assert [part.name for part in span.parts] == ["queued", "GET"]
    assert [part.name for part in span.parts[1].parts] == ["first byte", "body"]
    assert span.start_s == pytest.approx(record.drawn_s, abs=2e-6)
    assert span.duration_s == pytest.approx(record.closed_s - record.drawn_s, abs=2e-6)


def test_spans_of_threads_have_their_time(tmp_path: Path) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    trace.append([EVENTS.span("wait", "waits for a sample", 8, 1.0, 1.5, args_text({"n": 2}))])

    (span,) = read_trace(trace.path).spans()

    assert (span.name, span.track, span.start_s, span.end_s, span.args) == (
        "waits for a sample",
        "8",
        1.0,
        1.5,
        {"n": 2},
    )


@pytest.mark.parametrize("cut", range(70))
def test_a_file_without_its_end_is_as_good(tmp_path: Path, cut: int) -> None:
    trace = TraceFile.create(tmp_path / "t.json")
    trace.append([EVENTS.span("thread", "x", 8, 1.0, 2.0)] * 3)
    os.truncate(trace.path, os.path.getsize(trace.path) - cut)

    read = read_trace(trace.path)

    assert read.is_whole == (cut == 0)
    assert len(read.spans("x")) == (3 if cut <= 3 else 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"line 1: not a trace of this loader: must be '\[', not b''"),
        ('{"traceEvents":[]}', "line 1: not a trace of this loader"),
        ('[\n{"ph":\n]\n', "line 2: not JSON: "),
        ("[\n7\n]\n", "line 2: must be a JSON object, not 7"),
        ('[\n{"ph":"M","name":"a","pid":1,"tid":1},\n{"ph":"X"}\n]\n', "line 3: 'name' must be str, not None"),
        ('[\n{"ph":"X","name":"a","pid":1,"tid":1,"ts":"1"}\n]\n', "line 2: 'ts' must be int or float, not '1'"),
        ('[\n{"ph":"X","name":"a","pid":1,"tid":1,"ts":1}\n]\n', "line 2: 'dur' must be int or float, not None"),
        ('[\n{"ph":"b","name":"a","pid":1,"tid":1,"ts":1}\n]\n', "line 2: 'id2' is missing"),
        ('[\n{"ph":"i","name":"a","pid":true,"tid":1,"ts":1}\n]\n', "line 2: 'pid' must be int, not True"),
        ('[\n{"ph":"i","name":"a","pid":1,"tid":1,"ts":1,"args":[]}\n]\n', r"line 2: 'args' must be dict, not \[\]"),
    ],
)
def test_a_broken_file_is_one_clear_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=said) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file or directory"):
        read_trace(tmp_path / "nowhere")


def test_spans_that_do_not_nest_are_said(tmp_path: Path) -> None:
    trace, track = TraceFile.create(tmp_path / "t.json"), EVENTS.track("object", 1)
    trace.append([track.begin("a", 1.0), track.begin("b", 2.0), track.end("a", 3.0)])

    with pytest.raises(ConfigError, match="'a' ends on track 0x1, and is not what began last"):
        read_trace(trace.path).spans()
