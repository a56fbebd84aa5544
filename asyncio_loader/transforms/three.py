"""The forms of mmdet 3.x where they differ from those of 2.x: what is read, what is written, and how it is counted.

A sample of 3.x begins with `img_path` and `instances`, one of 2.x with `img_info` and `ann_info`. Transforms that have
one name in both are one class each, which asks `is_3x` and leaves a sample of 3.x to the functions here. The numbers
are those of mmdet 3.3 and mmcv 2.1. Boxes are float32 arrays (n, 4), x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asyncio_loader.errors import ConfigError
from asyncio_loader.records import Sample
from asyncio_loader.transforms.decoding import Pixels
from asyncio_loader.transforms.masks import BitmapMasks, Polygon, PolygonMasks, polygon_parts, rasterise
from asyncio_loader.transforms.scaling import flip_image, pad_image, resize_image, scaled_size

__all__ = [
    "as_client_args",
    "check_form",
    "flip",
    "is_3x",
    "load_boxes",
    "load_labels",
    "load_masks",
    "note_image",
    "pad",
    "resize",
    "size_by_factor",
]


def is_3x(results: Sample) -> bool:
    """Whether a sample speaks the dialect of mmdet 3.x."""
    return "img_path" in results


def check_form(transform: str, results: Sample, *, is_3x_form: bool, arguments: str) -> None:
    """Refuse a sample of one dialect to a transform that was given arguments of the other.

    Raises:
        ConfigError: so it is; the message names the arguments.
    """
    if is_3x(results) == is_3x_form:
        return
    of_transform, of_sample = ("3.x", "2.x") if is_3x_form else ("2.x", "3.x")
    raise ConfigError(
        f"{transform}: {arguments} of mmdet {of_transform} does not go with a sample of mmdet {of_sample}; "
        f"write the pipeline and the dataset in one dialect"
    )


def as_client_args(
    file_client_args: Mapping[str, Any] | None, backend_args: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The one of both that says how files are read; `local` is 3.x's name for `disk`.

    Raises:
        ConfigError: both say so, or one is no dict.
    """
    if backend_args is None:
        return file_client_args
    if not isinstance(backend_args, Mapping):
        raise ConfigError(f"backend_args must be a dict, not {backend_args!r:.80}")
    if file_client_args is not None and file_client_args != {"backend": "disk"}:
        raise ConfigError("file_client_args and backend_args both say how files are read: leave one out")
    if backend_args.get("backend", "local") == "local":
        return {**backend_args, "backend": "disk"}
    return backend_args


def note_image(results: Sample, img: Pixels) -> None:
    """Write `img`, and its (height, width) as `img_shape` and `ori_shape`."""
    results["img"] = img
    results["img_shape"] = results["ori_shape"] = img.shape[:2]


def load_boxes(results: Sample) -> None:
    """Write `gt_bboxes` (n, 4) float32 and `gt_ignore_flags` (n,) bool from `instances`, crowds among them."""
    instances = results.get("instances", [])
    results["gt_bboxes"] = np.array([each["bbox"] for each in instances], dtype=np.float32).reshape(-1, 4)
    _note_ignored(results, [each["ignore_flag"] for each in instances])


def load_labels(results: Sample) -> None:
    """Write `gt_bboxes_labels` (n,) int64 from `instances`."""
    labels = [each["bbox_label"] for each in results.get("instances", [])]
    results["gt_bboxes_labels"] = np.array(labels, dtype=np.int64)


def load_masks(results: Sample, *, as_bitmaps: bool) -> None:
    """Write `gt_masks`, as large as the image, and `gt_ignore_flags` anew.

    An object is flagged, and its mask is empty, if none of its polygons is well formed, if its run lengths are no such
    thing, or if they are there where polygons are asked for.

    Raises:
        KeyError: an object has no segmentation.
    """
    height, width = results["ori_shape"]
    instances = results.get("instances", [])
    shapes = [_usable(each["mask"], takes_runs=as_bitmaps) for each in instances]
    flags = [bool(each["ignore_flag"]) or shape is None for each, shape in zip(instances, shapes, strict=True)]
    _note_ignored(results, flags)
    # A point stands for the mask that cannot be drawn: it is where it is for whoever counts.
    parts = [[np.zeros(6)] if shape is None else shape for shape in shapes]
    results["gt_masks"] = (
        BitmapMasks([_drawn(shape, height, width) for shape in parts], height, width)
        if as_bitmaps
        else PolygonMasks(parts, height, width)
    )


def _note_ignored(results: Sample, flags: Sequence[Any]) -> None:
    results["gt_ignore_flags"] = np.array(flags, dtype=bool)


def _usable(segmentation: Any, *, takes_runs: bool) -> Any:
    """Well-formed polygons, or run lengths; None for anything else."""
    if isinstance(segmentation, list):
        return polygon_parts(segmentation) or None
    if not takes_runs or not isinstance(segmentation, dict) or segmentation.get("size") is None:
        return None
    return segmentation if isinstance(segmentation.get("counts"), list | str) else None


def _drawn(shape: list[Polygon] | dict[str, Any], height: int, width: int) -> npt.NDArray[np.uint8]:
    return rasterise([part.tolist() for part in shape] if isinstance(shape, list) else shape, height, width)


