"""The tensors of a batch, wherever in it they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from asyncio_loader.transforms.formatting import DataContainer

__all__ = ["map_tensors"]


def map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch of the same build with every tensor in it changed.

    Looks into mappings, which become dicts, lists, tuples (named ones, too) and `DataContainer`s, unless these are for
    the host alone. Anything else is what it was: numbers, names, arrays, masks, mmdet's `DetDataSample`.
    """
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, DataContainer):
        data = value.data if value.cpu_only else map_tensors(value.data, change)
        return DataContainer(data, value.stack, value.padding_value, value.cpu_only, value.pad_dims)
    if isinstance(value, Mapping):
        return {key: map_tensors(part, change) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(part, change) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(part, change) for part in value)
    return value
