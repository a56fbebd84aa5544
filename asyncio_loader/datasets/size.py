"""How many bytes a sample holds."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from asyncio_loader.records import Fetched
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks

__all__ = ["size_bytes"]


def size_bytes(value: Any) -> int:
    """Bytes of memory that a sample keeps from being used again.

    Those of all arrays, tensors, images and byte strings in it, at any depth of mappings, sequences, sets and
    dataclasses. A view counts with all of what it is a view of, as long as it lives nothing of that is freed; what
    several share counts once. Small things around them, and objects of other types, don't count.
    """
    held: dict[int, int] = {}
    _visit(value, held)
    return sum(held.values())


def _visit(value: Any, held: dict[int, int]) -> None:
    """Note the memory of a value, by its address."""
    kind = type(value)
    if kind in _WEIGHTLESS:
        return
    if kind is dict:
        for part in value.values():
            _visit(part, held)
    elif isinstance(value, torch.Tensor):
        _visit_tensor(value, held)
    elif isinstance(value, np.ndarray):
        _visit_array(value, held)
    elif isinstance(value, bytes | bytearray):
        held[id(value)] = len(value)
    elif isinstance(value, memoryview):
        held[id(value)] = value.nbytes
    elif isinstance(value, Fetched):
        _visit(value.data, held)
    elif isinstance(value, DataContainer):
        _visit_container(value, held)
    elif isinstance(value, Image.Image):
        held[id(value)] = _image_bytes(value)
    elif isinstance(value, BitmapMasks):
        _visit_array(value.masks, held)
    elif isinstance(value, Mapping):
        for part in value.values():
            _visit(part, held)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        for part in value:
            _visit(part, held)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _visit(getattr(value, field.name, None), held)


# Most of what a sample is made of; asked for first, since this is done for every sample, with the GIL held.
_WEIGHTLESS = frozenset({type(None), bool, int, float, str})


def _visit_container(container: DataContainer, held: dict[int, int]) -> None:
    late = container.late
    _visit(container.data if late is None else late.held, held)


def _visit_tensor(tensor: torch.Tensor, held: dict[int, int]) -> None:
    if tensor.layout is torch.strided:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
    else:
        for part in _parts_of(tensor):
            _visit_tensor(part, held)


def _parts_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The dense tensors that a sparse one is made of; other layouts, which no transform makes, have none."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return ()


def _visit_array(array: np.ndarray[Any, Any], held: dict[int, int]) -> None:
    if array.dtype.hasobject:
        for part in array.flat:
            _visit(part, held)
    while isinstance(array.base, np.ndarray):
        array = array.base
    held[array.__array_interface__["data"][0]] = array.nbytes


def _image_bytes(image: Image.Image) -> int:
    # Pillow's "Concepts" and its Storage.c: one byte a pixel with one band, but for these; four with several.
    if len(image.getbands()) > 1 or image.mode in ("I", "F"):
        pixel_bytes = 4
    else:
        pixel_bytes = 2 if image.mode.startswith("I;16") else 1
    return image.width * image.height * pixel_bytes
