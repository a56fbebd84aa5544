"""Reads a trace back, for reports and tests."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

from asyncio_loader.errors import ConfigError

__all__ = ["Event", "Span", "Trace", "read_trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the file.

    Attributes:
        phase: ``X``, ``b``, ``e``, ``i``, ``C`` or ``M``, as the Trace Event Format has it.
        name: of the event.
        category: of it; may be empty.
        pid: of its process.
        tid: of its thread.
        track: of ``b`` and ``e``: what holds them together, within the process; else empty.
        at_s: when it was or began, in seconds of the machine's `time.perf_counter`; 0 for ``M``.
        duration_s: seconds that an ``X`` took; else 0.
        args: what else is known.
    """

    phase: str
    name: str
    category: str
    pid: int
    tid: int
    track: str
    at_s: float
    duration_s: float
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time: of a thread, or on a track of its own.

    Attributes:
        name: what it was, as in `asyncio_loader.trace.objects`.
        pid: of its process.
        track: number of the track, or of the thread.
        start_s: when it began.
        end_s: when it ended.
        args: what else is known.
        parts: the spans inside of it, in their order; of a thread's none.
    """

    name: str
    pid: int
    track: str
    start_s: float
    end_s: float
    args: Mapping[str, Any]
    parts: list[Span] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Trace:
    """What is in a file.

    Attributes:
        source: the file.
        events: all lines, in their order, which is not that of time.
        is_whole: False: it has no end, as somebody was killed while writing.
    """

    source: str
    events: list[Event]
    is_whole: bool

    def spans(self, name: str | None = None) -> list[Span]:
        """The outermost spans, in the order in which they ended up in the file; None: all, else those of a name.

        Those of an object are named ``object``, and have its stages as parts.

        Raises:
            ConfigError: spans of a track do not nest.
        """
        found = []
        stacks: dict[tuple[int, str], list[Span]] = defaultdict(list)
        for event in self.events:
            span = self._span(event, stacks)
            if span is not None and name in (None, span.name):
                found.append(span)
        return found

    def _span(self, event: Event, stacks: dict[tuple[int, str], list[Span]]) -> Span | None:
        """The outermost span that is complete with this event."""
        if event.phase == "X":
            return _begun(event, str(event.tid), event.at_s + event.duration_s)
        if event.phase not in "be":
            return None
        stack = stacks[event.pid, event.track]
        if event.phase == "b":
            stack.append(_begun(event, event.track, event.at_s))
            return None
        if not stack or stack[-1].name != event.name:
            raise ConfigError(f"{self.source}: {event.name!r} ends on track {event.track}, and is not what began last")
        begun = stack.pop()
        span = Span(
            name=begun.name,
            pid=begun.pid,
            track=begun.track,
            start_s=begun.start_s,
            end_s=event.at_s,
            args=begun.args,
            parts=begun.parts,
        )
        if stack:
            stack[-1].parts.append(span)
            return None
        return span


def read_trace(path: str | PathLike[str]) -> Trace:
    """A file that a `TraceFile` stands for. One without its end is as good: half of an event there is passed over.

    Raises:
        ConfigError: there is no such file, or it is none of that kind; names the line.
    """
    source = fspath(path)
    try:
        with open(source, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from error
    if lines[0] != b"[":
        raise ConfigError(f"{source}, line 1: not a trace of this loader: must be '[', not {lines[0][:40]!r}")
    is_whole = lines[-2:] == [b"]", b""]
    return Trace(source, list(_events(source, lines[1:-2] if is_whole else lines[1:], is_whole)), is_whole)


def _events(source: str, lines: list[bytes], is_whole: bool) -> Iterator[Event]:
    for number, line in enumerate(lines, 2):
        if not line or line == b"]":
            continue
        is_cut = not is_whole and number == len(lines) + 1
        event = _event(line, f"{source}, line {number}", is_cut)
        if event is not None:
            yield event


def _event(line: bytes, where: str, is_cut: bool) -> Event | None:
    try:
        document = json.loads(line.removesuffix(b","))
    except ValueError as error:
        if is_cut:
            return None
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{where}: must be a JSON object, not {document!r:.80}")
    phase = _field(document, "ph", str, where)
    track = document.get("id2")
    return Event(
        phase=phase,
        name=_field(document, "name", str, where),
        category=_field(document, "cat", str, where) if "cat" in document else "",
        pid=_field(document, "pid", int, where),
        tid=_field(document, "tid", int, where),
        track=_field(track, "local", str, where) if isinstance(track, Mapping) else _no_track(phase, where),
        at_s=0.0 if phase == "M" else _field(document, "ts", (int, float), where) / 1e6,
        duration_s=_field(document, "dur", (int, float), where) / 1e6 if phase == "X" else 0.0,
        args=_field(document, "args", dict, where) if "args" in document else {},
    )


def _no_track(phase: str, where: str) -> str:
    if phase in ("b", "e"):
        raise ConfigError(f"{where}: 'id2' is missing")
    return ""


def _field(document: Mapping[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ConfigError(f"{where}: {name!r} must be {names}, not {value!r:.80}")
    return value


def _begun(event: Event, track: str, end_s: float) -> Span:
    return Span(name=event.name, pid=event.pid, track=track, start_s=event.at_s, end_s=end_s, args=event.args)
