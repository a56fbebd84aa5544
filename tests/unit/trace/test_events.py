from __future__ import annotations

import json

import pytest

from asyncio_loader.trace.events import Events, args_text, bare_uri, quoted
from tests.trace_format import check_event

EVENTS = Events(77)


@pytest.mark.parametrize(
    "line",
    [
        EVENTS.span("thread", "transform", 9, 1.0, 1.5, args_text({"uri": "s3://b/k"})),
        EVENTS.span("thread", "transform", 9, 1.0, 1.5),
        EVENTS.track("object", 1 << 40).begin("GET", 1.0, args_text({"attempt": 1})),
        EVENTS.track("object", 1 << 40).end("GET", 1.0),
        EVENTS.instant("engine", "GET failed", 9, 1.0, args_text({"error": "Throttled"})),
        EVENTS.counter("train: window", "bytes", 1.0, 67_108_864),
        EVENTS.name_of_process('asyncio_loader "ä"'),
        EVENTS.name_of_thread(9, "MainThread"),
    ],
)
def test_each_line_is_an_event_of_the_format(line: str) -> None:
    assert "\n" not in line
    assert line.isascii()
    check_event(json.loads(line))


def test_times_are_whole_microseconds_and_what_ends_at_the_same_moment_still_does() -> None:
    event = json.loads(EVENTS.span("thread", "x", 9, 123_456.123_456_789, 123_456.223_457_1))
    end = json.loads(EVENTS.track("object", 1).end("x", 123_456.223_457_1))

    assert (event["ts"], event["dur"]) == (123_456_123_456, 100_001)
    assert end["ts"] == event["ts"] + event["dur"]


def test_a_span_that_ends_before_it_began_took_no_time() -> None:
    assert json.loads(EVENTS.span("thread", "x", 9, 2.0, 1.0))["dur"] == 0


@pytest.mark.parametrize("key", ['s3://b/ä "\\\n\x00', "s3://b/\udcff", "s3://b/😀"])
def test_any_key_is_text_of_one_line(key: str) -> None:
    assert json.loads(quoted(key)) == key
    assert "\n" not in quoted(key)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/what?a=1#2", "s3://bucket/what?a=1#2"),
        ("/data/a@b?c.jpg", "/data/a@b?c.jpg"),
        ("https://b.s3.amazonaws.com/k.jpg?X-Amz-Signature=abc", "https://b.s3.amazonaws.com/k.jpg"),
        ("http://user:word@host:9000/b/k@1.jpg?x#y", "http://host:9000/b/k@1.jpg"),
        ("https://host", "https://host"),
    ],
)
def test_a_uri_shows_no_signature_and_no_password(uri: str, shown: str) -> None:
    assert bare_uri(uri) == shown
