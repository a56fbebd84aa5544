"""A value becomes a file of `torch.save`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import torch

__all__ = ["save_checkpoint", "tensor_bytes"]


def save_checkpoint(value: Any, file: BinaryIO) -> None:
    """`torch.save` in a stream, which raises what writing the file raised.

    torch finishes its archive even after a failed write, and fails at that with a RuntimeError of its C++ code.
    """
    try:
        torch.save(value, file)
    except RuntimeError as error:
        if error.__context__ is not None:
            raise error.__context__ from None
        raise


def tensor_bytes(value: Any) -> int:
    """Bytes of all tensors in dicts, lists and tuples: about what `save_checkpoint` writes, which is never less.

    Tensors that share memory count once, as torch writes them.
    """
    storages: dict[int, int] = {}
    left = [value]
    while left:
        found = left.pop()
        if isinstance(found, torch.Tensor):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(found, Mapping):
            left.extend(found.values())
        elif isinstance(found, list | tuple):
            left.extend(found)
    return sum(storages.values())
