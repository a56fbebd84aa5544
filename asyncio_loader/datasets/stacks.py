"""Stacks of images: memory for them, and the threads of a `Loader` that write them, each image once.

`collate` runs in the consumer's thread, which shall train: stacking float32 images of 800x1088 there took it 0.6 ms of
CPU time each. Here the thread that brings the last image of a stack knows how large the stack must be, and writes all
of it; `collate` finds it done.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from asyncio_loader.allocation import BlockPool
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.late import LateImage

__all__ = ["BATCHES_BYTES", "NewStack", "Seat", "StackPlan", "new_stack", "write_stack", "written_stack"]

BATCHES_BYTES = 256 * 1024 * 1024
"""What a process keeps of stacks that are gone, for those to come; a larger stack (more than twenty float32 images of
1333x800) has memory of its own."""

# Below, torch has something at hand that is mapped already.
_SMALL_BYTES = 128 * 1024

NewStack: TypeAlias = Callable[[Sequence[int], torch.dtype], torch.Tensor | None]
"""Makes a contiguous tensor of a shape and a dtype on the host, with anything in it; None: it has no more of that kind.
Thread-safe."""


class _Memory:
    """Blocks for all threads of the process: a stack is made in one and used in another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = BlockPool(4 * BATCHES_BYTES, idle_bytes=BATCHES_BYTES)

    def find(self, size_bytes: int) -> memoryview | None:
        # Never waited for: a collection in here may end a Loader, which waits for its threads, and they for this.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._blocks.find(size_bytes)
        finally:
            self._lock.release()


_memory = _Memory()


