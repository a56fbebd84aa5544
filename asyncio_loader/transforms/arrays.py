"""Memory for images and batches, used again as soon as nobody has anything of it.

An image of a detector's size is 1 to 13 MB in each of its stages. glibc gives as much back to the system when it is
freed, and takes it anew for the next image: page faults on a virtual machine, a fifth to a third of all CPU time of a
pipeline that runs in two threads (BCCD to 1088x800 float32: 0.7 to 1.4 ms of 3.5 per image; 0.2 with this).
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.allocation import BlockPool

__all__ = ["IMAGES_BYTES", "ArrayPool", "new_image"]

MIB = 1024 * 1024

IMAGES_BYTES = 96 * MIB
"""What each thread keeps: all stages of an image and those that wait for the training loop, up to a float32 image of
24 MiB (two megapixels, a quarter of it)."""

# Below, malloc has something at hand that is mapped already.
_SMALL_BYTES = 128 * 1024


class ArrayPool(threading.local):
    """Arrays whose memory was another array's, of which nothing is left: no view, no tensor, in no thread.

    Nobody gives anything back, and whoever keeps an array, a view or a tensor of it keeps its memory, and may write
    to it; see `BlockPool`, by which this works. Each thread has blocks of its own, so there is no lock, in a forked
    child neither; what is made in one thread may be used and dropped in any. A thread that ends leaves what is in use
    to those who have it, and frees the rest.

    Args:
        limit_bytes: what each thread keeps, used or not. Arrays larger than a quarter, and those beyond it, are
            `numpy.empty`'s, as are small ones.
    """

    def __init__(self, limit_bytes: int) -> None:
        # Called in each thread that uses it.
        self._blocks = BlockPool(limit_bytes)

    def new(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """A writable, C-contiguous array with anything in it; `dtype` is one of numbers."""
        kind = np.dtype(dtype)
        size_bytes = math.prod(shape) * kind.itemsize
        block = self._blocks.find(size_bytes) if size_bytes >= _SMALL_BYTES else None
        return np.empty(shape, kind) if block is None else np.frombuffer(block, kind).reshape(shape)


_images = ArrayPool(IMAGES_BYTES)


def new_image(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A writable array with anything in it, for a stage of an image. For any thread; see `ArrayPool`."""
    return _images.new(shape, dtype)
