"""How many bytes a sample holds."""

from __future__ import annotations

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
    """Bytes of all arrays, tensors and byte strings in a sample; small things around them don't count."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return int(value.nbytes)
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value)
    if isinstance(value, Fetched | DataContainer):
        return size_bytes(value.data)
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    if isinstance(value, BitmapMasks):
        return int(value.masks.nbytes)
    if isinstance(value, Mapping):
        return sum(size_bytes(part) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(size_bytes(part) for part in value)
    return 0
