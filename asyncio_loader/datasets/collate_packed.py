"""Samples of a pipeline of mmdet 3.x → a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncio_loader.records import Sample

__all__ = ["collate_packed", "is_packed"]


def is_packed(sample: Any) -> bool:
    """Whether a sample is what `PackDetInputs` makes."""
    return isinstance(sample, dict) and "data_samples" in sample


def collate_packed(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """Batch samples as mmengine's `pseudo_collate` does: lists, nothing is padded, stacked or copied.

    Args:
        samples: what `PackDetInputs` gives, at least one; all with the same keys.

    Returns:
        `inputs`, a list of images (c, h, w), each of its own size; `data_samples`, a list of what is known of them.
        mmdet's `DetDataPreprocessor` normalizes, pads and stacks them on the device.

    Raises:
        KeyError: a sample lacks what the first one has.
    """
    return {key: [sample[key] for sample in samples] for key in samples[0]}
