"""Samples → a batch: for OpenMMLab's models, and for torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info

from asyncio_loader.datasets.collate_packed import is_packed
from asyncio_loader.datasets.hand_over import new_shared, share_masks
from asyncio_loader.datasets.pinned import new_pinned_stack
from asyncio_loader.datasets.stacks import new_stack, write_stack, written_stack
from asyncio_loader.datasets.unpacking import unpack
from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.formatting import DataContainer, to_tensor
from asyncio_loader.transforms.late import LateImage

__all__ = ["collate", "collate_detection", "stack_size_of"]

share_masks()

_TARGET_KEYS = {"gt_bboxes": "boxes", "gt_labels": "labels", "gt_bboxes_ignore": "boxes_ignore", "gt_masks": "masks"}


def collate(batch: Sequence[Any], samples_per_gpu: int = 1) -> Any:
    """Batch samples as mmcv 1.x does (`mmcv/parallel/collate.py`).

    Dicts and sequences are batched entry by entry. A `DataContainer` becomes one whose data is a list with an item per
    device: a tensor (b, c, h, w), padded at the right and the bottom to the largest, if it says `stack`; else a list of
    what the samples have. Anything else goes to torch's `default_collate`. A stack of one is no copy: it has the memory
    of the sample's tensor. In a DataLoader's worker a stack of several is written to shared memory at once, elsewhere
    to that of an earlier stack of which nothing is left, or to page-locked memory (`Loader(device=…)`). An image that
    is still to be written (`transforms.late`) is written there; a `Loader`'s threads have done so already.

    Args:
        batch: samples, at least one; the last device gets what is left.
        samples_per_gpu: samples per device.

    Raises:
        TypeError: `batch` is no sequence.
        ValueError: tensors to be stacked differ in more than the dimensions that may be padded.
    """
    if not isinstance(batch, Sequence):
        raise TypeError(f"a batch is a list of samples, not a {type(batch).__name__}")
    return _collate(batch, samples_per_gpu)


def _collate(batch: Sequence[Any], samples_per_gpu: int) -> Any:
    first = batch[0]
    if isinstance(first, DataContainer):
        return _collate_containers(batch, first, samples_per_gpu)
    if isinstance(first, Mapping):
        return {key: _collate([sample[key] for sample in batch], samples_per_gpu) for key in first}
    if isinstance(first, Sequence) and not isinstance(first, str | bytes):
        return [_collate(samples, samples_per_gpu) for samples in zip(*batch, strict=True)]
    return default_collate(list(batch))


def stack_size_of(way: Callable[..., Any], batch_size: int) -> int:
    """How many images `collate` stacks to one tensor of a batch: 1 where `way` is not that, or nothing is stacked."""
    arguments: dict[str, Any] = {}
    while isinstance(way, partial):
        if way.args:
            return 1
        arguments = way.keywords | arguments
        way = way.func
    size = arguments.get("samples_per_gpu", 1)
    return min(batch_size, size) if way is collate and isinstance(size, int) else 1


def _collate_containers(batch: Sequence[DataContainer], first: DataContainer, samples_per_gpu: int) -> DataContainer:
    parts = [batch[start : start + samples_per_gpu] for start in range(0, len(batch), samples_per_gpu)]
    if first.stack and not first.cpu_only:
        stacks = [_stack(part, first) for part in parts]
        return DataContainer(stacks, True, first.padding_value)
    values = [[container.data for container in part] for part in parts]
    return DataContainer(values, first.stack, first.padding_value, first.cpu_only)


def _stack(containers: Sequence[DataContainer], first: DataContainer) -> torch.Tensor:
    if len(containers) == 1:
        # As it is: a copy would take as long as a third of the pipeline.
        return containers[0].data.contiguous().unsqueeze(0)  # type: ignore[no-any-return]
    images = _late_images(containers)
    if images is not None:
        stacked = written_stack(images)
        if stacked is None:
            stacked = write_stack(images, first.padding_value, _new_stack)
        if stacked is not None:
            return stacked
    return _copy([container.data for container in containers], first)


def _late_images(containers: Sequence[DataContainer]) -> list[LateImage] | None:
    """All of them as late images, where some are; else None."""
    images = [container.late for container in containers]
    if not any(images):
        return None
    for at, container in enumerate(containers):
        if images[at] is None:
            tensor = container.data
            # What a stack needs: more than that is `_copy`'s.
            if container.pad_dims != 2 or not isinstance(tensor, torch.Tensor) or tensor.dim() != 3:
                return None
            (array,) = _as_arrays([tensor])
            if isinstance(array, torch.Tensor):
                return None
            images[at] = LateImage.of(array)
    return [image for image in images if image is not None]


def _copy(tensors: Sequence[torch.Tensor], first: DataContainer) -> torch.Tensor:
    pad_dims = first.pad_dims or 0
    fixed = {tuple(tensor.shape[: tensor.dim() - pad_dims]) for tensor in tensors}
    if len(fixed) != 1:
        raise ValueError(f"cannot stack tensors of shapes {', '.join(str(tuple(t.shape)) for t in tensors)}")
    # Copied into one: padding each tensor first would copy it twice.
    largest = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    images = _as_arrays(tensors)
    places: Any
    if isinstance(images[0], torch.Tensor):
        stacked = places = tensors[0].new_empty((len(tensors), *largest))
    else:
        stacked = _new_stack((len(tensors), *largest), tensors[0].dtype)
        places = stacked.numpy()
    for place, image in zip(places, images, strict=True):
        if place.shape != image.shape:
            place[...] = first.padding_value
        place[tuple(slice(size) for size in image.shape)] = image
    return stacked


def _new_stack(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor for the host with anything in it."""
    pinned = new_pinned_stack(shape, dtype)
    if pinned is not None:
        return pinned
    if get_worker_info() is None or 0 in shape:
        return new_stack(shape, dtype)
    recycled = new_shared(tuple(shape), dtype)
    if recycled is not None:
        return recycled
    # Where the DataLoader would copy it to, to hand it to the parent.
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)  # type: ignore[no-untyped-call]
    strides = [math.prod(shape[dimension + 1 :]) for dimension in range(len(shape))]
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape, strides)


