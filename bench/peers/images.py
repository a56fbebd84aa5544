"""Bytes to pixels, the same way for every loader that lets us choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import simplejpeg

__all__ = ["decode", "decode_to_tensor"]


def decode(data: Any) -> np.ndarray[Any, Any]:
    """RGB, height × width × 3."""
    image: np.ndarray[Any, Any] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return image


def decode_to_tensor(data: Any) -> Any:
    """The same as a tensor, which crosses from a worker process in shared memory."""
    import torch

    return torch.from_numpy(decode(data))
