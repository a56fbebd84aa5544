"""Checkpoints of models, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO

from torch import Tensor

from asyncio_loader.checkpoint.reading import load_checkpoint
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.naming import named
from asyncio_loader.progress import transferring

__all__ = ["client_of", "is_trusted", "read_checkpoint", "read_state_dict", "state_dict_of"]

_TENSOR_KEYS = ("state_dict", "model")


def read_checkpoint(
    uri: str,
    *,
    path: str = "checkpoint",
    trusted: Sequence[str] = (),
    client: FileClient | None = None,
    s3_client: FileClient | None = None,
) -> dict[str, Any]:
    """The whole content of a checkpoint, tensors on the CPU.

    The file is read in a stream, through `FileClient.open`: what it needs is the memory of its tensors and of a few
    parts. What holds more than `load_checkpoint` takes without trust can run code, so it is read only where the user
    has decided to trust whoever can write there.

    Args:
        uri: a local path or a URI that `FileClient` knows.
        path: what errors call it: the dotted path of the config key.
        trusted: places, see `is_trusted`, whose checkpoints may hold anything. Config key ``trusted_checkpoints``.
        client: what opens it, whatever its URI.
        s3_client: what opens it without a `client` if its URI is ``s3://``. None: endpoint and keys of the environment.
            A run gives what the config's top-level `file_client_args` describe.

    Raises:
        ConfigError: there is no such file, it is no checkpoint, a damaged one, no dict, or holds what is not trusted;
            one line that begins with ``<path>='<uri>'``.
        FetchError: the object could not be had; begins likewise.

    Blocks; as to threads see `load_checkpoint`.
    """
    if "://" not in uri and not os.path.isfile(uri):
        raise ConfigError(f"{path}={uri!r}: no such file")
    name = f"{path}={uri!r}"
    with (
        named(name),
        (client or client_of(uri, s3_client)).open(uri, "rb") as file,
        _downloading(uri, file) as counted,
    ):
        values = load_checkpoint(
            counted(file),
            name,
            may_run_code=is_trusted(uri, trusted),
            advice="say so with --trust <its directory>, or with the config key trusted_checkpoints=[…]",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} holds no dict but something of type {type(values).__name__}")
    return dict(values)


def _downloading(uri: str, file: BinaryIO) -> AbstractContextManager[Callable[[BinaryIO], BinaryIO]]:
    """Shown where somebody looks on; see `transferring`."""
    if "://" not in uri or uri.startswith("file://"):
        return nullcontext(lambda file: file)
    # Opening it has told the size.
    total_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    return transferring("download", uri.rpartition("/")[2], total_bytes)


def read_state_dict(
    checkpoint: str, *, path: str = "checkpoint", trusted: Sequence[str] = (), s3_client: FileClient | None = None
) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the names in the file. Arguments and errors are those of `read_checkpoint`."""
    values = read_checkpoint(checkpoint, path=path, trusted=trusted, s3_client=s3_client)
    return state_dict_of(values, f"{path}={checkpoint!r}")


def state_dict_of(values: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The tensors of what `read_checkpoint` gave: all of it, or what is under ``state_dict`` or ``model``.

    Raises:
        ConfigError: it is not a dict of tensors; begins with `name`.
    """
    for key in _TENSOR_KEYS:
        if isinstance(values.get(key), Mapping):
            values = values[key]
            break
    strangers = [key for key, value in values.items() if not isinstance(value, Tensor)]
    if strangers or not values:
        found = f"; the type of {strangers[0]!r} is {type(values[strangers[0]]).__name__}" if strangers else ""
        raise ConfigError(f"{name} holds no dict of tensors{found}")
    return dict(values)


def client_of(uri: str, s3_client: FileClient | None) -> FileClient:
    """What reads a URI or path: `s3_client`, if there is one, for ``s3://`` URIs, else the one for this URI."""
    if s3_client is not None and FileClient.parse_uri_prefix(uri) == "s3":
        return s3_client
    return FileClient.infer_client(uri=uri)


def is_trusted(uri: str, trusted: Sequence[str]) -> bool:
    """True where one of the places is the file itself or a directory above it.

    ``s3://bucket/ours`` is above ``s3://bucket/ours/a.pth``, not above ``s3://bucket/ours-too/a.pth``. Local paths are
    made absolute first, without following symbolic links.
    """
    name = f"{_absolute(uri)}/"
    return any(name.startswith(f"{_absolute(place).rstrip('/')}/") for place in trusted if place)


def _absolute(uri: str) -> str:
    uri = uri.removeprefix("file://")
    return uri if "://" in uri else os.path.abspath(uri)
