from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from asyncio_loader.datasets.size import size_bytes
from asyncio_loader.records import Fetched, ObjectRef
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.masks import BitmapMasks


@dataclass
class Sample:
    image: Any
    boxes: Any


class Pair(NamedTuple):
    image: Any
    label: int


def of_objects() -> np.ndarray[Any, Any]:
    """An array of three arrays."""
    array = np.empty(3, dtype=object)
    for n in range(3):
        array[n] = np.zeros(10, dtype=np.uint8)
    return array


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (torch.zeros(3, 4), 48),
        (np.zeros((2, 5), dtype=np.uint8), 10),
        (b"abc", 3),
        (memoryview(b"abcd"), 4),
        (memoryview(np.zeros((2, 3), dtype=np.int64)), 48),
        (Fetched(ObjectRef("m://1"), b"abc"), 3),
        (DataContainer(torch.zeros(2)), 8),
        ({"img": torch.zeros(2), "more": [np.zeros(3, dtype=np.uint8), "text", 5]}, 11),
        (BitmapMasks(np.zeros((2, 3, 4), dtype=np.uint8), 3, 4), 24),
        (Sample(torch.zeros(2), [np.zeros(2)]), 24),
        (Pair(torch.zeros(2), 1), 8),
        (deque([b"abc", {b"de"}]), 5),
        (of_objects(), 3 * 10 + 3 * 8),
        (torch.eye(4).to_sparse(), 4 * 2 * 8 + 4 * 4),
        (torch.zeros(0), 0),
        (None, 0),
        (Sample, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_counts_what_holds_the_bytes(value: Any, size: int) -> None:
    assert size_bytes(value) == size


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_compressed_tensors_count_with_their_indices() -> None:
    parts = torch.arange(5), torch.arange(4), torch.ones(4)
    for make in (torch.sparse_csr_tensor, torch.sparse_csc_tensor):
        assert size_bytes(make(*parts, size=(4, 4), check_invariants=True)) == (5 + 4) * 8 + 4 * 4


@pytest.mark.parametrize(
    ("mode", "pixel_bytes"), [("L", 1), ("1", 1), ("P", 1), ("I;16", 2), ("I", 4), ("F", 4), ("RGB", 4), ("RGBA", 4)]
)
def test_images_count_as_pillow_stores_them(mode: str, pixel_bytes: int) -> None:
    assert size_bytes(Image.new(mode, (4, 5))) == 20 * pixel_bytes


def test_a_view_keeps_all_of_what_it_is_a_view_of() -> None:
    assert size_bytes(np.zeros((100, 100), dtype=np.uint8)[:10, :10]) == 10_000
    assert size_bytes(torch.zeros(100, 100)[:10, :10]) == 40_000
    # And one of a few bytes that looks large keeps no more than these.
    assert size_bytes(np.broadcast_to(np.zeros(4, dtype=np.uint8), (1000, 4))) == 4
    assert size_bytes(torch.zeros(4).expand(1000, 4)) == 16


def test_what_is_shared_counts_once() -> None:
    image = np.zeros((10, 10), dtype=np.uint8)
    sample = {"img": image, "crop": image[2:], "tensor": torch.from_numpy(image), "again": [image]}

    assert size_bytes(sample) == 100
