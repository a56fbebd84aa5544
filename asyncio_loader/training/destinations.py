"""The directories that a run writes its files to, on disk or in a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from asyncio_loader.errors import AccessDenied, ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.stores.s3.address import parse_object
from asyncio_loader.training.out_dirs import OutDir, check_writable

__all__ = ["Destination", "check_destinations"]


@dataclass(frozen=True, slots=True)
class Destination:
    """A directory that a run writes to.

    As in mmcv it is the config's `out_dir` with the name of the work directory behind it, or the work directory itself
    where there is no `out_dir`.

    Attributes:
        directory: URI, or absolute local path.
        out_dir: of the config; None for the work directory.
        journal: remembers the multipart uploads that are under way.
    """

    directory: str
    out_dir: OutDir | None
    journal: UploadJournal = field(repr=False)

    @classmethod
    def under(cls, out_dir: OutDir | None, work_dir: Path, journal: UploadJournal) -> Destination:
        """The destination for an `out_dir` of the config, None included."""
        work_dir = Path(os.path.abspath(work_dir))
        if out_dir is None:
            return cls(str(work_dir), None, journal)
        root = os.path.abspath(out_dir.directory) if out_dir.is_local else out_dir.directory
        directory = root if root == str(work_dir) else out_dir.client.join_path(root, work_dir.name)
        return cls(directory, out_dir, journal)

    @property
    def client(self) -> FileClient:
        """What reads and writes it."""
        return self.out_dir.client if self.out_dir else FileClient("disk")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        return self.out_dir is None or self.out_dir.is_local

    def at(self, name: str) -> str:
        """URI or path of a file of it."""
        return self.client.join_path(self.directory, name)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file of it to write: there when the block ends well, and otherwise as it was before, or not at all."""
        with self.client.open(self.at(name), "wb", journal=self.journal) as file:
            yield file

    def holds(self, uri: object) -> bool:
        """Whether a URI or path is that of a file right in it."""
        return isinstance(uri, str) and uri.rpartition("/")[0] == self.directory

    def names(self) -> list[str]:
        """Names of the files right in it; none where it is not there.

        Raises:
            FetchError: it could not be listed.
        """
        if self.is_local and not os.path.isdir(self.directory):
            return []
        return list(self.client.list_dir_or_file(self.directory, list_dir=False))


def check_destinations(destinations: Iterable[tuple[Destination, str | None]]) -> None:
    """Find out before the first step that a bucket is not there, a directory not writable, or a key too long for S3.

    One HEAD per bucket. Where that is not allowed it says nothing about writing, so the run goes on.

    Args:
        destinations: each with the longest name of a file that it gets; None: it gets none.

    Raises:
        ConfigError: names all of the wrong ones.
        FetchError: no answer.
    """
    problems = []
    for destination, longest_name in destinations:
        try:
            _check(destination, longest_name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(dict.fromkeys(problems)))


def _check(destination: Destination, longest_name: str | None) -> None:
    out_dir = destination.out_dir
    if out_dir is None:
        return
    if out_dir.is_local:
        check_writable(Path(destination.directory), out_dir.key)
        return
    if longest_name is not None and isinstance(out_dir.client.client, AwsBackend):
        try:
            parse_object(destination.at(longest_name))
        except ConfigError as error:
            raise ConfigError(f"{out_dir.key}: {error}") from error
    bucket = "/".join(out_dir.directory.split("/")[:3])
    try:
        is_there = out_dir.client.isdir(bucket)
    except AccessDenied:
        return
    if not is_there:
        raise ConfigError(f"{out_dir.key}={out_dir.directory!r}: there is no bucket {bucket}")
