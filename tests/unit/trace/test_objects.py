from __future__ import annotations

import json
import os
from typing import Any

import pytest

from asyncio_loader.errors import DecodeError, ObjectNotFound, Throttled
from asyncio_loader.trace import ObjectTracks
from asyncio_loader.trace import objects as objects_module
from asyncio_loader.trace.events import Events
from asyncio_loader.trace.objects import Item, ObjectRecord
from tests.trace_format import check_events, check_stages


class Notes:
    """A sink; and a clock that ticks a second at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_on = True
        self.items: list[Item] = []
        self.instants: list[tuple[str, dict[str, object]]] = []
        self.now_s = 0.0
        monkeypatch.setattr(objects_module, "clock", self.tick)

    def tick(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def add(self, item: Item) -> None:
        self.items.append(item)

    def instant(self, name: str, **args: object) -> None:
        self.instants.append((name, args))

    def events(self) -> list[dict[str, Any]]:
        events = [json.loads(line) for item in self.items for line in item.lines(Events(os.getpid()))]
        check_events(events)
        return events


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    return Notes(monkeypatch)


@pytest.fixture
def tracks(notes: Notes) -> ObjectTracks:
    return ObjectTracks(notes)


def draw(tracks: ObjectTracks, order: int = 0, uri: str = "s3://b/k") -> ObjectRecord:
    record = tracks.draw(order, uri, epoch=1, position=7, index=30)
    assert record is not None
    return record


def stages(events: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Name, begin and end in seconds of all but the object itself, by their begin."""
    open_at: list[tuple[str, float, int]] = []
    found: list[tuple[str, float, float]] = []
    for event in events:
        if event["ph"] == "b":
            open_at.append((event["name"], event["ts"] / 1e6, len(found)))
            found.append((event["name"], 0.0, 0.0))
        else:
            name, start_s, place = open_at.pop()
            found[place] = name, start_s, event["ts"] / 1e6
    return found[1:]


def test_every_stage_of_an_object(notes: Notes, tracks: ObjectTracks) -> None:
    record = draw(tracks)  # 1
    record.grant()  # 2
    attempt = record.begin()  # 3
    attempt.head_s = notes.tick()  # 4
    attempt.end()  # 5
    record.come(1234)  # 6
    tracks.release(0)  # 7
    tracks.take(0)  # 8
    record.make()  # 9
    tracks.deliver(0)  # 10

    events = notes.events()

    assert events[0]["args"] == {
        "uri": "s3://b/k",
        "size_bytes": 1234,
        "epoch": 1,
        "position": 7,
        "index": 30,
        "attempts": 1,
    }
    assert stages(events) == [
        ("queued", 1, 2),
        ("GET", 3, 5),
        ("first byte", 3, 4),
        ("body", 4, 5),
        ("held back", 6, 7),
        ("ready", 7, 8),
        ("transform", 8, 9),
        ("made", 9, 10),
    ]
    check_stages([name for name, _, _ in stages(events) if name not in ("first byte", "body")])
    assert (events[0]["ts"], events[-1]["ts"]) == (1e6, 10e6)


