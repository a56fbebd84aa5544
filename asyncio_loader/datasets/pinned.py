"""Page-locked memory, from which a GPU copies by itself while everything else goes on."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from asyncio_loader.datasets.tensors import map_tensors

__all__ = ["PINNED_BYTES", "PinnedMemory", "new_pinned_stack"]

PINNED_BYTES = 512 * 1024 * 1024
"""What a `Loader` holds of it at once: the batches that wait, are on their way or in the consumer's hands. Four float32
batches of ten images of 1333x800. It is taken from everything else on the machine, and cannot be swapped out."""

# Of small ones there may be millions before the limit is reached.
_MANY = 256

Allocate = Callable[[Sequence[int], Sequence[int], torch.dtype], torch.Tensor]


def _by_current_device() -> Allocate:
    """torch's page-locked memory, by way of the calling thread's device.

    The current device of a new thread is the first one, which is another rank's where there are several.
    """
    device = torch.cuda.current_device() if torch.cuda.is_available() else None

    def allocate(shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        with torch.cuda.device(device):
            return torch.empty_strided(tuple(shape), tuple(strides), dtype=dtype, pin_memory=True)

    return allocate


class PinnedMemory:
    """Page-locked tensors, of which so many bytes are alive at once.

    Locking pages is dear (a call of the driver for each block, and all streams wait), so they are used again. torch's
    own allocator does that, and it alone can: it knows of every copy that was begun from a block, also by the consumer,
    and hands the block out again when the tensors are gone and the copies done. What it has taken it keeps, by powers
    of two; so the bound here is what keeps it small.

    Thread-safe. Tensors may be dropped in any thread.

    Args:
        limit_bytes: beyond it there is none, and whoever asks takes pageable memory: slower, and as right.
        allocate: of a shape, strides in elements and a dtype; None: torch's page-locked memory, by way of the device
            that is the current one now.
    """

    def __init__(self, limit_bytes: int = PINNED_BYTES, allocate: Allocate | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._allocate = allocate or _by_current_device()
        self._live: list[tuple[StorageWeakRef, int]] = []
        self._live_bytes = 0
        self._looks_at = _MANY
        self._lock = threading.Lock()

    def new(
        self, shape: Sequence[int], dtype: torch.dtype, strides: Sequence[int] | None = None
    ) -> torch.Tensor | None:
        """A tensor with anything in it, contiguous unless `strides` (in elements) say otherwise; None: see the class.

        Of nothing there is none either.
        """
        size_bytes = math.prod(shape) * dtype.itemsize
        if size_bytes == 0:
            return None
        if strides is None:
            strides = [math.prod(shape[dimension + 1 :]) for dimension in range(len(shape))]
        with self._lock:
            if not self._has_room(size_bytes):
                return None
            tensor = self._allocate(shape, strides, dtype)
            storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
            self._live.append((storage, size_bytes))
            self._live_bytes += size_bytes
        return tensor

    def pin(self, batch: Any) -> Any:
        """The batch with its tensors in page-locked memory, as far as there is any; those that are there stay."""
        return map_tensors(batch, self._pin)

    @contextlib.contextmanager
    def taking_stacks(self) -> Iterator[None]:
        """In this block, in this thread, `collate` stacks into this memory: there is nothing to copy afterwards."""
        token = _of_stacks.set(self)
        try:
            yield
        finally:
            _of_stacks.reset(token)

    def _has_room(self, wanted_bytes: int) -> bool:
        if self._live_bytes + wanted_bytes > self._limit_bytes or len(self._live) >= self._looks_at:
            self._forget_what_is_gone()
        return self._live_bytes + wanted_bytes <= self._limit_bytes

    def _forget_what_is_gone(self) -> None:
        self._live = [
            (storage, size_bytes)
            for storage, size_bytes in self._live
            if not storage.expired()  # type: ignore[no-untyped-call]
        ]
        self._live_bytes = sum(size_bytes for _, size_bytes in self._live)
        self._looks_at = 2 * len(self._live) + _MANY

    def _pin(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.is_pinned():
            return tensor
        # Strides that leave nothing out are kept: channels_last stays so.
        is_whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize
        place = self.new(tensor.shape, tensor.dtype, tensor.stride() if is_whole else None)
        if place is None:
            return tensor
        _copy(tensor.detach(), place)
        return place


_of_stacks: ContextVar[PinnedMemory | None] = ContextVar("asyncio_loader_stacks", default=None)


def new_pinned_stack(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor | None:
    """Page-locked memory for a stack, where `PinnedMemory.taking_stacks` asks for it; else None."""
    memory = _of_stacks.get()
    return None if memory is None else memory.new(shape, dtype)


def _copy(source: torch.Tensor, place: torch.Tensor) -> None:
    """In the thread that calls: torch would wake its pool, whose threads spin on the cores that decode."""
    try:
        place.numpy()[...] = source.numpy()
    except TypeError:  # of a dtype that numpy has not
        place.copy_(source)
