"""Pictures made up on the spot: a small COCO data set that a detector learns in minutes, and JPEGs of a wanted size."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.drawing import SHAPES, Shape, draw_shape, draw_texture, place_shapes

__all__ = ["synthetic_jpegs", "write_synthetic_coco"]

Image: TypeAlias = npt.NDArray[np.uint8]

# How far apart the sizes of `synthetic_jpegs` lie, as a share of their mean: photographs are no closer.
_SIZE_SPREAD = 0.3
_BISECTIONS = 10
_STRONGEST_NOISE = 128.0


def write_synthetic_coco(
    directory: str | os.PathLike[str],
    *,
    images: int = 100,
    val_images: int = 20,
    size: int | tuple[int, int] = (160, 160),
    mixed_sizes: bool = False,
    classes: int = 3,
    objects_per_image: tuple[int, int] = (1, 4),
    quality: int = 90,
    seed: int = 0,
) -> Path:
    """Write a data set in COCO's layout: shapes of any colour, size and rotation on a texture.

    ``annotations/instances_{train,val}2017.json`` with boxes (tight, xywh), polygons and areas, ``train2017/*.jpg``
    and ``val2017/*.jpg``. Category ids are 1, 2, …; the categories are circle, square and triangle.

    Args:
        directory: made where it does not exist. Files of the same names are replaced.
        images: number of training images.
        val_images: number of validation images.
        size: width and height in pixels; one number for a square.
        mixed_sizes: let every other image stand upright (width and height swapped), and every side shrink by up to a
            quarter, so that batches have to be padded and grouped.
        classes: 1 to 3.
        objects_per_image: least and most objects in an image. On a crowded image there may be fewer: they overlap
            by little.
        quality: of the JPEGs.
        seed: equal arguments give equal files, with the same versions of numpy and OpenCV.

    Returns:
        The directory.

    Raises:
        ConfigError: an argument is out of range.
    """
    spec = _Spec(_as_size(size), mixed_sizes, classes, objects_per_image, quality, seed)
    root = Path(directory)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, (name, count) in enumerate((("train2017", images), ("val2017", val_images))):
        (root / name).mkdir(exist_ok=True)
        document = _write_split(root / name, spec, split, count)
        (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def synthetic_jpegs(
    count: int,
    *,
    mean_bytes: int = 115_000,
    size: tuple[int, int] = (640, 480),
    distinct: int = 16,
    quality: int = 90,
    seed: int = 0,
) -> Iterator[bytes]:
    """Yield JPEGs whose sizes lie within 30 % around a mean and average it.

    Args:
        count: how many.
        mean_bytes: mean size. What the size of the picture cannot give (a blank or pure noise) is a `ConfigError`.
        size: width and height in pixels.
        distinct: how many different ones there are; these come again and again, as the same objects.
        quality: of the JPEGs.
        seed: equal arguments give equal bytes, with the same versions of numpy and OpenCV.
    """
    distinct = max(1, min(distinct, count))
    shares = np.linspace(1 - _SIZE_SPREAD, 1 + _SIZE_SPREAD, distinct) if distinct > 1 else np.ones(1)
    rng = np.random.default_rng(seed)
    rng.shuffle(shares)
    made: list[bytes] = []
    for number in range(count):
        if number < distinct:
            made.append(_make_jpeg(rng, size, int(mean_bytes * shares[number]), quality))
        yield made[number % distinct]


@dataclass(frozen=True, slots=True)
class _Spec:
    size: tuple[int, int]
    mixed_sizes: bool
    classes: int
    objects_per_image: tuple[int, int]
    quality: int
    seed: int

    def __post_init__(self) -> None:
        least, most = self.objects_per_image
        if not 1 <= self.classes <= len(SHAPES):
            raise ConfigError(f"write_synthetic_coco: classes must lie in 1 to {len(SHAPES)}, not {self.classes!r}")
        if min(self.size) < 32:
            raise ConfigError(f"write_synthetic_coco: size must be at least 32 × 32 pixels, not {self.size!r}")
        if not 0 <= least <= most:
            raise ConfigError(f"write_synthetic_coco: objects_per_image must be (least, most), not {least, most!r}")


def _write_split(directory: Path, spec: _Spec, split: int, count: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        # One generator per image: the first 10 of 100 images are those of a set of 10.
        rng = np.random.default_rng((spec.seed, split, number))
        width, height = _choose_size(rng, spec, number)
        picture, shapes = _draw_scene(rng, spec, width, height)
        file_name = f"{number + 1:012d}.jpg"
        (directory / file_name).write_bytes(_encode(picture, spec.quality))
        images.append({"id": number + 1, "file_name": file_name, "width": width, "height": height})
        for shape in shapes:
            annotations.append(_annotate(shape, len(annotations) + 1, number + 1))
    categories = [
        {"id": 1 + i, "name": name, "supercategory": "shape"} for i, name in enumerate(SHAPES[: spec.classes])
    ]
    info = {"description": f"synthetic shapes, seed {spec.seed}", "version": "1"}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}


def _choose_size(rng: np.random.Generator, spec: _Spec, number: int) -> tuple[int, int]:
    width, height = spec.size
    if not spec.mixed_sizes:
        return width, height
    width, height = (round(side * rng.uniform(0.75, 1.0)) for side in (width, height))
    return (height, width) if number % 2 else (width, height)


def _draw_scene(rng: np.random.Generator, spec: _Spec, width: int, height: int) -> tuple[Image, list[Shape]]:
    picture = draw_texture(rng, width, height, grain=rng.uniform(2, 12))
    least, most = spec.objects_per_image
    shapes = place_shapes(rng, width, height, classes=spec.classes, count=int(rng.integers(least, most + 1)))
    for shape in shapes:
        draw_shape(rng, picture, shape)
    return picture, shapes


def _annotate(shape: Shape, annotation_id: int, image_id: int) -> dict[str, Any]:
    left, top = shape.outline.min(axis=0).tolist()
    right, bottom = shape.outline.max(axis=0).tolist()
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": shape.label + 1,
        "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
        "area": round(shape.area, 2),
        "iscrowd": 0,
        "segmentation": [[round(value, 2) for value in shape.outline.ravel().tolist()]],
    }


def _make_jpeg(rng: np.random.Generator, size: tuple[int, int], wanted_bytes: int, quality: int) -> bytes:
    """More noise, more bytes: the amount that gives the wanted size is found by bisection."""
    width, height = size
    base = draw_texture(rng, width, height, grain=0)
    for shape in place_shapes(rng, width, height, classes=len(SHAPES), count=6):
        draw_shape(rng, base, shape)
    noise = rng.standard_normal((height, width, 1)).astype(np.float32)

    def encode(strength: float) -> bytes:
        return _encode(np.clip(base + strength * noise, 0, 255).astype(np.uint8), quality)

    low, high = 0.0, _STRONGEST_NOISE
    least, most = len(encode(low)), len(encode(high))
    if not least <= wanted_bytes <= most:
        possible = f"{width} × {height} pixels at {quality=} take {least} to {most}"
        raise ConfigError(f"synthetic_jpegs: cannot make a JPEG of {wanted_bytes} bytes: {possible}")
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if len(encode(middle)) < wanted_bytes else (low, middle)
    return encode(high)


def _encode(picture: Image, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ConfigError(f"synthetic: OpenCV could not encode a picture of shape {picture.shape} at {quality=}")
    return bytes(data)


def _as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
