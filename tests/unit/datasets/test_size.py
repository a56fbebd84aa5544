from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from asyncio_loader.datasets.size import size_bytes
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (torch.zeros(3, 4), 48),
        (np.zeros((2, 5), dtype=np.uint8), 10),
        (b"abc", 3),
        (memoryview(b"abcd"), 4),
        (Fetched(ObjectRef("m://1"), b"abc"), 3),
        (DataContainer(torch.zeros(2)), 8),
        ({"img": torch.zeros(2), "more": [np.zeros(3, dtype=np.uint8), "text", 5]}, 11),
        (Image.new("RGB", (4, 5)), 60),
        (BitmapMasks(np.zeros((2, 3, 4), dtype=np.uint8), 3, 4), 24),
        (None, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_counts_what_holds_the_bytes(value: Any, size: int) -> None:
    assert size_bytes(value) == size