def _as_arrays(tensors: Sequence[torch.Tensor]) -> Sequence[Any]:
    """The same memory for numpy, which copies in the thread that calls; the tensors if it cannot take all of them.

    torch would share each copy with a pool of its own. Its threads wait for the next one by spinning, on the cores that
    decode: on two of them an 800×1088 float32 image took 14 ms of CPU time from pixels to batch, with numpy 4.
    """
    try:
        return [tensor.detach().numpy() for tensor in tensors]
    except (TypeError, RuntimeError):  # on a device, or of a dtype that numpy has not
        return tensors


def collate_detection(
    samples: Sequence[Sample], *, as_float: bool = True
) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    """Batch samples as torchvision's detection models take them.

    Args:
        samples: what a train pipeline (`Collect`) or a test pipeline (`MultiScaleFlipAug`) gives, or in the dialect of
            3.x `PackDetInputs`; see `unpack` for the names that the latter's entries get.
        as_float: False: images keep the dtype that the pipeline gave them, uint8 if it does not normalize, for who does
            that on the device.

    Returns:
        The images, (c, h, w) float32 each unless `as_float` is False, as large as the pipeline made them. And a dict
        for each: `boxes` (n, 4) float32, x1, y1, x2, y2 in pixels of the image, as the pipeline left them, (0, 4) where
        there are none; `labels` (n,) int64, the dialect's label + 1, since torchvision's 0 is the background;
        `boxes_ignore` (k, 4); `masks` (n, h, w) uint8; `is_padding`, True for a sample that a metric drops, because
        another rank has it, too; whatever `img_metas` holds, under its own name; and any further entry of the sample.
        What a sample does not have, as a test sample has no boxes, its dict does not have.

    Raises:
        ConfigError: a sample has no image, was not gathered by `Collect`, or comes from a test pipeline with more than
            one scale or flip.
    """
    targets = [_target(sample, as_float=as_float) for sample in samples]
    images = [target.pop("img") for target in targets]
    return images, targets


def _target(sample: Sample, *, as_float: bool) -> dict[str, Any]:
    if is_packed(sample):
        target = unpack(sample)
        target["img"] = target["img"].float() if as_float else target["img"]
        return {**target, "is_padding": target.get("is_padding", False)}
    if "img" not in sample:
        raise ConfigError(f"collate_detection needs 'img' in a sample, which has only {', '.join(map(repr, sample))}")
    if "img_fields" in sample:
        raise ConfigError(
            "collate_detection needs what Collect gathers: end the pipeline with DefaultFormatBundle and "
            "Collect(keys=['img', 'gt_bboxes', 'gt_labels'])"
        )
    target = {}
    for key, wrapped in sample.items():
        value = _unwrap(wrapped, key)
        if key == "img":
            image = to_tensor(value)
            target["img"] = image.float() if as_float else image
        elif key == "img_metas":
            target.update(value)
        else:
            target[_TARGET_KEYS.get(key, key)] = _convert(key, value)
    target.setdefault("is_padding", False)
    return target


def _unwrap(value: Any, key: str) -> Any:
    if isinstance(value, list):
        if len(value) != 1:
            raise ConfigError(
                f"collate_detection takes one look at each image, but {key!r} has {len(value)}: "
                "give MultiScaleFlipAug one scale and flip=False"
            )
        value = value[0]
    return value.data if isinstance(value, DataContainer) else value


def _convert(key: str, value: Any) -> Any:
    if key in ("gt_bboxes", "gt_bboxes_ignore"):
        return to_tensor(value).float().reshape(-1, 4)
    if key == "gt_labels":
        return to_tensor(value).long() + 1
    if key == "gt_masks":
        return to_tensor(value.to_ndarray())
    return value
