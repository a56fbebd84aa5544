"""What goes from a DataLoader's worker to its parent: masks in shared memory, tensors and arrays in such that is used
again.

torch sends a tensor's memory by reference, and pickles the bytes of everything else through a pipe: ten bitmaps of
800x1088 took the parent 8 ms of CPU time, in which it could have trained, and take it 2 so. And torch's memory is fresh
for each tensor, and a file of its own, which takes a connection: 0.5 ms for the five boxes of an image. See
`bridge.shared_blocks` for how blocks are used again; small tensors go through the pipe, which takes 0.02 ms. Only the
pickler between processes is told of all that: `pickle`, `copy` and checkpoints see what they did.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import get_worker_info
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from asyncio_loader.bridge.pickling import reduce_between_processes
from asyncio_loader.bridge.shared_blocks import Sent, SharedBlocks, can_share, most_blocks_of, receive
from asyncio_loader.transforms.arrays import place_planes
from asyncio_loader.transforms.formatting import to_tensor
from asyncio_loader.transforms.masks import BitmapMasks

__all__ = ["RECYCLED_BYTES", "RECYCLED_LEAST_BYTES", "SHARED_BYTES", "new_shared", "recycle_tensors", "share_masks"]

SHARED_BYTES = 64 * 1024
"""Fewer go through the pipe as before, at once: a segment of shared memory costs a file and a mapping, some 50 us."""

RECYCLED_BYTES = 256 * 1024 * 1024
"""What each worker keeps to hand tensors over in: twenty float32 images of 1333x800. The rest goes torch's way."""

RECYCLED_LEAST_BYTES = 256 * 1024
"""Smaller tensors go through the pipe: there and back 240 KB take 0.3 ms, and 1.2 through a file of their own."""

# Of the rest, for a part of which torch itself has no copy, some cannot be seen as bytes.
_DTYPES = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    }
)

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


def share_masks() -> None:
    """Have `BitmapMasks` go between processes in shared memory. Idempotent; of a subclass nobody knows what it is."""
    reduce_between_processes(BitmapMasks, _reduce_masks)


def recycle_tensors() -> None:
    """In a DataLoader's worker: have large tensors and arrays handed over in memory that is used again. Idempotent.

    Plain, contiguous ones on the CPU, whoever made them; small ones by the pipe. What the parent gets is an ordinary
    tensor or array, its own until the last view of it is gone; only `is_shared` is False, and sent on to a third
    process it is copied. Our transforms write their last stage there at once, and torch's `default_collate` and ours
    their stacks, so that nothing is copied once more.
    """
    worker = get_worker_info()
    if worker is not None:
        global _pool, _planes
        if can_share() and (_pool is None or _pool[0] != os.getpid()):
            _pool = os.getpid(), SharedBlocks(RECYCLED_BYTES, most_blocks=most_blocks_of(worker.num_workers))
            _planes = _Planes()
        reduce_between_processes(torch.Tensor, _reduce_tensor)
        reduce_between_processes(np.ndarray, _reduce_array)
        reduce_between_processes(memoryview, _reduce_view)
        place_planes(_planes.new)
        # torch's own place for such: see `default_collate`.
        default_collate_fn_map[torch.Tensor] = _collate_tensors


class _Planes:
    """Where the last stage of an image is written to: shared memory, as long as images are sent as they are.

    Of those that are stacked, what is here would be copied in any case, and take the room of the stacks.
    """

    def __init__(self) -> None:
        self._placed: set[int] = set()
        self._sent = self._in_vain = 0

    def new(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any] | None:
        """See `transforms.arrays.Place`."""
        if self._in_vain > self._sent + _TRIES:
            return None
        memory = _take(np.dtype(dtype).itemsize * math.prod(shape))
        if memory is None:
            return None
        planes = np.frombuffer(memory, dtype).reshape(shape)
        # Free again, and never sent.
        self._in_vain += planes.ctypes.data in self._placed
        self._placed.add(planes.ctypes.data)
        return planes

    def note_sent(self, address: int) -> None:
        """What begins there has set out for the parent."""
        if address in self._placed:
            self._placed.discard(address)
            self._sent += 1


_TRIES = 8
_planes = _Planes()