def test_attempts_turns_and_pauses(notes: Notes, tracks: ObjectTracks) -> None:
    record = draw(tracks)  # 1
    record.grant()  # 2
    first = record.begin()  # 3
    first.begun_s = notes.tick()  # 4
    record.note_failed(first, Throttled("slow down", key="s3://b/k"))  # 5
    second = record.begin()  # 6
    second.is_second = True
    second.head_s = notes.tick()  # 7
    record.note_failed(second, ObjectNotFound("gone", key="s3://b/k"))  # 8
    record.come(0, ObjectNotFound("gone", key="s3://b/k"))  # 9
    tracks.release(0)  # 10
    tracks.take(0)  # 11
    record.make(ObjectNotFound("gone", key="s3://b/k"))  # 12
    tracks.deliver(0)  # 13

    events = notes.events()

    assert stages(events)[:7] == [
        ("queued", 1, 2),
        ("turn", 3, 4),
        ("GET", 4, 5),
        ("backoff", 5, 6),
        ("GET", 6, 8),
        ("first byte", 6, 7),
        ("body", 7, 8),
    ]
    assert (events[0]["args"]["attempts"], events[0]["args"]["error"]) == (2, "ObjectNotFound")
    assert [event["args"] for event in events if event["name"] == "GET" and event["ph"] == "b"] == [
        {"attempt": 1, "error": "Throttled"},
        {"attempt": 2, "error": "ObjectNotFound", "answered": "second GET"},
    ]
    assert notes.instants == [
        ("GET failed", {"error": "Throttled", "attempt": 1, "uri": "s3://b/k"}),
        ("GET failed", {"error": "ObjectNotFound", "attempt": 2, "uri": "s3://b/k"}),
    ]


def test_a_transform_that_raises_is_named(notes: Notes, tracks: ObjectTracks) -> None:
    record = draw(tracks)
    record.make(DecodeError("no JPEG", key="s3://b/k"))
    tracks.deliver(0)

    assert notes.events()[0]["args"]["error"] == "DecodeError"


@pytest.mark.parametrize("steps", range(8))
def test_what_is_under_way_at_the_end_is_shown_as_far_as_it_got(notes: Notes, tracks: ObjectTracks, steps: int) -> None:
    record = draw(tracks)
    way = [
        record.grant,
        record.begin,
        lambda: setattr(record.attempts[0], "head_s", notes.tick()),
        lambda: record.attempts[0].end(),
        lambda: record.come(10),
        lambda: tracks.release(0),
        lambda: tracks.take(0),
    ]
    for step in way[:steps]:
        step()
    closed_s = notes.now_s + 1.0

    tracks.close()
    # The loop may go on for a moment; the trace is over.
    for step in way[steps:]:
        step()
    tracks.close()

    events = notes.events()
    assert len(notes.items) == 1
    assert events[0]["args"]["unfinished"] is True
    assert events[-1]["ts"] == closed_s * 1e6


def test_a_second_get_has_a_track_of_its_own(notes: Notes, tracks: ObjectTracks) -> None:
    record = draw(tracks)
    record.begin()
    first, second = record.begin_second(), record.begin_second()
    second.head_s = notes.tick()
    first.end("dropped")
    second.end("came")

    events = notes.events()

    assert len({event["id2"]["local"] for event in events}) == 2
    assert [event["args"] for event in events if event["ph"] == "b"] == [
        {"uri": "s3://b/k", "attempt": 1, "won": False, "outcome": "dropped"},
        {"uri": "s3://b/k", "attempt": 1, "won": True, "outcome": "came"},
    ]


def test_sequences_of_a_process_share_no_track(notes: Notes) -> None:
    for _ in range(2):
        tracks = ObjectTracks(notes)
        for order in range(2):
            draw(tracks, order)
            tracks.deliver(order)

    assert len({event["id2"]["local"] for event in notes.events()}) == 4


def test_a_full_trace_records_no_further_object(notes: Notes, tracks: ObjectTracks) -> None:
    draw(tracks)
    notes.is_on = False

    assert tracks.draw(1, "s3://b/k", epoch=0, position=0, index=0) is None
    tracks.release(1)
    assert tracks.take(1) is None
    tracks.deliver(1)


def test_no_signature_is_shown(notes: Notes, tracks: ObjectTracks) -> None:
    record = draw(tracks, uri="https://b.s3.amazonaws.com/k?X-Amz-Signature=5f3c")
    attempt = record.begin()
    record.note_failed(attempt, Throttled("no", key="k"))
    record.begin_second().end("dropped")
    tracks.deliver(0)

    assert "5f3c" not in json.dumps([notes.events(), notes.instants])
