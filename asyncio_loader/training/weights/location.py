"""Where a checkpoint lies that a config names by a download: in torch.hub's cache, if it has been downloaded before."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import torch
import torchvision

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient

__all__ = ["locate"]


def locate(checkpoint: str, *, path: str = "checkpoint") -> str:
    """What to open: the checkpoint itself, or the file that torch.hub keeps for ``torchvision://`` and ``https://``.

    ``torchvision://resnet50`` is the model's first weights, ``torchvision://resnet50.imagenet1k_v2`` those of that
    name, as in mmengine. Nothing is downloaded but what `FileClient` reads itself.

    Raises:
        ConfigError: it would have to be downloaded; begins with ``<path>='<checkpoint>'``.
    """
    scheme = FileClient.parse_uri_prefix(checkpoint)
    url = _torchvision_url(checkpoint.partition("://")[2]) if scheme == "torchvision" else checkpoint
    if scheme in ("torchvision", "http", "https") and url:
        cached = os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(urlsplit(url).path))
        if os.path.isfile(cached):
            return cached
    try:
        FileClient.infer_client(uri=checkpoint)
    except ConfigError:
        raise ConfigError(
            f"{path}={checkpoint!r} would have to be downloaded: put the file into your bucket (s3://…) or on disk, "
            "or train from scratch with model.backbone.init_cfg=None"
        ) from None
    return checkpoint


def _torchvision_url(name: str) -> str | None:
    """The URL of a model's weights; None for a name that torchvision does not have."""
    model, _, weights = name.partition(".")
    if model not in torchvision.models.list_models():
        return None
    members = {member.name.lower(): member for member in torchvision.models.get_model_weights(model)}
    chosen = members.get(weights) if weights else next(iter(members.values()), None)
    return str(chosen.url) if chosen else None
