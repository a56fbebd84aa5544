"""The Trace Event Format, as far as a trace of ours needs it: what viewers require of each phase.

After "Trace Event Format" by Google (Nat Duca and Dean Sinclair): the fields of duration, complete, async, instant,
counter and metadata events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

NUMBER = (int, float)

# Beside `name`, `ph`, `pid` and `tid`, which all have.
REQUIRED: dict[str, dict[str, Any]] = {
    "X": {"cat": str, "ts": NUMBER, "dur": NUMBER},
    "b": {"cat": str, "ts": NUMBER, "id2": dict},
    "e": {"cat": str, "ts": NUMBER, "id2": dict},
    "i": {"cat": str, "ts": NUMBER, "s": str},
    "C": {"ts": NUMBER, "args": dict},
    "M": {"args": dict},
}

STAGES = ["queued", "turn", "GET", "backoff", "held back", "ready", "transform", "made"]
"""Of an object, in their order; attempts repeat the second to the fourth."""


def check_events(events: Iterable[Mapping[str, Any]]) -> None:
    """Fails where a viewer would not take them as they are meant."""
    seen = list(events)
    for event in seen:
        check_event(event)
    check_async(seen)
    check_threads(seen)


def check_event(event: Mapping[str, Any]) -> None:
    fields = {"name": str, "ph": str, "pid": int, "tid": int, **REQUIRED[event["ph"]]}
    for name, kind in fields.items():
        assert isinstance(event.get(name), kind), (name, event)
        assert not isinstance(event[name], bool), (name, event)
    assert event.get("ts", 0) >= 0, event
    assert event.get("dur", 0) >= 0, event
    assert isinstance(event.get("args", {}), dict), event
    if event["ph"] in "be":
        (scope,) = event["id2"]
        assert scope == "local", event
        int(event["id2"]["local"], 16)
    if event["ph"] == "i":
        assert event["s"] in ("g", "p", "t"), event
    if event["ph"] == "C":
        assert all(isinstance(value, NUMBER) for value in event["args"].values()), event
    if event["ph"] == "M":
        assert event["name"] in ("process_name", "thread_name"), event
        assert isinstance(event["args"]["name"], str), event


def check_async(events: Iterable[Mapping[str, Any]]) -> None:
    """Pairs nest, and on a track time does not run back."""
    open_spans: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    latest: dict[tuple[int, str, str], float] = {}
    for event in events:
        if event["ph"] not in "be":
            continue
        track = event["pid"], event["cat"], event["id2"]["local"]
        assert latest.get(track, 0.0) <= event["ts"], event
        latest[track] = event["ts"]
        if event["ph"] == "b":
            open_spans[track].append(event["name"])
        else:
            assert open_spans[track].pop() == event["name"], event
    assert not any(open_spans.values())


def check_threads(events: Iterable[Mapping[str, Any]]) -> None:
    """What a thread did is one after the other, or one inside of the other."""
    by_thread: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            by_thread[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_thread.values():
        around: list[float] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while around and around[-1] <= start:
                around.pop()
            assert not around or end <= around[-1], (start, end, around)
            around.append(end)


def check_stages(names: Iterable[str]) -> None:
    """They follow each other as an object goes through the loader."""
    place = 0
    for name in names:
        place_of_name = STAGES.index(name)
        is_next_attempt = STAGES[place] == "backoff" and name in ("turn", "GET")
        assert place_of_name >= place or is_next_attempt, list(names)
        place = place_of_name
