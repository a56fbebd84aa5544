"""From the paths and `file_client_args` of a config to URIs, and to the storage they are in."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncio_loader.datasets.session import Session
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.aws import AwsBackend
from asyncio_loader.fileio.path_mapping import PathMapping
from asyncio_loader.options import FetchOptions, S3Options

__all__ = ["Location", "join_root", "read_file"]


def join_root(path: str | None, data_root: str | None) -> str | None:
    """A path of a config under its `data_root`, unless it is absolute or a URI already (mmdet joins even those)."""
    if path is None or not data_root or os.path.isabs(path) or "://" in path:
        return path
    return os.path.join(data_root, path)


@dataclass(frozen=True, slots=True)
class Location:
    """Where `file_client_args` point to.

    Attributes:
        mapping: turns a config's path into the path or URI that is read.
        storage: where S3 is.
    """

    mapping: PathMapping
    storage: S3Options

    @classmethod
    def of(cls, file_client_args: Mapping[str, Any] | None) -> Location:
        """Of a config's `file_client_args`: None and ``dict(backend="disk")`` mean paths and URIs as they are.

        Raises:
            ConfigError: a backend that objects cannot be fetched ahead from, or an unknown or wrong argument.
        """
        arguments = dict(file_client_args or {})
        backend = arguments.pop("backend", None)
        prefix = arguments.pop("prefix", None)
        if (backend or prefix) in ("aws", "s3"):
            aws = AwsBackend(**arguments)
            return cls(aws.path_mapping, aws.options)
        if backend in (None, "disk") and prefix is None and not arguments:
            return cls(PathMapping(None), S3Options())
        # Names only: a value may be a secret.
        named = f"backend {backend or prefix!r}" + (f" with {', '.join(map(str, arguments))}" if arguments else "")
        raise ConfigError(
            f"file_client_args: a dataset reads through backend 'aws' (alias 's3', with options) or 'disk' (without), "
            f"not {named}"
        )

    def resolve(self, path: str) -> str:
        """The URI or path that is read for a path of the config."""
        return self.mapping.apply(path)


def read_file(path: str, file_client_args: Mapping[str, Any] | None) -> bytes:
    """A whole file of a config, from disk or S3. Opens what it needs and closes it again. Raises FetchError."""
    location = Location.of(file_client_args)
    session = Session(location.storage, FetchOptions())
    try:
        data, _ = session.fetch(location.resolve(path))
    finally:
        session.close()
    return bytes(data)
