"""JPEGs of the size of COCO's, as a bucket has them and as a loader decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asyncio_loader.testing import synthetic_jpegs

__all__ = ["MEAN_BYTES", "decode", "decode_fetched", "jpeg_objects", "key_of"]

MEAN_BYTES = 115_000
# So many differ; the rest are the same again, which no loader notices.
_DISTINCT = 32


def jpeg_objects(images: int) -> Iterator[tuple[str, bytes]]:
    """Keys and bodies."""
    jpegs = synthetic_jpegs(images, mean_bytes=MEAN_BYTES, distinct=_DISTINCT)
    return ((key_of(number), jpeg) for number, jpeg in enumerate(jpegs))


def key_of(number: int) -> str:
    """The key of an image, from 0."""
    return f"train2017/{number:012d}.jpg"


def decode_fetched(fetched: Any) -> Any:
    """As `decode`, for a dataset of ours."""
    return decode(fetched.data)


def decode(data: Any) -> Any:
    """A uint8 RGB tensor (H, W, 3), which crosses from worker to parent in shared memory."""
    import simplejpeg
    import torch

    return torch.from_numpy(simplejpeg.decode_jpeg(data, colorspace="RGB"))
