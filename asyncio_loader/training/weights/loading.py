"""Pretrained weights: from a local file or from S3 into a module."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor, nn

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.weights.checkpoint import read_state_dict
from asyncio_loader.training.weights.location import locate

__all__ = ["BACKBONE_PREFIXES", "load_pretrained"]

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
    state = _select(read_state_dict(locate(checkpoint, path=path), path=path), prefixes)
    own = module.state_dict()
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fits:
        raise ConfigError(f"{path}={checkpoint!r}: none of its {len(state)} tensors fits the model")
    module.load_state_dict(fits, strict=False)
    missing = sorted(own.keys() - fits.keys())
    unexpected = sorted(state.keys() - fits.keys())
    _LOG.info("%s: %d tensors loaded; missing: %s; unexpected: %s", checkpoint, len(fits), missing, unexpected)


def _select(state: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    for prefix in prefixes:
        chosen = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if chosen:
            return chosen
    return state
