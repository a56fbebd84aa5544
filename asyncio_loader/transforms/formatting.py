"""Where numpy becomes torch: the last steps of a pipeline. The only module of the transforms that imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from asyncio_loader.records import Sample
from asyncio_loader.transforms.arrays import new_planes
from asyncio_loader.transforms.late import LateImage, may_be_late
from asyncio_loader.transforms.registry import TRANSFORMS
from asyncio_loader.transforms.scaling import is_planar

__all__ = ["Collect", "DataContainer", "DefaultFormatBundle", "ImageToTensor", "to_chw_tensor", "to_tensor"]

_SPLIT_DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32, np.float64)


def to_tensor(value: Any) -> torch.Tensor:
    """An array, a sequence or a number as a tensor of the same dtype; an array's memory is shared where it may be.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        # torch warns of memory that it may not write to.
        return torch.from_numpy(value if value.flags.writeable else value.copy())
    if isinstance(value, int | float) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return torch.tensor(value)
    raise TypeError(f"cannot make a tensor of a {type(value).__name__}")


def to_chw_tensor(image: npt.NDArray[Any]) -> torch.Tensor:
    """(h, w, c) or (h, w) → a contiguous (c, h, w) tensor of the same dtype.

    It has memory of its own, unless the image lies there plane by plane already: then it shares that. OpenCV takes
    channels apart in half the time that torch or numpy need for the transposed copy.
    """
    if is_planar(image) and image.flags.writeable:
        return torch.from_numpy(image.transpose(2, 0, 1))
    if image.ndim == 2 or image.shape[2] == 1:
        return torch.from_numpy(image.reshape(1, *image.shape[:2]).copy())
    if image.dtype.type not in _SPLIT_DTYPES:
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    planes = new_planes((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image, list(planes))
    return torch.from_numpy(planes)


class DataContainer:
    """A value with a note for `collate` on how to batch it, as in mmcv 1.x (`mmcv/parallel/data_container.py`).

    Attributes:
        data: the value; a late image becomes a tensor when it is asked for.
        stack: pad to the largest and stack into one tensor, instead of a list.
        padding_value: what to pad with.
        cpu_only: not for a device: kept as it is, in lists.
        pad_dims: how many of the last dimensions to pad, 1 to 3; None: they are all of one size.
    """

    __slots__ = ("_cpu_only", "_data", "_pad_dims", "_padding_value", "_stack")

    def __init__(
        self,
        data: Any,
        stack: bool = False,
        padding_value: float = 0,
        cpu_only: bool = False,
        pad_dims: int | None = 2,
    ) -> None:
        if pad_dims not in (None, 1, 2, 3):
            raise ValueError(f"pad_dims must be None, 1, 2 or 3, not {pad_dims!r}")
        self._data, self._stack, self._padding_value = data, stack, padding_value
        self._cpu_only, self._pad_dims = cpu_only, pad_dims

    @property
    def data(self) -> Any:
        data = self._data
        if isinstance(data, LateImage):
            tensor = torch.from_numpy(data.array())
            # Another thread may have asked, too: the first one's is everybody's.
            if self._data is data:
                self._data = tensor
            data = self._data
        return data

    @property
    def late(self) -> LateImage | None:
        """The value, if it is a late image that nobody has asked for yet; else None."""
        data = self._data
        return data if isinstance(data, LateImage) else None

    @property
    def stack(self) -> bool:
        return self._stack

    @property
    def padding_value(self) -> float:
        return self._padding_value

    @property
    def cpu_only(self) -> bool:
        return self._cpu_only

    @property
    def pad_dims(self) -> int | None:
        return self._pad_dims

    @property
    def datatype(self) -> type | str:
        """Type of the data; for a tensor its name with dtype and device, like ``torch.FloatTensor``."""
        data = self.data
        return data.type() if isinstance(data, torch.Tensor) else type(data)

    def size(self, *args: Any, **kwargs: Any) -> Any:
        """The tensor's `size()`."""
        return self.data.size(*args, **kwargs)

    def dim(self) -> int:
        """The tensor's `dim()`."""
        dimensions: int = self.data.dim()
        return dimensions

    def pin_memory(self) -> DataContainer:
        """One with the same notes whose tensors, also those in lists, are copied to page-locked memory.

        `DataLoader(pin_memory=True)` calls it. What is for the host alone stays as it is. torch keeps
        page-locked memory, and uses it again as soon as the copies from it to a device are done.
        """
        data = self.data if self._cpu_only else _pin(self.data)
        return DataContainer(data, self._stack, self._padding_value, self._cpu_only, self._pad_dims)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"DataContainer({self.data!r})"

    def __getstate__(self) -> object:
        # What is still to be written does not leave the process so.
        self._data = self.data
        return super().__getstate__()


def _pin(data: Any) -> Any:
    if isinstance(data, torch.Tensor):
        return data.pin_memory()
    return [_pin(part) for part in data] if isinstance(data, list) else data


@TRANSFORMS.register
@dataclass(eq=False)
class ImageToTensor:
    """Turn images into plain tensors (c, h, w), dtype kept.

    Attributes:
        keys: which entries of the sample.
    """

    keys: Sequence[str]

    def __call__(self, results: Sample) -> Sample:
        """Convert the images."""
        for key in self.keys:
            results[key] = to_chw_tensor(results[key])
        return results


def _pad_values() -> dict[str, Any]:
    return {"img": 0, "masks": 0, "seg": 255}


@TRANSFORMS.register
@dataclass(eq=False)
class DefaultFormatBundle:
    """Turn what a detector takes into tensors in `DataContainer`s.

    `img` (c, h, w), stacked; `proposals`, `gt_bboxes`, `gt_bboxes_ignore`, `gt_labels` lists of tensors; `gt_masks`
    as they are; `gt_semantic_seg` (1, h, w), stacked. Sets `pad_shape`, `scale_factor` (1.0) and `img_norm_cfg` (of no
    effect) where no transform has. The image may be a late one, and becomes one where it may (`transforms.late`).

    Attributes:
        img_to_float: make a uint8 image float32, with the same values.
        pad_val: padding values for ``img``, ``masks`` and ``seg`` in a batch.
    """

    img_to_float: bool = True
    pad_val: Mapping[str, Any] = field(default_factory=_pad_values)

    def __call__(self, results: Sample) -> Sample:
        """Format the sample."""
        pad_values = {**_pad_values(), **self.pad_val}
        if "img" in results:
            image, shape = self._as_chw(results["img"])
            _set_default_metas(results, shape)
            results["img"] = DataContainer(image, padding_value=pad_values["img"], stack=True)
        for key in ("proposals", "gt_bboxes", "gt_bboxes_ignore", "gt_labels"):
            if key in results:
                results[key] = DataContainer(to_tensor(results[key]))
        if "gt_masks" in results:
            results["gt_masks"] = DataContainer(results["gt_masks"], padding_value=pad_values["masks"], cpu_only=True)
        if "gt_semantic_seg" in results:
            semantic = to_tensor(results["gt_semantic_seg"][None, ...])
            results["gt_semantic_seg"] = DataContainer(semantic, padding_value=pad_values["seg"], stack=True)
        return results

    def _as_chw(self, image: npt.NDArray[Any] | LateImage) -> tuple[torch.Tensor | LateImage, tuple[int, ...]]:
        """The image for the container, and its shape (h, w, c) or (h, w) as it came."""
        if isinstance(image, LateImage):
            channels, height, width = image.shape
            return image, (height, width, channels)
        tensor = to_chw_tensor(image)
        if self.img_to_float and tensor.dtype == torch.uint8:
            tensor = tensor.float()
        return LateImage.of(tensor.numpy()) if may_be_late() else tensor, image.shape


def _set_default_metas(results: Sample, shape: tuple[int, ...]) -> None:
    results.setdefault("pad_shape", shape)
    results.setdefault("scale_factor", 1.0)
    channels = 1 if len(shape) < 3 else shape[2]
    no_effect = {"mean": np.zeros(channels, np.float32), "std": np.ones(channels, np.float32), "to_rgb": False}
    results.setdefault("img_norm_cfg", no_effect)


_META_KEYS = (
    "filename",
    "ori_filename",
    "ori_shape",
    "img_shape",
    "pad_shape",
    "scale_factor",
    "flip",
    "flip_direction",
    "img_norm_cfg",
)


@TRANSFORMS.register
@dataclass(eq=False)
class Collect:
    """Keep what the model needs, and the facts about the image in one dict, `img_metas`, which comes first.

    Attributes:
        keys: entries of the sample to keep, in this order.
        meta_keys: entries for `img_metas`.
    """

    keys: Sequence[str]
    meta_keys: Sequence[str] = _META_KEYS

    def __call__(self, results: Sample) -> Sample:
        """A new sample of the chosen entries.

        Raises:
            KeyError: one of them is missing.
        """
        for key in (*self.meta_keys, *self.keys):
            if key not in results:
                hint = "; LoadAnnotations(…) makes it" if key.startswith("gt_") else ""
                raise KeyError(f"no {key!r} in the sample, only {', '.join(map(str, results))}{hint}")
        metas = {key: results[key] for key in self.meta_keys}
        return {"img_metas": DataContainer(metas, cpu_only=True), **{key: results[key] for key in self.keys}}
