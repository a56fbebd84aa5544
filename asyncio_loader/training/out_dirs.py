"""Where a config wants its files: the `out_dir` of a section, and the `file_client_args` beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.backends import DiskBackend
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.stores.s3.address import parse_uri
from asyncio_loader.training.sections import Section

__all__ = ["OutDir", "check_writable", "read_out_dir"]

_READ_ONLY = ("http", "https")


@dataclass(frozen=True, slots=True)
class OutDir:
    """A directory of the config's, on disk or elsewhere. Nothing is made or asked for until it is used.

    Attributes:
        key: dotted path of the entry, for errors.
        directory: URI or local path, mapped, without a slash at its end.
        client: what writes there.
    """

    key: str
    directory: str
    client: FileClient

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        return isinstance(self.client.client, DiskBackend)


def read_out_dir(section: Section, arguments_key: str = "file_client_args") -> OutDir | None:
    """`out_dir` and `file_client_args` of a section, or `backend_args` in 3.x; None without an `out_dir`.

    Arguments without a backend are those of the URI's own.

    Raises:
        ConfigError: not a place to write to; arguments without an `out_dir`, or for another storage than its.
    """
    arguments = section.take(arguments_key, None)
    if not section.has("out_dir"):
        if arguments is not None:
            raise ConfigError(f"{section.at(arguments_key)}: there is no out_dir beside it that it could be for")
        return None
    directory = section.text("out_dir")
    prefix = FileClient.parse_uri_prefix(directory)
    if prefix in _READ_ONLY:
        raise section.error("out_dir", f": nothing can be written to {prefix}://; say s3://bucket/… or a directory")
    client = _client(section, prefix, arguments, arguments_key)
    # A client's own joining maps paths; a URI stays as it is.
    mapped = directory if prefix else client.join_path(directory)
    place = OutDir(section.at("out_dir"), mapped.removeprefix("file://"), client)
    _check(section, place, arguments, arguments_key)
    return replace(place, directory=place.directory.rstrip("/") or "/")


def _client(section: Section, prefix: str | None, arguments: object, arguments_key: str) -> FileClient:
    if arguments is not None and not isinstance(arguments, Mapping):
        raise section.error(arguments_key, "must be a dict")
    given: dict[str, Any] = dict(arguments or {})
    if given.get("backend") == "local":
        # 3.x's name for it.
        given["backend"] = "disk"
    if not {"backend", "prefix"} & given.keys():
        given |= {"prefix": prefix} if prefix else {"backend": "aws" if given else "disk"}
    try:
        return FileClient(**given)
    except ConfigError as error:
        raise section.error("out_dir", f": {error}") from error


def _check(section: Section, place: OutDir, arguments: Mapping[str, Any] | None, arguments_key: str) -> None:
    is_uri = "://" in place.directory
    if is_uri == place.is_local:
        # Names only: a value may be a secret.
        names = ", ".join(map(str, arguments or {}))
        where, wanted = ("no local path", "a path") if is_uri else ("no URI", "s3://bucket/…")
        raise section.error(
            "out_dir",
            f"is {where}, which {section.at(arguments_key)} ({names}) are for: say out_dir={wanted!r}, or leave "
            f"{arguments_key} out",
        )
    if isinstance(place.client.client, AwsBackend):
        try:
            parse_uri(place.directory)
        except ConfigError as error:
            raise ConfigError(f"{place.key}: {error}") from error


def check_writable(directory: Path, key: str) -> None:
    """It is, or can be made, a directory to write to. Makes nothing: a wrong config leaves no trace.

    Raises:
        ConfigError: it is not; names `key`.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"{key} {str(directory)!r}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{key} {str(directory)!r}: {there} is not writable")
