"""A checkpoint of one project becomes a file of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from asyncio_loader.checkpoint.writing import save_checkpoint, tensor_bytes
from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.progress import transferring
from asyncio_loader.training.weights.checkpoint import read_checkpoint, state_dict_of
from asyncio_loader.training.weights.dialects import to_mmdet, to_torchvision
from asyncio_loader.training.weights.location import locate

__all__ = ["Dialect", "convert_checkpoint"]

Dialect = Literal["mmdet", "torchvision"]


def convert_checkpoint(source: str, target: str, *, to: Dialect, trusted: Sequence[str] = ()) -> int:
    """Write the weights of a checkpoint in the names and layout of another project.

    Args:
        source: any file that `load_pretrained` reads; local or a URI.
        target: where the new one goes, local or a URI: replaced whole or not at all.
        to: ``"mmdet"``: a dict of ``meta``, as in the source, and ``state_dict``, for mmdet 2.x and 3.x;
            ``"torchvision"``: a plain state dict for `fasterrcnn_resnet50_fpn` and its like, and for this project.
        trusted: see `read_checkpoint`.

    Returns:
        The number of tensors written. Optimizers, schedules and the like are left out: they count the parameters in
        the order of the model that was trained.

    Raises:
        ConfigError: `to` is neither, the source cannot be read, or is the target.
        FetchError: an object could not be had or written.
    """
    if to not in ("mmdet", "torchvision"):
        raise ConfigError(f"to={to!r} must be 'mmdet' or 'torchvision'")
    if source == target:
        raise ConfigError(f"target={target!r} is the source")
    client = _writer(target)
    values = read_checkpoint(locate(source, path="source"), path="source", trusted=trusted)
    state = state_dict_of(values, f"source={source!r}")
    converted = to_mmdet(state) if to == "mmdet" else to_torchvision(state)
    content: dict[str, Any] = dict(converted)
    if to == "mmdet":
        meta = values.get("meta")
        content = {"meta": dict(meta) if isinstance(meta, Mapping) else {}, "state_dict": converted}
    with (
        transferring("write", target.rpartition("/")[2], tensor_bytes(content)) as counted,
        client.open(target, "wb") as file,
    ):
        save_checkpoint(content, counted(file))
    return len(converted)


def _writer(target: str) -> FileClient:
    """Found before the source is read, which may take minutes."""
    if FileClient.parse_uri_prefix(target) in ("http", "https"):
        raise ConfigError(f"target={target!r}: the web can only be read")
    try:
        return FileClient.infer_client(uri=target)
    except ConfigError as error:
        raise ConfigError(f"target={target!r}: {error}") from error
