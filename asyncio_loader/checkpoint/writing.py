"""A value becomes a file of `torch.save`."""

from __future__ import annotations

from typing import Any, BinaryIO

import torch

__all__ = ["save_checkpoint"]


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
