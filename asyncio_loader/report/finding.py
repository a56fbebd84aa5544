"""The files of a run, wherever they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from asyncio_loader.datasets.quarantine import Quarantined, parse_quarantine
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.record.reading import RunRecord, parse_record

__all__ = ["Losses", "RunFiles", "find_run"]

_RECORD = re.compile(r"(?:.*/)?record(?:\.rank(\d+))?\.jsonl")

Losses = Mapping[str, list[tuple[int, float]]]
"""Step and value, by name."""


@dataclass(slots=True, kw_only=True)
class RunFiles:
    """What there is of a run.

    Attributes:
        place: directory of the log, or the record that was named.
        records: of rank 0 first, then those of the other ranks; at least one.
        quarantine: samples that failed.
        losses: of each step; empty if none were written down.
        earlier: log directories of other runs in the same work directory.
        notes: what could not be read; the rest is there.
    """

    place: str
    records: list[RunRecord]
    quarantine: list[Quarantined] = field(default_factory=list)
    losses: Losses = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_run(run: str) -> RunFiles:
    """Find and read the files of a run.

    Args:
        run: a work directory, of which the latest run is taken, a log directory or the file of a record; a path, or a
            URI that `FileClient` knows, such as ``s3://``.

    Raises:
        ConfigError: there is no such thing, or no record in it.
        FetchError: there was no answer.
        OSError: a file could not be read.
    """
    client = FileClient.infer_client(uri=run)
    if client.isfile(run):
        place, _, name = run.rpartition("/")
        files = RunFiles(place=run, records=[_read(client, run)])
        directory = place if name and place else "."
    elif client.isdir(run):
        names, earlier = _latest(client, run)
        paths = [client.join_path(run, name) for name in names]
        directory = paths[0].rpartition("/")[0]
        files = RunFiles(place=directory, records=[_read(client, path) for path in paths], earlier=earlier)
    else:
        raise ConfigError(f"{run}: no such file or directory")
    files.notes += [note for record in files.records for note in record.broken]
    _read_quarantine(client, directory, files)
    _read_losses(client, directory, files)
    return files


def _read(client: FileClient, path: str) -> RunRecord:
    return parse_record(bytes(client.get(path)), source=path)


def _latest(client: FileClient, run: str) -> tuple[list[str], list[str]]:
    """Names of the records of the latest run, rank 0 first, and the directories of all others."""
    by_directory: dict[str, list[tuple[int, str]]] = {}
    for name in client.list_dir_or_file(run, list_dir=False, suffix=".jsonl", recursive=True):
        match = _RECORD.fullmatch(name)
        if match:
            by_directory.setdefault(name.rpartition("/")[0], []).append((int(match[1] or 0), name))
    if not by_directory:
        raise ConfigError(f"{run}: no record of a run in it: no file is called record.jsonl")
    # mmengine calls the directory of a run's log by the time when it began.
    *earlier, latest = sorted(by_directory)
    return [name for _, name in sorted(by_directory[latest])], earlier


def _read_quarantine(client: FileClient, directory: str, files: RunFiles) -> None:
    """Of the log directory, and where the options say that it is, if it is on this machine."""
    places = [client.join_path(directory, "quarantine.jsonl")]
    if client is FileClient("disk"):
        told = [options for record in files.records for options in record.segments[-1].options.values()]
        said = [options.get("quarantine") for options in told if isinstance(options, Mapping)]
        places = [os.path.realpath(place) for place in (*places, *said) if isinstance(place, str)]
    for place in dict.fromkeys(places):
        if client.isfile(place):
            files.quarantine += _entries(bytes(client.get(place)), place, files.notes)


def _entries(data: bytes, source: str, notes: list[str]) -> Iterator[Quarantined]:
    for number, line in enumerate(data.splitlines()):
        try:
            # So that a message has the number of the line.
            yield from parse_quarantine(b"\n" * number + line, source=source)
        except ConfigError as error:
            notes.append(str(error))


def _read_losses(client: FileClient, directory: str, files: RunFiles) -> None:
    """mmengine writes them twice; of a copy in S3 one may be all there is."""
    places = client.join_path(directory, "vis_data")
    if not client.isdir(places):
        return
    names = client.list_dir_or_file(places, list_dir=False, suffix=".json")
    for name in sorted(names, key=lambda name: (name != "scalars.json", name)):
        place = client.join_path(places, name)
        losses = _losses(bytes(client.get(place)), place, files.notes)
        if losses:
            files.losses = losses
            return


def _losses(data: bytes, source: str, notes: list[str]) -> Losses:
    found: dict[str, list[tuple[int, float]]] = {}
    for number, line in enumerate(data.splitlines(), 1):
        try:
            scalars: Any = json.loads(line) if line.strip() else {}
        except ValueError as error:
            notes.append(f"{source}, line {number}: not JSON: {error}")
            continue
        if not isinstance(scalars, dict) or not isinstance(scalars.get("step"), int):
            continue
        for name, value in scalars.items():
            if "loss" in name and isinstance(value, int | float) and abs(value) < float("inf"):
                found.setdefault(name, []).append((scalars["step"], value))
    return found
