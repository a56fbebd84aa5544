"""Neighbours in a pipeline that are run as one: the image is written once, to where the batch takes it from.

One by one, `RandomFlip`, `Normalize` and `Pad` write the image three times, twice of it in float32. In one, a flipped
uint8 copy is taken apart into planes, and a table of 256 values per channel writes each plane into an array that has
the padding already. That array is the (c, h, w) tensor which `DefaultFormatBundle` or `ImageToTensor` behind them
makes without a copy. Where a `DefaultFormatBundle` is one of the run, and whoever makes the batch has said so, the
tables are left to that one, who knows the place in the batch (`late`). All is done by a dozen calls of OpenCV and
numpy, the long ones of which release the GIL.

Only the image takes this way. Boxes, masks, semantic maps and all notes in the sample are the plain transforms' work,
which run on a sample that names no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.records import Sample
from asyncio_loader.transforms.arrays import new_planes
from asyncio_loader.transforms.base import apply
from asyncio_loader.transforms.decoding import Pixels
from asyncio_loader.transforms.formatting import DefaultFormatBundle
from asyncio_loader.transforms.geometric import DIRECTIONS, Pad, RandomFlip
from asyncio_loader.transforms.late import LateImage, may_be_late
from asyncio_loader.transforms.photometric import Normalize
from asyncio_loader.transforms.registry import Transform
from asyncio_loader.transforms.scaling import flip_image
from asyncio_loader.transforms.three import is_3x

__all__ = ["Fused", "fuse"]

_ORDER = (RandomFlip, Normalize, Pad, DefaultFormatBundle)


def fuse(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    """The same transforms, with neighbours that can be fused put into a `Fused`.

    These are `Normalize` with a `RandomFlip` before it, a `Pad` behind it, and a `DefaultFormatBundle` behind that, or
    some of them. A subclass is left alone, since nobody knows what it does, and so is a `Pad` whose sizes or values are
    not plain numbers.
    """
    stages: list[Transform] = []
    rest = list(transforms)
    while rest:
        run = _run_at_start(rest)
        is_worth_it = len(run) > 1 and any(type(transform) is Normalize for transform in run)
        stages.append(Fused(run) if is_worth_it else rest[0])
        del rest[: len(run) if is_worth_it else 1]
    return tuple(stages)


def _run_at_start(transforms: Sequence[Transform]) -> list[Transform]:
    run: list[Transform] = []
    for kind in _ORDER:
        if len(run) < len(transforms) and _is_known(transforms[len(run)], kind):
            run.append(transforms[len(run)])
    return run


def _is_known(transform: Transform, kind: type) -> bool:
    if type(transform) is not kind:
        return False
    if not isinstance(transform, Pad):
        return True
    value = transform.values["img"]
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return all(isinstance(n, int | float) for n in numbers) and all(isinstance(n, int) for n in transform.size or ())


class Fused:
    """Transforms that are run as one on an image that is a uint8 array of two to four channels.

    Any other sample goes through the plain transforms one by one: one of mmdet 3.x, one with several images, with an
    image of floats or of one channel, or with something that a plain transform would refuse. What is in the sample
    afterwards and what is raised are the same on both ways. Threads may share it.

    Attributes:
        transforms: a `RandomFlip`, a `Normalize`, a `Pad` and a `DefaultFormatBundle`, in this order; all but the
            second may be missing.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)
        flip, normalize, pad, bundle = (next((t for t in transforms if type(t) is kind), None) for kind in _ORDER)
        if not isinstance(normalize, Normalize):
            raise TypeError(f"there is no Normalize in {transforms!r:.80}")
        self._normalize = normalize
        self._flip = flip if isinstance(flip, RandomFlip) else None
        self._pad = pad if isinstance(pad, Pad) else None
        # All planes at once: each call gives the GIL away, and has to wait for it afterwards.
        self._fill = None if self._pad is None else _as_column(self._pad.values["img"], len(normalize.mean))
        self._bundle = bundle

    def __call__(self, results: Sample) -> Sample | None:
        """Run the sample through.

        Raises:
            LoaderError: as from the plain transforms, under their names.
        """
        if self._takes(results):
            return self._run_fused(results)
        outcome: Sample | None = results
        for transform in self.transforms:
            if outcome is None:
                break
            outcome = apply(transform, outcome)
        return outcome

    def __repr__(self) -> str:
        lines = [f"    {line}" for transform in self.transforms for line in repr(transform).splitlines()]
        return "\n".join(["Fused(", *lines, ")"])

    def _takes(self, results: Sample) -> bool:
        image = results.get("img")
        return (
            # There the sizes after Pad and what RandomFlip notes are others.
            not is_3x(results)
            and results.get("img_fields", ["img"]) == ["img"]
            # Of a subclass nobody knows what an index or a copy of it gives.
            and type(image) is np.ndarray
            and image.dtype == np.uint8
            and image.ndim == 3
            and image.size > 0
            and image.shape[2] == len(self._normalize.mean) > 1
            and (self._flip is None or _has_known_direction(results))
        )

    def _run_fused(self, results: Sample) -> Sample | None:
        image = results["img"]
        fields = results.get("img_fields")
        # So the plain transforms do all that is to be done but for the image.
        results["img_fields"] = []
        try:
            image, shape = self._prepare(image, results)
        finally:
            if fields is None:
                del results["img_fields"]
            else:
                results["img_fields"] = fields
        before = self._normalize.take_apart(image)
        if self._bundle is not None and may_be_late():
            results["img"] = LateImage(shape, np.float32, before, self._write)
        else:
            planes = new_planes(shape, np.float32)
            self._write(before, planes)
            # As Normalize lays it out: (h, w, c) for whoever looks, and a tensor without a copy.
            results["img"] = planes.transpose(1, 2, 0)
        return results if self._bundle is None else apply(self._bundle, results)

    def _prepare(self, image: Pixels, results: Sample) -> tuple[Pixels, tuple[int, int, int]]:
        """All but the values: the flipped image, and the shape (c, h, w) of what is to be written."""
        if self._flip is not None:
            apply(self._flip, results)
            if results["flip"]:
                image = flip_image(image, results["flip_direction"])
        apply(self._normalize, results)
        height, width, channels = image.shape
        if self._pad is not None:
            fixed = self._pad.fixed_size(image)
            target = fixed or self._pad.multiple_of(image)
            height, width = max(target[0], height), max(target[1], width)
            results["pad_shape"] = height, width, channels
            results["pad_fixed_size"] = fixed
            results["pad_size_divisor"] = self._pad.size_divisor
            apply(self._pad, results)
        return image, (channels, height, width)

    def _write(self, before: npt.NDArray[np.uint8], planes: npt.NDArray[np.float32]) -> None:
        """The values, and the padding around them."""
        _, height, width = before.shape
        if self._fill is not None:
            planes[:, height:] = self._fill
            planes[:, :height, width:] = self._fill
        self._normalize.look_up(before, planes[:, :height, :width])


def _has_known_direction(results: Sample) -> bool:
    """Whether a flip that the sample asks for is one that there is; it is drawn where it asks for none."""
    if "flip_direction" not in results:
        # Set by hand without a direction, a flip is refused.
        return not results.get("flip")
    return ("flip" in results and not results["flip"]) or results["flip_direction"] in DIRECTIONS


def _as_column(value: Any, channels: int) -> npt.NDArray[np.float32]:
    """One number per channel, (c, 1, 1); a single one means the first channel alone, see `pad_image`."""
    given = list(value) if isinstance(value, list | tuple) else [value]
    fills = [*given, *[0] * channels][:channels]
    return np.array(fills, dtype=np.float64).astype(np.float32).reshape(channels, 1, 1)
