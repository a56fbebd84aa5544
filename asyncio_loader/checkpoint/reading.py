"""A file of `torch.save` becomes a value again, and runs no code on the way."""

from __future__ import annotations

import errno
import pickle
import re
from typing import IO, Any, BinaryIO, cast

import torch

from asyncio_loader.checkpoint.honest_file import HonestFile
from asyncio_loader.checkpoint.safe_types import Allowance
from asyncio_loader.errors import ConfigError, LoaderError

__all__ = ["load_checkpoint"]

_SAFE_TYPES = Allowance()
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


def load_checkpoint(file: BinaryIO, name: str, *, may_run_code: bool, advice: str, map_location: Any = "cpu") -> object:
    """What `torch.save` put into a file.

    Unpickled are tensors, plain Python values, numpy's numbers and arrays and mmengine's `HistoryBuffer`. More than
    that can run code when read.

    Args:
        file: it is read in a stream, and has to seek.
        name: the file in messages, which begin with it.
        may_run_code: whether a file that holds more is read all the same.
        advice: what to do if one trusts everybody who can write there.
        map_location: as `torch.load` has it.

    Raises:
        ConfigError: it is no checkpoint, a damaged one, or holds what is not trusted; one line.
        LoaderError: what reading the file raised.

    Blocks. Threads may read at the same time. torch keeps what is allowed for the whole process, so what others read
    meanwhile may hold these types, too.
    """
    honest = HonestFile(file)
    _check_head(honest, name)
    try:
        with _SAFE_TYPES:
            return _unpickle(honest, map_location, weights_only=True)
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
                f"everybody who can write there, {advice}"
            ) from error
    try:
        honest.seek(0)
        return _unpickle(honest, map_location, weights_only=False)
    except LoaderError:
        raise
    except _BROKEN as error:
        raise ConfigError(f"{name} cannot be read: {type(error).__name__}: {_first_line(error)}") from error


def _unpickle(file: HonestFile, map_location: Any, *, weights_only: bool) -> object:
    with file.errors():
        return torch.load(cast("IO[bytes]", file), map_location=map_location, weights_only=weights_only)


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
