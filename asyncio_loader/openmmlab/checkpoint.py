"""The checkpoint loader for ``s3://`` of mmengine and mmcv 1.x: behind ``load_from``, ``resume`` and ``Pretrained``."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
from typing import Any

import numpy as np
import torch

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient

__all__ = ["load_from_s3"]

# What torch raises for files that are damaged, and pickle for what it cannot rebuild.
_BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, LookupError, TypeError, ValueError)
_UNSAFE = re.compile(r"GLOBAL (\S+) was not|whose module (\S+) is blocked|(getattr) of")

_TRUST = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def load_from_s3(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint as `torch.load` does, streamed: beside its tensors only a few parts of it are in memory.

    Endpoint and credentials come from the environment and the AWS config files: OpenMMLab hands a checkpoint loader a
    path and nothing else.

    Only tensors, plain Python values, numpy arrays and numbers and mmengine's ``HistoryBuffer`` are unpickled, which
    is all that OpenMMLab's own checkpoints hold: a file on S3 is somebody's file, and a pickle is a program. Where
    torch's own variable ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1`` is set, anything is.

    Args:
        filename: ``s3://bucket/key``.
        map_location: as `torch.load` has it.

    Raises:
        FetchError: a missing object raises ObjectNotFound, which is a FileNotFoundError.
        ConfigError: not a checkpoint, a broken one, or one with other Python objects in it.
    """
    is_trusted = os.environ.get(_TRUST, "").lower() in ("1", "y", "yes", "true")
    with FileClient("aws").open(filename, "rb") as file, torch.serialization.safe_globals(_harmless_types()):
        try:
            return torch.load(file, map_location=map_location, weights_only=not is_trusted)
        except _BROKEN as error:
            raise ConfigError(_explain(filename, error)) from error


def _explain(filename: str, error: Exception) -> str:
    unsafe = _UNSAFE.search(str(error))
    if unsafe is None:
        # Not torch's words, which advise to load it unsafely, whatever is wrong with the file.
        return f"{filename} is no checkpoint of torch, or a damaged one ({type(error).__name__})"
    return (
        f"{filename} holds {next(filter(None, unsafe.groups()))!r}, and reading it could run code: "
        f"if you trust everybody who can write there, set {_TRUST}=1"
    )


def _harmless_types() -> list[Any]:
    """What OpenMMLab's checkpoints hold beside weights: curves and scores of a run, as numpy's arrays and numbers."""
    rebuild, scalar = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    known: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efdSU"}]
    # A file names these by where they lived in the numpy that wrote it: numpy.core until 1.26, numpy._core since.
    for home in ("numpy.core.multiarray", "numpy._core.multiarray"):
        known += [(rebuild, f"{home}._reconstruct"), (scalar, f"{home}.scalar")]
    if importlib.util.find_spec("mmengine") is not None:
        from mmengine.logging import HistoryBuffer

        known += [HistoryBuffer, (_read_statistic, "builtins.getattr")]
    return known


def _read_statistic(owner: Any, name: str) -> Any:
    """A `HistoryBuffer` pickles its methods as ``getattr(HistoryBuffer, "mean")``; no other attribute is read here."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith("_"):
        # torch reports it like any other type that is not on the list.
        raise AttributeError(f"getattr of {owner!r}")
    return getattr(owner, name)
