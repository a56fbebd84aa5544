"""From a file name and annotations to pixels, boxes, labels and masks."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from asyncio_loader.errors import AccessDenied, ConfigError, DecodeError, FetchError, ObjectNotFound
from asyncio_loader.records import Buffer, Sample
from asyncio_loader.transforms import three
from asyncio_loader.transforms.decoding import Pixels, check_decoding, decode_image
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks, polygon_parts, rasterise
from asyncio_loader.transforms.registry import TRANSFORMS

__all__ = ["FileReader", "LoadAnnotations", "LoadImageFromFile"]


class _Client(Protocol):
    def get(self, filepath: str) -> Buffer: ...


def _disk() -> dict[str, Any]:
    return {"backend": "disk"}


class FileReader:
    """Reads whole files through a `FileClient`, made at the first read, in the process that reads.

    Pickles without the client. Two threads that read first at the same time may each make one.
    """

    def __init__(self, file_client_args: Mapping[str, Any] | None) -> None:
        if not isinstance(file_client_args, Mapping | None):
            raise ConfigError(f"file_client_args must be a dict, not {file_client_args!r:.80}")
        self._arguments = _disk() if file_client_args is None else dict(file_client_args)
        self._client: _Client | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def read(self, path: str) -> Buffer:
        """The whole file.

        Raises:
            FetchError: `ObjectNotFound`, `AccessDenied` or whatever the store has to say.
        """
        if self._client is None:
            # A pipeline that gets its bytes from the loader never needs a client, so it does not pay for one.
            from asyncio_loader.fileio.file_client import FileClient

            self._client = FileClient(**self._arguments)
        try:
            return self._client.get(path)
        except ObjectNotFound:
            raise
        except FileNotFoundError as error:
            raise ObjectNotFound(f"{path}: no such file", key=path) from error
        except PermissionError as error:
            raise AccessDenied(f"{path}: not allowed to read it", key=path) from error


@TRANSFORMS.register
@dataclass(eq=False)
class LoadImageFromFile:
    """Decode the sample's image.

    Reads `img_bytes`, which it takes away, or the file itself if the sample brings none; `img_prefix`, `img_info`.
    Writes `filename`, `ori_filename`, `img` (see `decode_image`), `img_shape`, `ori_shape` (h, w, 3), `img_fields`.
    Of a sample of mmdet 3.x it reads `img_path` instead, and writes `img`, `img_shape`, `ori_shape` (h, w).

    Attributes:
        to_float32: give float32 instead of uint8, with the same values.
        color_type: see `decode_image`.
        channel_order: see `decode_image`.
        file_client_args: arguments of the `FileClient` that reads the file: ``dict(backend="aws", path_mapping=…)``.
        imdecode_backend: see `decode_image`.
        ignore_empty: give up a sample whose image cannot be had, None, instead of raising.
        backend_args: the name that `file_client_args` has in mmdet 3.x, where ``local`` is the disk.
    """

    to_float32: bool = False
    color_type: str = "color"
    channel_order: str = "bgr"
    file_client_args: Mapping[str, Any] | None = field(default_factory=_disk)
    imdecode_backend: str | None = None
    ignore_empty: bool = False
    backend_args: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_decoding(self.color_type, self.channel_order, self.imdecode_backend)
        self.file_client_args = three.as_client_args(self.file_client_args, self.backend_args)
        self._files = FileReader(self.file_client_args)

    def __call__(self, results: Sample) -> Sample | None:
        """Decode the image.

        Raises:
            DecodeError: no image, or a broken one.
            FetchError: the file cannot be read.
        """
        try:
            if three.is_3x(results):
                three.note_image(results, self._decode(results, results["img_path"]))
            else:
                self._load(results)
        except (DecodeError, FetchError):
            if self.ignore_empty:
                return None
            raise
        return results

    def _load(self, results: Sample) -> None:
        name = results["img_info"]["filename"]
        filename = name if results["img_prefix"] is None else os.path.join(results["img_prefix"], name)
        img = self._decode(results, filename)
        results["filename"] = filename
        results["ori_filename"] = name
        results["img"] = img
        results["img_shape"] = img.shape
        results["ori_shape"] = img.shape
        results["img_fields"] = ["img"]

    def _decode(self, results: Sample, filename: str) -> Pixels:
        data = results.pop("img_bytes", None)
        img = decode_image(
            self._files.read(filename) if data is None else data,
            key=filename,
            color_type=self.color_type,
            channel_order=self.channel_order,
            backend=self.imdecode_backend,
        )
        return img.astype(np.float32) if self.to_float32 else img


@TRANSFORMS.register
@dataclass(eq=False)
class LoadAnnotations:
    """Copy boxes, labels, masks and the semantic map from `ann_info` to where transforms look for them.

    Writes, as asked: `gt_bboxes` and `gt_bboxes_ignore` (n, 4) float32, not clipped; `gt_labels` (n,) int64;
    `gt_masks`; `gt_semantic_seg` (h, w); and their names into `bbox_fields`, `mask_fields`, `seg_fields`.

    Of a sample of mmdet 3.x it reads `instances`, and writes `gt_bboxes` (n, 4) float32, crowds among them,
    `gt_ignore_flags` (n,) bool, `gt_bboxes_labels` (n,) int64 and `gt_masks`. Boxes stay arrays until they are packed:
    mmdet has a class for them, which this has not.

    Attributes:
        with_bbox: bring boxes.
        with_label: bring labels.
        with_mask: bring masks. Needs pycocotools unless `poly2mask` is off.
        with_seg: bring the semantic map, a file of its own in `seg_prefix`.
        poly2mask: draw the masks into bitmaps; off: keep polygons, without those that are malformed.
        denorm_bbox: the boxes are fractions of the image: scale them to pixels.
        file_client_args: as for `LoadImageFromFile`; for the semantic map alone.
        box_type: ``hbox`` or None; both are x1, y1, x2, y2.
        backend_args: as for `LoadImageFromFile`.
    """

    with_bbox: bool = True
    with_label: bool = True
    with_mask: bool = False
    with_seg: bool = False
    poly2mask: bool = True
    denorm_bbox: bool = False
    file_client_args: Mapping[str, Any] | None = field(default_factory=_disk)
    box_type: str | None = "hbox"
    backend_args: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.box_type not in ("hbox", None):
            raise ConfigError(f"box_type must be 'hbox' or None, not {self.box_type!r:.80}")
        self.file_client_args = three.as_client_args(self.file_client_args, self.backend_args)
        self._files = FileReader(self.file_client_args)

    def __call__(self, results: Sample) -> Sample:
        """Copy the annotations.

        Raises:
            ConfigError: masks are asked for and pycocotools is not installed; or a semantic map or fractions of the
                image are asked for with a sample of mmdet 3.x.
            KeyError: in a sample of 3.x an object has no segmentation.
            ValueError, TypeError: a segmentation cannot be drawn, or is no polygon where polygons are asked for; in a
                sample of 3.x that is no error, but the object is flagged.
        """
        if three.is_3x(results):
            self._load_3x(results)
            return results
        if self.with_bbox:
            self._load_boxes(results)
        if self.with_label:
            results["gt_labels"] = results["ann_info"]["labels"].copy()
        if self.with_mask:
            self._load_masks(results)
        if self.with_seg:
            self._load_semantic_map(results)
        return results

    def _load_3x(self, results: Sample) -> None:
        for name in ("with_seg", "denorm_bbox"):
            if getattr(self, name):
                raise ConfigError(f"LoadAnnotations: {name}=True does not go with a sample of mmdet 3.x")
        if self.with_bbox:
            three.load_boxes(results)
        if self.with_label:
            three.load_labels(results)
        if self.with_mask:
            three.load_masks(results, as_bitmaps=self.poly2mask)

    def _load_boxes(self, results: Sample) -> None:
        annotations = results["ann_info"]
        boxes = annotations["bboxes"].copy()
        if self.denorm_bbox:
            height, width = results["img_shape"][:2]
            boxes *= np.array([width, height, width, height], dtype=boxes.dtype)
        results["gt_bboxes"] = boxes
        if annotations.get("bboxes_ignore") is not None:
            results["gt_bboxes_ignore"] = annotations["bboxes_ignore"].copy()
            results["bbox_fields"].append("gt_bboxes_ignore")
        results["bbox_fields"].append("gt_bboxes")

    def _load_masks(self, results: Sample) -> None:
        height, width = results["img_info"]["height"], results["img_info"]["width"]
        segmentations = results["ann_info"]["masks"]
        results["gt_masks"] = (
            BitmapMasks([rasterise(each, height, width) for each in segmentations], height, width)
            if self.poly2mask
            else PolygonMasks([polygon_parts(each) for each in segmentations], height, width)
        )
        results["mask_fields"].append("gt_masks")

    def _load_semantic_map(self, results: Sample) -> None:
        name = results["ann_info"]["seg_map"]
        filename = name if results["seg_prefix"] is None else os.path.join(results["seg_prefix"], name)
        pixels = decode_image(self._files.read(filename), key=filename, color_type="unchanged")
        results["gt_semantic_seg"] = pixels.squeeze()
        results["seg_fields"].append("gt_semantic_seg")