def _note_fork() -> None:
    # A thread of the parent may have been in the midst of it.
    global _memory
    _memory = _Memory()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def new_stack(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A contiguous tensor with anything in it, where an earlier stack was of which nothing is left. Thread-safe."""
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes < _SMALL_BYTES:
        return torch.empty(tuple(shape), dtype=dtype)
    memory: Any = _memory.find(size_bytes)
    if memory is None:
        # numpy asks for huge pages, torch does not: a quarter of the time for a large one.
        memory = np.empty(size_bytes, np.uint8)
    return torch.frombuffer(memory, dtype=dtype).reshape(tuple(shape))


def write_stack(images: Sequence[LateImage], padding_value: float, new: NewStack) -> torch.Tensor | None:
    """Images (c, h, w) as (b, c, h, w), each written to its place, padded at the right and the bottom to the largest.

    None: they differ in channels or dtype, and nothing was done.
    """
    first = images[0]
    if any((image.shape[0], image.dtype) != (first.shape[0], first.dtype) for image in images):
        return None
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    shape = (len(images), first.shape[0], height, width)
    dtype = torch.from_numpy(np.empty(0, first.dtype)).dtype
    made = new(shape, dtype)
    stack = new_stack(shape, dtype) if made is None else made
    for place, image in zip(stack.numpy(), images, strict=True):
        _, image_height, image_width = image.shape
        if image_height < height:
            place[:, image_height:] = padding_value
        if image_width < width:
            place[:, :image_height, image_width:] = padding_value
        image.write(place[:, :image_height, :image_width])
    return stack


class _Fit:
    """Whether the stacks of an epoch are those that are wanted, as far as is known."""

    __slots__ = ("is_lost",)

    def __init__(self) -> None:
        self.is_lost = False


class _Gathering:
    """A stack that threads bring their images to. Nothing waits for it.

    Attributes:
        size: images.
        stack: when it is written, until it is given out; else None.
        fit: of its epoch.
    """

    __slots__ = ("_brought", "_lock", "_new", "fit", "size", "stack")

    def __init__(self, size: int, new: NewStack, fit: _Fit) -> None:
        self.size = size
        self.stack: torch.Tensor | None = None
        self.fit = fit
        self._new = new
        self._lock = threading.Lock()
        self._brought: dict[int, DataContainer | None] = {}

    def bring(self, place: int, container: DataContainer | None) -> int:
        """What there is for a place. Whoever brings the last one writes the stack; its bytes, else 0.

        Where there is nothing for some place, each of the others is written to memory of its own.
        """
        with self._lock:
            self._brought[place] = container
            if len(self._brought) < self.size:
                return 0
            brought, self._brought = self._brought, {}
        there = [container for number in range(self.size) if (container := brought[number]) is not None]
        images = [late for container in there if (late := container.late) is not None]
        if len(images) == self.size:
            self.stack = write_stack(images, there[0].padding_value, self._new)
        if self.stack is None:
            _write_alone(there)
            return 0
        for number, image in enumerate(images):
            # Only now: before, each would keep the others.
            image.owner, image.place = self, number
        return self.stack.nbytes


def _write_alone(containers: Iterable[DataContainer]) -> None:
    for container in containers:
        _ = container.data


def _late_ones(value: Any) -> Iterator[DataContainer]:
    """The containers of late images in a sample."""
    if isinstance(value, DataContainer):
        if value.late is not None:
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _late_ones(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _late_ones(part)


@dataclass(frozen=True, slots=True)
class Seat:
    """The place of a sample in a stack."""

    gathering: _Gathering
    place: int

    def bring(self, sample: Any) -> int:
        """What a transform made for this place, or None for nothing: its late image, if that stands at `img`.

        Late images elsewhere in mappings, lists and tuples are written to memory of their own: they are no part of a
        stack that is known of here, and the consumer's thread is not to write them. The bytes of the stack that was
        written with this one as the last, else 0.
        """
        container = sample.get("img") if isinstance(sample, Mapping) else None
        if not isinstance(container, DataContainer) or container.late is None:
            container = None
        _write_alone(late for late in _late_ones(sample) if late is not container)
        return self.gathering.bring(self.place, container)


class StackPlan:
    """Which samples will be stacked together: so many, one after the other, in the order of the epoch.

    Where that comes otherwise, `collate` stacks, to the same values: a batch in which a sample is replaced, the last
    one of an epoch if it is short, and all that follow a sample that was left out by ``on_error="skip"``. When that is
    noticed there are no more seats until the next epoch.

    Args:
        batch_size: samples of a batch.
        stack_size: of a stack; the last one of a batch may be smaller.
        new: memory for a stack; where it has none, `new_stack` does.
    """

    def __init__(self, batch_size: int, stack_size: int, new: NewStack) -> None:
        self._batch_size = batch_size
        self._stack_size = stack_size
        self._new = new
        self._epoch: int | None = None
        self._taken = 0
        self._fit = _Fit()
        self._gathering: _Gathering | None = None

    def next(self, epoch: int) -> Seat | None:
        """The seat of the next sample, or None: it is not stacked by threads.

        To be called in the order of the samples, by one thread at a time.
        """
        if epoch != self._epoch:
            self._epoch, self._taken, self._fit = epoch, 0, _Fit()
        if self._fit.is_lost:
            self._gathering = None
            return None
        in_batch = self._taken % self._batch_size
        place = in_batch % self._stack_size
        gathering = self._gathering
        if place == 0 or gathering is None:
            gathering = _Gathering(min(self._stack_size, self._batch_size - in_batch), self._new, self._fit)
        self._taken += 1
        self._gathering = gathering if place + 1 < gathering.size else None
        return Seat(gathering, place)

    def end(self) -> None:
        """There is no further sample: a stack that is not full is forgotten."""
        self._gathering = None


def written_stack(images: Sequence[LateImage]) -> torch.Tensor | None:
    """The stack that threads have written of exactly these images, in this order; None: there is none, or it was given
    out before."""
    gathering = images[0].owner
    if not isinstance(gathering, _Gathering):
        return None
    if gathering.size != len(images) or any(
        image.owner is not gathering or image.place != place for place, image in enumerate(images)
    ):
        gathering.fit.is_lost = True
        return None
    # Once: whoever uses the batch may write to it, and nothing of it is kept here.
    stack, gathering.stack = gathering.stack, None
    return stack
