"""Reads the record of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from os import PathLike, fspath
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.record.lines import DURATIONS, FORMAT, RUN, STEP, WHOLE, stats_of
from asyncio_loader.stats import LoaderStats

__all__ = ["RunRecord", "Segment", "Step", "merge_steps", "parse_record", "read_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a loader did in some seconds.

    Attributes:
        end: when they were over, UTC.
        over_s: how many seconds they were.
        stats: the figures of these seconds; without histograms.
    """

    end: datetime
    over_s: float
    stats: LoaderStats

    @property
    def begin(self) -> datetime:
        """When they began, UTC."""
        return self.end - timedelta(seconds=self.over_s)

    def per_s(self, count: float) -> float:
        """A count of these seconds as a rate."""
        return count / self.over_s if self.over_s > 0 else 0.0


@dataclass(slots=True, kw_only=True)
class Segment:
    """What one process wrote. There are several where later ones went on in the same file.

    Attributes:
        begin: when the record began, UTC.
        rank: of the process.
        versions: of what it ran on, by name.
        options: what each loader was told, by the loader's name.
        steps: by the loader's name, in their order.
        wholes: the latest summary of each loader, histograms included.
    """

    begin: datetime
    rank: int
    versions: Mapping[str, Any]
    options: Mapping[str, Any]
    steps: dict[str, list[Step]] = field(default_factory=dict)
    wholes: dict[str, LoaderStats] = field(default_factory=dict)

    def total(self, loader: str) -> LoaderStats:
        """All that a loader did. Histograms are up to a minute older than the numbers if the process was killed."""
        whole = self.wholes.get(loader, LoaderStats())
        steps = self.steps.get(loader)
        if not steps:
            return whole
        # Of the slowest the ten of all: those that have come since the summary are in steps alone.
        numbers = reduce(LoaderStats.__add__, (step.stats for step in steps), LoaderStats(slowest=whole.slowest))
        return replace(numbers, **{name: getattr(whole, name) for name in DURATIONS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What is in a file.

    Attributes:
        source: path or URI of the file.
        segments: in their order; at least one.
        broken: a line about each line that is none, with the name of the file and the number of the line.
    """

    source: str
    segments: tuple[Segment, ...]
    broken: tuple[str, ...] = ()

    @property
    def loaders(self) -> list[str]:
        """Names of those that did anything, in the order of their first line."""
        return list(dict.fromkeys(name for segment in self.segments for name in (*segment.steps, *segment.wholes)))

    def steps(self, loader: str) -> list[Step]:
        """Those of all segments, in their order."""
        return [step for segment in self.segments for step in segment.steps.get(loader, [])]

    def total(self, loader: str) -> LoaderStats:
        """All that a loader did, over all segments."""
        return reduce(LoaderStats.__add__, (segment.total(loader) for segment in self.segments))


def read_record(path: str | PathLike[str]) -> RunRecord:
    """Read a local file; see `parse_record`.

    Raises:
        ConfigError: it is no record.
        OSError: it could not be read.
    """
    with open(path, "rb") as file:
        return parse_record(file.read(), source=fspath(path))


def parse_record(data: bytes, *, source: str) -> RunRecord:
    """What the bytes of such a file say.

    Half a line at the end, or before another process's first line, is what is left of a process that was killed, and
    is passed over without a word. So is a kind of line that is not known.

    Args:
        data: the whole file.
        source: its name, for messages.

    Raises:
        ConfigError: no line says that it is a record, or it is of another format.
    """
    segments: list[Segment] = []
    broken: list[str] = []
    # Of the line before, until it is known whether another process begins with this one.
    suspect: str | None = None
    for number, line in enumerate(data.splitlines(), 1):
        where = f"{source}, line {number}"
        try:
            document = _document(line)
            is_head = document["kind"] == RUN
            if is_head:
                segments.append(_segment(document, where))
            else:
                _take(document, segments)
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            broken += [suspect] if suspect else []
            suspect = f"{where}: {error}"
            continue
        broken += [suspect] if suspect and not is_head else []
        suspect = None
    if suspect and data.endswith(b"\n"):
        broken.append(suspect)
    if not segments:
        raise ConfigError(f"{source}: no record of a run: {broken[0] if broken else 'it is empty'}")
    return RunRecord(source=source, segments=tuple(segments), broken=tuple(broken))


def merge_steps(steps: Iterable[Step], most: int) -> list[Step]:
    """At most so many steps, each made of as many neighbours; of what is no count the larger value stays."""
    whole = list(steps)
    each = -(-len(whole) // most)
    return whole if each <= 1 else [_merged(whole[place : place + each]) for place in range(0, len(whole), each)]


def _merged(steps: list[Step]) -> Step:
    return Step(
        end=steps[-1].end,
        over_s=sum(step.over_s for step in steps),
        stats=reduce(LoaderStats.__add__, (step.stats for step in steps)),
    )


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise ValueError(f"must be a JSON object with a kind, not {document!r:.80}")  # noqa: TRY004 - of a file
    return document


def _segment(document: Mapping[str, Any], where: str) -> Segment:
    if document.get("format") != FORMAT:
        raise ConfigError(f"{where}: format must be {FORMAT}, not {document.get('format')!r:.80}")
    try:
        begin = datetime.fromisoformat(document["time"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: time must be in ISO 8601, not {document.get('time')!r:.80}") from error
    rank, versions, options = document.get("rank", 0), document.get("versions", {}), document.get("options", {})
    for name, value, kind in (("rank", rank, int), ("versions", versions, dict), ("options", options, dict)):
        if not isinstance(value, kind):
            raise ConfigError(f"{where}: {name} must be {kind.__name__}, not {value!r:.80}")
    return Segment(begin=begin, rank=rank, versions=versions, options=options)


def _take(document: Mapping[str, Any], segments: list[Segment]) -> None:
    kind = document["kind"]
    if kind not in (STEP, WHOLE):
        return
    if not segments:
        raise ValueError("stands before the first line of a run")
    loader = document.get("loader")
    if not isinstance(loader, str):
        raise ValueError(f"loader must be a text, not {loader!r:.80}")  # noqa: TRY004 - of a file
    stats = stats_of(document)
    if kind == WHOLE:
        segments[-1].wholes[loader] = stats
        return
    at_s, over_s = _seconds(document, "at_s"), _seconds(document, "over_s")
    step = Step(end=segments[-1].begin + timedelta(seconds=at_s), over_s=over_s, stats=stats)
    segments[-1].steps.setdefault(loader, []).append(step)


def _seconds(document: Mapping[str, Any], key: str) -> float:
    value = document.get(key)
    # A year: no sum of times may leave the calendar.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 366 * 86400:
        raise ValueError(f"{key} must be seconds, not {value!r:.80}")
    return float(value)