def size_by_factor(image: Pixels, factor: float | Sequence[float]) -> tuple[int, int]:
    """(width, height) of an image times one factor, or one for each; rounded half up."""
    across, down = factor if isinstance(factor, list | tuple) else (factor, factor)
    return int(image.shape[1] * float(across) + 0.5), int(image.shape[0] * float(down) + 0.5)


def resize(
    results: Sample,
    scale: tuple[float, float],
    *,
    keep_ratio: bool,
    should_clip: bool,
    interpolation: str = "bilinear",
    backend: str = "cv2",
) -> None:
    """Resize image, boxes and masks.

    Writes `img`, `img_shape`, `scale`, `scale_factor` (width and height ratio, from the rounded size), `keep_ratio`,
    `homography_matrix` (3, 3) float32.

    Args:
        results: the sample.
        scale: width and height in pixels; with `keep_ratio` the edges, in any order, that the image just fits into.
        keep_ratio: keep width : height.
        should_clip: clip boxes to the image.
        interpolation: of the image; masks take the nearest pixel.
        backend: ``cv2`` or ``pillow``.
    """
    before: Pixels = results["img"]
    size = scaled_size(before.shape[1], before.shape[0], scale) if keep_ratio else (int(scale[0]), int(scale[1]))
    img = resize_image(before, size, interpolation, backend)
    height, width = img.shape[:2]
    ratios = (width / before.shape[1], height / before.shape[0])
    results["scale"] = scale
    results["img"], results["img_shape"] = img, (height, width)
    results["scale_factor"], results["keep_ratio"] = ratios, keep_ratio
    if "gt_bboxes" in results:
        boxes = results["gt_bboxes"] * np.array(ratios * 2, dtype=np.float32)
        if should_clip:
            np.clip(boxes[:, 0::2], 0, width, out=boxes[:, 0::2])
            np.clip(boxes[:, 1::2], 0, height, out=boxes[:, 1::2])
        results["gt_bboxes"] = boxes
    if "gt_masks" in results:
        masks = results["gt_masks"]
        results["gt_masks"] = masks.rescale(scale) if keep_ratio else masks.resize((height, width))
    _note_homography(results, [[ratios[0], 0, 0], [0, ratios[1], 0], [0, 0, 1]])


def flip(results: Sample, direction: str) -> None:
    """Flip image, boxes and masks, and note it in `homography_matrix`; `direction` as for `flip_image`."""
    height, width = results["img_shape"]
    is_across, is_down = direction != "vertical", direction != "horizontal"
    results["img"] = flip_image(results["img"], direction)
    if "gt_bboxes" in results:
        results["gt_bboxes"] = _flipped(results["gt_bboxes"], width if is_across else None, height if is_down else None)
    if "gt_masks" in results:
        results["gt_masks"] = results["gt_masks"].flip(direction)
    across = [-1, 0, width] if is_across else [1, 0, 0]
    down = [0, -1, height] if is_down else [0, 1, 0]
    _note_homography(results, [across, down, [0, 0, 1]])


def _flipped(boxes: npt.NDArray[Any], width: int | None, height: int | None) -> npt.NDArray[Any]:
    flipped = boxes.copy()
    for axis, edge in enumerate((width, height)):
        if edge is not None:
            flipped[:, axis], flipped[:, axis + 2] = edge - boxes[:, axis + 2], edge - boxes[:, axis]
    return flipped


def _note_homography(results: Sample, matrix: Sequence[Sequence[float]]) -> None:
    """`homography_matrix` leads from the image as it was read to the image as it is."""
    step = np.array(matrix, dtype=np.float32)
    before = results.get("homography_matrix")
    results["homography_matrix"] = step if before is None else step @ before


def pad(
    results: Sample,
    *,
    size: Sequence[int] | None,
    size_divisor: int | None,
    is_square: bool,
    values: Mapping[str, Any],
) -> None:
    """Pad image and masks at the right and the bottom.

    Writes `img`, `pad_shape` (the array's whole shape), `pad_fixed_size`, `pad_size_divisor`, and `img_shape`, which
    is that of the padded image, unlike in 2.x.

    Args:
        results: the sample.
        size: (width, height) in pixels, in this order, unlike in 2.x.
        size_divisor: pad height and width to multiples of it.
        is_square: pad to the longer edge.
        values: for ``img``, a number, which means every channel, unlike in 2.x, or one per channel; for ``masks``.
    """
    image: Pixels = results["img"]
    value = values["img"]
    if isinstance(value, int | float) and image.ndim == 3:
        value = [value] * image.shape[2]
    padded = pad_image(image, _padded_shape(image, size, size_divisor, is_square), value)
    results["img"], results["pad_shape"] = padded, padded.shape
    results["pad_fixed_size"], results["pad_size_divisor"] = size, size_divisor
    results["img_shape"] = padded.shape[:2]
    if "gt_masks" in results:
        results["gt_masks"] = results["gt_masks"].pad(padded.shape[:2], pad_val=values["masks"])


def _padded_shape(
    image: Pixels, size: Sequence[int] | None, size_divisor: int | None, is_square: bool
) -> tuple[int, int]:
    if is_square:
        return max(image.shape[:2]), max(image.shape[:2])
    if size is not None:
        return size[1], size[0]
    divisor = size_divisor or 1
    return -(-image.shape[0] // divisor) * divisor, -(-image.shape[1] // divisor) * divisor
