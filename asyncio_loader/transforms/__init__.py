"""What a pipeline is made of: transforms of mmdet 2.x and 3.x, and a registry for one's own."""

from __future__ import annotations

# Importing a module registers its transforms.
from asyncio_loader.transforms import formatting, geometric, loading, multiscale, packing, photometric, tta
from asyncio_loader.transforms.base import Compose
from asyncio_loader.transforms.registry import TRANSFORMS

__all__ = [
    "TRANSFORMS",
    "Compose",
    "formatting",
    "geometric",
    "loading",
    "multiscale",
    "packing",
    "photometric",
    "tta",
]
