"""Pretrained weights: from a local file or from S3 into a module."""

from __future__ import annotations

import io
import logging
import os
import pickle
from collections.abc import Mapping, Sequence

import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import Tensor, nn

from asyncio_loader.errors import ConfigError

__all__ = ["BACKBONE_PREFIXES", "load_pretrained", "read_state_dict"]

_LOG = logging.getLogger(__name__)

BACKBONE_PREFIXES = ("backbone.body.", "backbone.")
"""Where a checkpoint of a whole detector keeps its backbone: torchvision's and ours, and mmdet's."""


def load_pretrained(
    module: nn.Module, checkpoint: str, *, prefixes: Sequence[str] = (), path: str = "checkpoint"
) -> None:
    """Load what fits of a checkpoint into a module; what is missing or left over is logged.

    `checkpoint` is a local file or ``s3://``. The first of `prefixes` that occurs in it selects the parameters under
    it; where none occurs, all are taken.

    Raises:
        ConfigError: the file is missing, no weights, needs a download, or nothing of it fits; names `path`.
        FetchError: the object could not be had.
    """
    state = _select(read_state_dict(checkpoint, path=path), prefixes)
    own = module.state_dict()
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fits:
        raise ConfigError(f"{path}={checkpoint!r}: none of its {len(state)} tensors fits the model")
    module.load_state_dict(fits, strict=False)
    missing = sorted(own.keys() - fits.keys())
    unexpected = sorted(state.keys() - fits.keys())
    _LOG.info("%s: %d tensors loaded; missing: %s; unexpected: %s", checkpoint, len(fits), missing, unexpected)


def read_state_dict(checkpoint: str, *, path: str = "checkpoint") -> dict[str, Tensor]:
    """The tensors of a checkpoint, of its ``state_dict`` where it has one.

    Unpickles tensors and the few types of mmengine's checkpoints, never code. Raises as `load_pretrained`.
    """
    data = io.BytesIO(_read(checkpoint, path))
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            values = torch.load(data, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        # torch's own words advise to load it unsafely, which nobody should do with a file that is broken.
        raise ConfigError(
            f"{path}={checkpoint!r} is not a checkpoint, or holds more than tensors ({type(error).__name__})"
        ) from error
    if isinstance(values, Mapping) and isinstance(values.get("state_dict"), Mapping):
        values = values["state_dict"]
    if not isinstance(values, Mapping) or not all(isinstance(v, Tensor) for v in values.values()):
        raise ConfigError(f"{path}={checkpoint!r} holds no dict of tensors")
    return dict(values)


def _read(checkpoint: str, path: str) -> bytes | memoryview:
    scheme, separator, _ = checkpoint.partition("://")
    if separator and scheme not in ("s3", "file"):
        raise ConfigError(
            f"{path}={checkpoint!r} would have to be downloaded: put the file into your bucket (s3://…) or on disk, "
            "or train from scratch with model.backbone.init_cfg=None"
        )
    if not separator and not os.path.isfile(checkpoint):
        raise ConfigError(f"{path}={checkpoint!r}: no such file")
    from asyncio_loader.fileio.file_client import FileClient

    data: bytes | memoryview = FileClient.infer_client(uri=checkpoint).get(checkpoint)
    return data


def _select(state: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    for prefix in prefixes:
        chosen = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if chosen:
            return chosen
    return state
