"""The way of one object through the loader, from its turn in the order to the consumer, as spans that nest.

Stages stand side by side inside of the object's span, in this order:

| span | from … to |
|---|---|
| queued | its turn in the order; there was room in the window |
| turn | it asked to begin; level and pace let the GET begin. Only where it had to wait |
| GET | begun; ended. One per attempt; inside of it *first byte*, until the head of the answer, and *body* |
| backoff | an attempt failed; the next one asked to begin |
| held back | it was there; all before it were there, too |
| ready | handed over; a thread took it |
| transform | decoded and transformed, by that thread |
| made | the sample was ready; the consumer took it |
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from asyncio_loader.trace.events import Events, Track, args_text, bare_uri, quoted

__all__ = ["Attempt", "Item", "ObjectRecord", "ObjectTracks", "SecondGet", "Sink"]

clock = time.perf_counter

# Numbers of tracks are unique in a process: each sequence of objects has 2⁴⁰ of them, and a second GET takes as many.
_sequences = itertools.count(1)
_SEQUENCE_BITS = 40


class Item(Protocol):
    """Something that has happened."""

    def lines(self, events: Events) -> list[str]:
        """It as events. Called once, in another thread than the one where it happened."""
        ...


class Sink(Protocol):
    """Takes what has happened.

    Attributes:
        is_on: whether it takes anything; once False, for ever.
    """

    is_on: bool

    def add(self, item: Item) -> None:
        """From any thread."""
        ...

    def instant(self, name: str, **args: object) -> None:
        """Something happened now, in this thread."""
        ...


class Stage(NamedTuple):
    """A span, and those inside of it. `end_s` 0: it has not ended."""

    name: str
    start_s: float
    end_s: float
    args: str = ""
    parts: tuple[Stage, ...] = ()


class Attempt:
    """One attempt to get an object: when it asked to begin, began, had the head of an answer, and ended; 0: not yet."""

    __slots__ = ("asked_s", "begun_s", "ended_s", "error", "head_s", "is_second")

    def __init__(self) -> None:
        self.asked_s = self.begun_s = clock()
        self.head_s = self.ended_s = 0.0
        self.error = ""
        self.is_second = False

    def end(self, error: BaseException | None = None) -> None:
        """It has brought the object, or this error."""
        self.ended_s = clock()
        if error is not None:
            self.error = type(error).__name__

    def stages(self, number: int) -> Iterator[Stage]:
        """What it is made up of; `number` from 1."""
        if self.begun_s > self.asked_s:
            yield Stage("turn", self.asked_s, self.begun_s)
        args = f'{{"attempt":{number}'
        if self.error:
            args += f',"error":{quoted(self.error)}'
        if self.is_second:
            args += ',"answered":"second GET"'
        parts: tuple[Stage, ...] = ()
        if self.head_s:
            body = Stage("body", self.head_s, self.ended_s)
            parts = (Stage("first byte", self.begun_s, self.head_s), body)
        yield Stage("GET", self.begun_s, self.ended_s, f"{args}}}", parts)


class ObjectRecord:
    """When one object got where. Written by one thread at a time, as the object goes from one to the next.

    Times are 0 as long as it has not got there.
    """

    __slots__ = (
        "_number",
        "_sink",
        "attempts",
        "came_s",
        "closed_s",
        "delivered_s",
        "drawn_s",
        "error",
        "granted_s",
        "made_s",
        "place",
        "released_s",
        "size_bytes",
        "taken_s",
        "uri",
    )

    def __init__(self, sink: Sink, number: int, uri: str, place: tuple[int, int, int]) -> None:
        """Args: number: of its track. place: epoch, position and index of the sample."""
        self._sink = sink
        self._number = number
        self.uri = uri
        self.place = place
        self.drawn_s = clock()
        self.granted_s = self.came_s = self.released_s = self.taken_s = self.made_s = self.delivered_s = 0.0
        self.closed_s = 0.0
        self.attempts: list[Attempt] = []
        self.size_bytes = 0
        self.error = ""

    def grant(self) -> None:
        """There is room for it."""
        self.granted_s = clock()

    def begin(self) -> Attempt:
        """An attempt begins, or asks to."""
        attempt = Attempt()
        self.attempts.append(attempt)
        return attempt

    def begin_second(self) -> SecondGet:
        """A second GET begins beside the attempt under way."""
        return SecondGet(self._sink, self.uri, len(self.attempts))

    def note_failed(self, attempt: Attempt, error: BaseException) -> None:
        """An attempt has ended so."""
        attempt.end(error)
        self._sink.instant("GET failed", error=attempt.error, attempt=len(self.attempts), uri=bare_uri(self.uri))

    def come(self, size_bytes: int, error: BaseException | None = None) -> None:
        """It is there, or will never be."""
        self.size_bytes = size_bytes
        self.error = "" if error is None else type(error).__name__
        self.came_s = clock()

    def make(self, error: BaseException | None = None) -> None:
        """The transform has ended."""
        self.made_s = clock()
        if error is not None:
            self.error = type(error).__name__

    def lines(self, events: Events) -> list[str]:
        """See `Item`."""
        end_s = self.delivered_s or self.closed_s
        track = events.track("object", self._number)
        lines = [track.begin("object", self.drawn_s, self._args())]
        for stage in self._stages():
            if not stage.start_s:
                break
            _write(lines, track, stage, end_s)
            if not stage.end_s:
                break
        lines.append(track.end("object", end_s))
        return lines

    def _stages(self) -> Iterator[Stage]:
        yield Stage("queued", self.drawn_s, self.granted_s)
        ended_s = 0.0
        for number, attempt in enumerate(self.attempts, 1):
            if ended_s:
                yield Stage("backoff", ended_s, attempt.asked_s)
            yield from attempt.stages(number)
            ended_s = attempt.ended_s
        yield Stage("held back", self.came_s, self.released_s)
        yield Stage("ready", self.released_s, self.taken_s)
        yield Stage("transform", self.taken_s, self.made_s)
        yield Stage("made", self.made_s, self.delivered_s)

    def _args(self) -> str:
        epoch, position, index = self.place
        said = f'"epoch":{epoch},"position":{position},"index":{index},"attempts":{len(self.attempts)}'
        if self.error:
            said += f',"error":{quoted(self.error)}'
        if not self.delivered_s:
            said += ',"unfinished":true'
        return f'{{"uri":{quoted(bare_uri(self.uri))},"size_bytes":{self.size_bytes},{said}}}'


def _write(lines: list[str], track: Track, stage: Stage, most_s: float) -> None:
    # What did not end, or went on after all was closed, ends with the whole.
    end_s = min(stage.end_s or most_s, most_s)
    lines.append(track.begin(stage.name, min(stage.start_s, end_s), stage.args))
    for part in stage.parts:
        _write(lines, track, part, end_s)
    lines.append(track.end(stage.name, end_s))


class SecondGet:
    """A second GET, which has a track of its own: it begins and ends when it likes, beside the first one."""

    __slots__ = ("_attempt", "_number", "_sink", "_uri", "begun_s", "ended_s", "head_s", "outcome")

    def __init__(self, sink: Sink, uri: str, attempt: int) -> None:
        self._sink = sink
        self._uri = uri
        self._attempt = attempt
        self._number = next(_sequences) << _SEQUENCE_BITS
        self.begun_s = clock()
        self.head_s = self.ended_s = 0.0
        self.outcome = ""

    @property
    def has_won(self) -> bool:
        """Whether its answer is the one that is read."""
        return self.head_s > 0.0

    def end(self, outcome: str) -> None:
        """It has ended: "came", "dropped", or the class of its error."""
        self.ended_s = clock()
        self.outcome = outcome
        self._sink.add(self)

    def lines(self, events: Events) -> list[str]:
        """See `Item`."""
        args = args_text(
            {"uri": bare_uri(self._uri), "attempt": self._attempt, "won": self.has_won, "outcome": self.outcome}
        )
        track = events.track("second GET", self._number)
        return [track.begin("second GET", self.begun_s, args), track.end("second GET", self.ended_s)]


class ObjectTracks:
    """The objects of one sequence, numbered from 0 in its order, that are under way.

    Each method is called by the thread that has the object at the time; what is not known any more, or never was since
    the trace is full, is passed over.
    """

    __slots__ = ("_open", "_sink", "_start")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._start = next(_sequences) << _SEQUENCE_BITS
        self._open: dict[int, ObjectRecord] = {}

    def draw(self, order: int, uri: str, *, epoch: int, position: int, index: int) -> ObjectRecord | None:
        """It is an object's turn in the order. None: it is not recorded."""
        if not self._sink.is_on:
            return None
        record = ObjectRecord(self._sink, self._start + order, uri, (epoch, position, index))
        self._open[order] = record
        return record

    def release(self, order: int) -> None:
        """It is handed over, as all before it."""
        record = self._open.get(order)
        if record is not None:
            record.released_s = clock()

    def take(self, order: int) -> ObjectRecord | None:
        """It is taken by whoever transforms it."""
        record = self._open.get(order)
        if record is not None:
            record.taken_s = clock()
        return record

    def deliver(self, order: int) -> None:
        """The consumer has the sample, or the error."""
        record = self._open.pop(order, None)
        if record is not None:
            record.delivered_s = clock()
            self._sink.add(record)

    def close(self) -> None:
        """What is still under way is recorded as far as it got. Idempotent."""
        closed_s = clock()
        while self._open:
            try:
                record = self._open.popitem()[1]
            except KeyError:
                # Somebody else has taken the last one.
                return
            record.closed_s = closed_s
            self._sink.add(record)
