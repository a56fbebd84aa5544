"""Memory for images and batches, used again as soon as nobody has anything of it.

An image of a detector's size is 1 to 13 MB in each of its stages. glibc gives as much back to the system when it is
freed, and takes it anew for the next image: page faults on a virtual machine, a fifth to a third of all CPU time of a
pipeline that runs in two threads (BCCD to 1088x800 float32: 0.7 to 1.4 ms of 3.5 per image; 0.2 with this).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from asyncio_loader.allocation import BlockPool

__all__ = ["IDLE_BYTES", "IMAGES_BYTES", "ArrayPool", "Place", "new_image", "new_planes", "place_planes"]

MIB = 1024 * 1024

IMAGES_BYTES = 1024 * MIB
"""What each thread has at the most: all stages of an image, those that wait for the training loop, and those of its
batch, a hundred float32 images of 1067x800."""

IDLE_BYTES = 96 * MIB
"""What of it nobody uses, and the largest image. It matters where sizes change."""

# Below, malloc has something at hand that is mapped already.
_SMALL_BYTES = 128 * 1024


class ArrayPool(threading.local):
    """Arrays whose memory was another array's, of which nothing is left: no view, no tensor, in no thread.

    Nobody gives anything back, and whoever keeps an array, a view or a tensor of it keeps its memory, and may write
    to it; see `BlockPool`, by which this works. Each thread has blocks of its own, so there is no lock, in a forked
    child neither; what is made in one thread may be used and dropped in any. A thread that ends leaves what is in use
    to those who have it, and frees the rest.

    Args:
        limit_bytes: what each thread has, used or not. Arrays beyond it, and those larger than a quarter of it or than
            `idle_bytes`, are `numpy.empty`'s, as are small ones.
        idle_bytes: what of it nobody uses, once another size is wanted. What is used is the consumer's in any case.
    """

    def __init__(self, limit_bytes: int, idle_bytes: int) -> None:
        # Called in each thread that uses it.
        self._blocks = BlockPool(limit_bytes, idle_bytes=idle_bytes)

    def new(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable, C-contiguous array with anything in it; `dtype` is one of numbers."""
        kind = np.dtype(dtype)
        size_bytes = math.prod(shape) * kind.itemsize
        block = self._blocks.find(size_bytes) if size_bytes >= _SMALL_BYTES else None
        return np.empty(shape, kind) if block is None else np.frombuffer(block, kind).reshape(shape)


Place: TypeAlias = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any] | None]
"""Makes a writable, C-contiguous array of a shape and a dtype with anything in it, or None."""

_place: Place | None = None

_images = ArrayPool(IMAGES_BYTES, IDLE_BYTES)


def new_image(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A writable array with anything in it, for a stage of an image. For any thread; see `ArrayPool`."""
    return _images.new(shape, dtype)


def new_planes(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """As `new_image`, for the last stage: its memory becomes the tensor's, which may go to another process."""
    placed = None if _place is None else _place(shape, dtype)
    return new_image(shape, dtype) if placed is None else placed


def place_planes(place: Place) -> None:
    """Have `new_planes` of this process make its arrays by `place`, where that makes one."""
    global _place
    _place = place