def new_shared(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
    """In a worker: a contiguous tensor with anything in it that goes to the parent as it is; None: there is no room."""
    memory = _take(dtype.itemsize * math.prod(shape))
    return None if memory is None else torch.frombuffer(memory, dtype=dtype).reshape(shape)


def _collate_tensors(batch: Sequence[torch.Tensor], *, collate_fn_map: Any = None) -> Any:
    """As torch's, to the same values and with the same errors; that one takes a new file for each stack."""
    first = batch[0]
    if all(_is_usual(tensor) and (tensor.shape, tensor.dtype) == (first.shape, first.dtype) for tensor in batch):
        stack = new_shared((len(batch), *first.shape), first.dtype)
        if stack is not None or len(batch) * first.nbytes < RECYCLED_LEAST_BYTES:
            return torch.stack(list(batch), out=stack)
    return collate_tensor_fn(batch, collate_fn_map=collate_fn_map)


def _take(size_bytes: int) -> memoryview | None:
    blocks = _blocks()
    return None if blocks is None or size_bytes < RECYCLED_LEAST_BYTES else blocks.take(size_bytes)


# With the process it is of: one that is forked of a worker has none.
_pool: tuple[int, SharedBlocks] | None = None


def _blocks() -> SharedBlocks | None:
    return _pool[1] if _pool is not None and _pool[0] == os.getpid() else None


def _reduce_tensor(tensor: torch.Tensor) -> Reduced:
    is_plain = _is_plain(tensor)
    if is_plain and tensor.nbytes < RECYCLED_LEAST_BYTES:
        return _restore_small, (bytearray(_bytes_of(tensor)), tuple(tensor.shape), tensor.dtype)
    sent = _send(_bytes_of(tensor)) if is_plain else None
    if sent is None:
        reduced: Reduced = reduce_tensor(tensor)  # type: ignore[no-untyped-call]
        return reduced
    return _restore_tensor, (sent, tuple(tensor.shape), tensor.dtype)


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        _is_usual(tensor) and tensor.is_contiguous() and not tensor.is_shared()  # type: ignore[no-untyped-call]
    )


def _is_usual(tensor: torch.Tensor) -> bool:
    return (
        # Of a subclass, such as torchvision's, nobody knows what a stack of it is.
        type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not tensor.requires_grad
        and not tensor.is_nested
        and not tensor.is_neg()
        and tensor.dtype in _DTYPES
    )


def _send(data: npt.NDArray[np.uint8]) -> Sent | None:
    """Bytes, from where they lie if that is a block; None: there is no room for them."""
    blocks = _blocks()
    if blocks is None:
        return None
    sent = blocks.send(data.ctypes.data, data.nbytes)
    if sent is None:
        memory = _take(data.nbytes)
        if memory is None:
            return None
        place = np.frombuffer(memory, np.uint8)
        place[...] = data
        return blocks.send(place.ctypes.data, place.nbytes)
    _planes.note_sent(data.ctypes.data)
    return sent


def _bytes_of(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    flat = tensor.reshape(-1)
    # One number, or none, may have any stride, and is contiguous nevertheless.
    if flat.stride(0) != 1:
        flat = flat.clone(memory_format=torch.contiguous_format)
    # By way of uint8: numpy has no bfloat16.
    data: npt.NDArray[np.uint8] = flat.view(torch.uint8).numpy()
    return data


def _restore_small(data: bytearray, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    # torch makes no tensor of an empty buffer.
    return torch.frombuffer(data, dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


def _reduce_array(array: npt.NDArray[Any]) -> tuple[Any, ...]:
    is_plain = array.dtype.isbuiltin == 1 and not array.dtype.hasobject and array.flags.c_contiguous
    sent = _send(array.reshape(-1).view(np.uint8)) if is_plain and array.nbytes >= RECYCLED_LEAST_BYTES else None
    if sent is None:
        return cast("tuple[Any, ...]", array.__reduce__())
    return _restore_array, (sent, array.shape, array.dtype)


def _reduce_view(view: memoryview) -> Reduced:
    """What `Fetched.data` mostly is; where it has arrived it is bytes. Others cannot be pickled, here as anywhere."""
    if view.format != "B" or view.ndim != 1:
        raise TypeError(f"cannot pickle a memoryview of format {view.format!r} with {view.ndim} dimensions")
    return bytes, (bytes(view),)


def _restore_array(sent: Sent, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.frombuffer(receive(sent), dtype).reshape(shape)


def _restore_tensor(sent: Sent, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(receive(sent), dtype=dtype).reshape(shape)


def _reduce_masks(masks: BitmapMasks) -> Reduced:
    state = dict(vars(masks))
    bitmaps = state["masks"]
    if bitmaps.nbytes >= SHARED_BYTES:
        state["masks"] = to_tensor(bitmaps)
    return _restore_masks, (state,)


def _restore_masks(state: dict[str, Any]) -> BitmapMasks:
    # Not by the constructor, which would copy them.
    masks = BitmapMasks.__new__(BitmapMasks)
    bitmaps = state["masks"]
    vars(masks).update(state, masks=bitmaps.numpy() if isinstance(bitmaps, torch.Tensor) else bitmaps)
    return masks
