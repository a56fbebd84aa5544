"""`model.data_preprocessor`: what a pipeline may leave to the device, as mmdet 3.x does.

A uint8 image is a quarter of a float32 one, on its way from the thread that made it and to the device; and there
normalizing it is next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.dialect import dialect_of
from asyncio_loader.training.sections import Section

__all__ = ["ImagePreprocessor", "build_preprocessor", "check_normalized_once"]


class ImagePreprocessor(BaseDataPreprocessor):  # type: ignore[misc]
    """Makes a float32 batch of images on the device that the model is on: mmdet 3.3's `DetDataPreprocessor`.

    mmengine calls it with each batch of `collate_detection` before the model. It has no parameters and nothing to save.

    Args:
        mean: of each of three channels, as they are after the swap; None: they are not normalized.
        std: likewise, to divide by.
        swaps_channels: BGR to RGB, or back.
        pad_size_divisor: height and width of a batch are multiples of it.
        pad_value: of what is added at the right and the bottom, after normalization.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        swaps_channels: bool = False,
        pad_size_divisor: int = 1,
        pad_value: float = 0.0,
    ) -> None:
        super().__init__()
        self.normalizes = mean is not None and std is not None
        # Not part of a checkpoint: they are the config's to say.
        self.register_buffer("mean", torch.tensor(mean or (0.0,)).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std or (1.0,)).view(-1, 1, 1), persistent=False)
        self._swaps_channels = swaps_channels
        self._pad_size_divisor = pad_size_divisor
        self._pad_value = pad_value

    def forward(self, data: tuple[Sequence[Tensor], Any], training: bool = False) -> tuple[Tensor, Any]:
        """A batch of `collate_detection` with its images as one tensor (b, 3, h, w) float32, all on the device."""
        images, targets = self.cast_data(data)
        return self.stack(images), targets

    def stack(self, images: Sequence[Tensor]) -> Tensor:
        """(b, 3, h, w) float32 of images (3, h, w) of any dtype and size, at least one, on its device."""
        ready = [self._normalized(image) for image in images]
        divisor = self._pad_size_divisor
        height, width = (-(-max(image.shape[axis] for image in ready) // divisor) * divisor for axis in (1, 2))
        batch = ready[0].new_full((len(ready), ready[0].shape[0], height, width), self._pad_value)
        for place, image in zip(batch, ready, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        return batch

    def _normalized(self, image: Tensor) -> Tensor:
        if self._swaps_channels:
            # While they are bytes, if they are.
            image = image[[2, 1, 0]]
        image = image.float()
        return (image - self.mean) / self.std if self.normalizes else image


def build_preprocessor(section: Section) -> ImagePreprocessor:
    """The `data_preprocessor` of a model.

    Raises:
        ConfigError: a key or value that cannot be had; names its dotted path.
    """
    with section:
        section.choice("type", ["DetDataPreprocessor"])
        mean = section.numbers("mean", length=3) if section.has("mean") else None
        std = section.numbers("std", length=3) if section.has("std") else None
        if (mean is None) != (std is None):
            raise section.error("mean" if std is None else "std", "needs the other one of mean and std beside it")
        if std is not None and not all(std):
            raise section.error("std", "must not be 0 anywhere")
        swaps = section.flag("bgr_to_rgb", False), section.flag("rgb_to_bgr", False)
        if all(swaps):
            raise section.error("bgr_to_rgb", "and rgb_to_bgr=True cancel each other: leave both out")
        divisor = section.count("pad_size_divisor", 1, least=1)
        pad_value = section.number("pad_value", 0.0, least=float("-inf"))
        section.fixed("batches stay as the data set makes them", batch_augments=None)
        # This model has boxes alone: how masks and semantic maps would be padded; and mmdet's own class of boxes.
        section.ignore("pad_mask", "mask_pad_value", "pad_seg", "seg_pad_value", "boxtype2tensor", "non_blocking")
    return ImagePreprocessor(mean, std, swaps_channels=any(swaps), pad_size_divisor=divisor, pad_value=pad_value)


def check_normalized_once(config: Mapping[str, Any], preprocessor: object) -> None:
    """Refuse a config whose images would be normalized by a pipeline and by the model again.

    Raises:
        ConfigError: so it is; names both places.
    """
    if not (isinstance(preprocessor, ImagePreprocessor) and preprocessor.normalizes):
        return
    dialect = dialect_of(config)
    for split in ("train", "val", "test"):
        pipeline = dialect.find_data_set(config, split).get("pipeline") or ()
        if "Normalize" in _types(pipeline):
            raise ConfigError(
                f"{dialect.data_set(split)}.pipeline has a Normalize, and model.data_preprocessor normalizes, too "
                "(mean, std): leave one of them out"
            )


def _types(entries: Any) -> Iterator[str]:
    """The names of transforms, those inside of others (`MultiScaleFlipAug`) included."""
    if isinstance(entries, list | tuple):
        for entry in entries:
            yield from _types(entry)
    elif isinstance(entries, Mapping):
        kind = entries.get("type")
        yield kind if isinstance(kind, str) else getattr(kind, "__name__", "")
        for value in entries.values():
            yield from _types(value)
