"""The file of samples that failed: one JSON object per line, appended by any number of processes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from os import PathLike, fspath
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Failed

__all__ = [
    "Quarantined",
    "append_quarantined",
    "check_quarantine",
    "keys_to_leave_out",
    "parse_quarantine",
    "read_quarantine",
]

# A line is for reading; a user's exception may hold half a tensor.
_LONGEST_MESSAGE = 1000

# Of the server, the network or the credentials: the object may be as good as any.
_NOT_OF_OBJECT = frozenset({"AccessDenied", "ConnectionLost", "FetchTimeout", "ServerFault", "Throttled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A sample that failed: a line of the file, whose keys are these names.

    Attributes:
        key: URI of the object.
        index: of the sample in the sequence of refs.
        epoch: in which it failed.
        position: its place in that epoch.
        error: class of the error, without its module: ``ObjectNotFound``, ``DecodeError``.
        message: what the error says, cut after 1,000 characters.
        attempts: number of GETs made for it.
        time: when it was given up, in UTC, ISO 8601 with milliseconds.
    """

    key: str
    index: int
    epoch: int
    position: int
    error: str
    message: str
    attempts: int
    time: str

    @classmethod
    def of(cls, failed: Failed, now: datetime | None = None) -> Quarantined:
        """What a failure is written down as. Args: now: None: the present time."""
        message = str(failed.error)
        is_long = len(message) > _LONGEST_MESSAGE
        return cls(
            key=failed.ref.uri,
            index=failed.index,
            epoch=failed.epoch,
            position=failed.position,
            error=type(failed.error).__name__,
            message=f"{message[: _LONGEST_MESSAGE - 1]}…" if is_long else message,
            attempts=failed.attempts,
            time=(now or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        )


def check_quarantine(path: str | PathLike[str] | None) -> str | None:
    """The path of a quarantine file as a str.

    Raises:
        ConfigError: it is no path of this machine's file system. Objects cannot be appended to.
    """
    if path is None:
        return None
    if not isinstance(path, str | PathLike) or not fspath(path):
        raise ConfigError(f"quarantine must be a path or None, not {path!r}")
    text = os.fspath(path)
    if "://" in text:
        raise ConfigError(f"quarantine={text!r} must be a local path: lines are appended, which no object store can do")
    if os.path.isdir(text):
        raise ConfigError(f"quarantine={text!r} is a directory: name a file in it")
    return text


def append_quarantined(path: str, entry: Quarantined) -> None:
    """Append a line, in one write that other processes' lines cannot get into; directories are made.

    That holds on a local file system. NFS has no appending write: give each machine a file of its own there.

    Raises:
        OSError: it could not be written.
    """
    # ASCII, so that a key with broken surrogates is a line as any other.
    line = json.dumps(asdict(entry)).encode("ascii") + b"\n"
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        written = os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if written != len(line):
        raise OSError(f"{path}: only {written} of {len(line)} bytes of a line could be written")


def read_quarantine(path: str | PathLike[str]) -> list[Quarantined]:
    """The lines of a local quarantine file, in their order; none if there is no such file.

    Raises:
        ConfigError: a line is none of its kind.
    """
    try:
        with open(path, "rb") as file:
            return parse_quarantine(file.read(), source=fspath(path))
    except FileNotFoundError:
        return []


def parse_quarantine(data: bytes, *, source: str) -> list[Quarantined]:
    """As `read_quarantine`, of the bytes of such a file. Keys beyond those of `Quarantined` are passed over."""
    return [_entry(line, f"{source}, line {number}") for number, line in enumerate(data.splitlines(), 1) if line]


def keys_to_leave_out(entries: Iterable[Quarantined]) -> frozenset[str]:
    """Objects that the next run had better leave out, by URI.

    Not those that failed for a reason that lies elsewhere: throttling, a fault of the server, a lost connection, a
    timeout, wrong credentials.
    """
    return frozenset(entry.key for entry in entries if entry.error not in _NOT_OF_OBJECT)


def _entry(line: bytes, where: str) -> Quarantined:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{where}: must be a JSON object, not {document!r:.80}")
    values: dict[str, Any] = {}
    for field in fields(Quarantined):
        kind = int if field.type == "int" else str
        value = document.get(field.name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{where}: {field.name!r} must be {kind.__name__}, not {value!r:.80}")
        values[field.name] = value
    return Quarantined(**values)
