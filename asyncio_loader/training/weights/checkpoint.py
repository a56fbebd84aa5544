"""Checkpoints: a file of `torch.save`, wherever it lies, becomes a dict again, and runs no code on the way."""

from __future__ import annotations

import errno
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

import torch
from torch import Tensor

from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.weights.honest_file import HonestFile
from asyncio_loader.training.weights.safe_types import safe_types

__all__ = ["is_trusted", "read_checkpoint", "read_state_dict", "state_dict_of"]

_UNSAFE = re.compile(r"GLOBAL (\S+) (?:was not|whose module)|(getattr) of")
# What torch raises for files that are damaged, and pickle for what it cannot rebuild.
_BROKEN = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
    OSError,
)
_HEAD_BYTES = 512
_STARTS = {
    b"<": "is a page of HTML or XML: a download that failed?",
    b"version https://git-lfs": "is a pointer of git-lfs, not the file itself: run `git lfs pull`",
    b"\x1f\x8b": "is a gzip archive: unpack it, and name the checkpoint that is in it",
}
_TENSOR_KEYS = ("state_dict", "model")


def read_checkpoint(uri: str, *, path: str = "checkpoint", trusted: Sequence[str] = ()) -> dict[str, Any]:
    """The whole content of a checkpoint, tensors on the CPU.

    The file is read in a stream, through `FileClient.open`: what it needs is the memory of its tensors and of a few
    parts. Unpickled are tensors, plain Python values, numpy's numbers and arrays and mmengine's `HistoryBuffer`. More
    than that can run code when read, so it is read only where the user has decided to trust whoever can write there.

    Args:
        uri: a local path or a URI that `FileClient` knows.
        path: what errors call it: the dotted path of the config key.
        trusted: places, see `is_trusted`, whose checkpoints may hold anything. Config key ``trusted_checkpoints``.

    Raises:
        ConfigError: there is no such file, it is no checkpoint, a damaged one, no dict, or holds what is not trusted;
            one line that begins with ``<path>='<uri>'``.
        FetchError: the object could not be had.

    Blocks. Threads may read at the same time; torch keeps the types that are allowed for the process, so others may
    see those of this function allowed while it runs.
    """
    if "://" not in uri and not os.path.isfile(uri):
        raise ConfigError(f"{path}={uri!r}: no such file")
    with FileClient.infer_client(uri=uri).open(uri, "rb") as file:
        values = _load(HonestFile(file), f"{path}={uri!r}", may_run_code=is_trusted(uri, trusted))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}={uri!r} holds no dict but something of type {type(values).__name__}")
    return dict(values)


def read_state_dict(checkpoint: str, *, path: str = "checkpoint", trusted: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the names in the file. Arguments and errors are those of `read_checkpoint`."""
    return state_dict_of(read_checkpoint(checkpoint, path=path, trusted=trusted), f"{path}={checkpoint!r}")


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


def _load(file: HonestFile, name: str, *, may_run_code: bool) -> object:
    _check_head(file, name)
    try:
        with torch.serialization.safe_globals(safe_types()):
            return _unpickle(file, weights_only=True)
    except LoaderError:
        raise
    except _BROKEN as error:
        # torch's own words advise to load it unsafely, which nobody should do with a file that is broken.
        unsafe = _UNSAFE.search(str(error))
        if unsafe is None:
            raise ConfigError(f"{name} {_damage(error)}") from error
        if not may_run_code:
            raise ConfigError(
                f"{name} holds {next(filter(None, unsafe.groups()))!r}, and reading it could run code: if you trust "
                f"everybody who can write there, say so with the config key trusted_checkpoints=[<its directory>]"
            ) from error
    try:
        file.seek(0)
        return _unpickle(file, weights_only=False)
    except LoaderError:
        raise
    except _BROKEN as error:
        raise ConfigError(f"{name} cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def _unpickle(file: HonestFile, *, weights_only: bool) -> object:
    with file.errors():
        return torch.load(cast("IO[bytes]", file), map_location="cpu", weights_only=weights_only)


def _check_head(file: HonestFile, name: str) -> None:
    """Refuse what is not a file of `torch.save`, which begins as a zip archive or, before torch 1.6, as a pickle."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if not head:
        raise ConfigError(f"{name} is not a checkpoint: it is empty")
    if head[257:262] == b"ustar":
        raise ConfigError(f"{name} is a tar archive: unpack it, and name the checkpoint that is in it")
    for start, what in _STARTS.items():
        if head.lstrip().startswith(start):
            raise ConfigError(f"{name} is not a checkpoint: it {what}")
    if head[8:10] == b'{"':
        raise ConfigError(f"{name} is a file of safetensors: save its tensors with torch.save")
    if not head.startswith((b"PK\x03\x04", b"\x80")):
        raise ConfigError(f"{name} is not a checkpoint")


def _damage(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return f"cannot be read: {error.strerror}"
    # A seek to before the start is how the end of a zip archive is not found.
    if "central directory" in text or isinstance(error, EOFError | OSError):
        return "is a checkpoint that ends too early: a copy that was interrupted?"
    if "TorchScript" in text:
        return "is a TorchScript archive: save the module's state_dict() instead"
    return f"is not a checkpoint, or a damaged one ({type(error).__name__})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
