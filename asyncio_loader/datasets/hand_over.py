"""What goes from a DataLoader's worker to its parent in shared memory, although it is no tensor.

torch sends a tensor's memory by reference, and pickles the bytes of everything else through a pipe: ten bitmaps of
800x1088 took the parent 8 ms of CPU time, in which it could have trained, and take it 2 so. Only the pickler between
processes is told of it: `pickle`, `copy` and checkpoints see masks as they did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from asyncio_loader.bridge.pickling import reduce_between_processes
from asyncio_loader.transforms.formatting import to_tensor
from asyncio_loader.transforms.masks import BitmapMasks

__all__ = ["SHARED_BYTES", "share_masks"]

SHARED_BYTES = 64 * 1024
"""Fewer go through the pipe as before, at once: a segment of shared memory costs a file and a mapping, some 50 us."""


def share_masks() -> None:
    """Have `BitmapMasks` go between processes in shared memory. Idempotent; of a subclass nobody knows what it is."""
    reduce_between_processes(BitmapMasks, _reduce)


def _reduce(masks: BitmapMasks) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    state = dict(vars(masks))
    bitmaps = state["masks"]
    if bitmaps.nbytes >= SHARED_BYTES:
        state["masks"] = to_tensor(bitmaps)
    return _restore, (state,)


def _restore(state: dict[str, Any]) -> BitmapMasks:
    # Not by the constructor, which would copy them.
    masks = BitmapMasks.__new__(BitmapMasks)
    bitmaps = state["masks"]
    vars(masks).update(state, masks=bitmaps.numpy() if isinstance(bitmaps, torch.Tensor) else bitmaps)
    return masks
