from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader.errors import AccessDenied, ConfigError, DecodeError, ObjectNotFound
from asyncio_loader.transforms.loading import FileReader, LoadAnnotations, LoadImageFromFile
from asyncio_loader.transforms.masks import BitmapMasks, PolygonMasks

# pycocotools 2.0.11 has not followed numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()


def image_sample(prefix: object = "", **entries: Any) -> dict[str, Any]:
    return {"img_info": {"filename": "a.png"}, "img_prefix": None if prefix is None else str(prefix), **entries}


def annotated(**entries: Any) -> dict[str, Any]:
    return {
        "img_info": {"filename": "a.png", "height": 5, "width": 6},
        "img_shape": (5, 6, 3),
        "ann_info": {
            "bboxes": np.array([[0.5, 0, 1, 1]], dtype=np.float32),
            "labels": np.array([2]),
            "bboxes_ignore": np.zeros((0, 4), dtype=np.float32),
            "masks": [[[1, 1, 4, 1, 4, 3, 1, 3]]],
            "seg_map": "a_seg.png",
        },
        "bbox_fields": [],
        "mask_fields": [],
        "seg_fields": [],
        **entries,
    }


def test_an_image_is_decoded_from_the_bytes_that_came_with_it() -> None:
    results = LoadImageFromFile()(image_sample("s3://bucket/train/", img_bytes=PNG))

    np.testing.assert_array_equal(results["img"], PIXELS)
    assert "img_bytes" not in results
    assert ("s3://bucket/train/a.png", "a.png") == (results["filename"], results["ori_filename"])
    assert (5, 6, 3) == results["img_shape"] == results["ori_shape"]
    assert ["img"] == results["img_fields"]


def test_an_image_is_read_from_disk_if_no_bytes_came(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)

    np.testing.assert_array_equal(LoadImageFromFile()(image_sample(tmp_path))["img"], PIXELS)


def test_without_a_prefix_the_name_is_the_whole_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)

    assert "a.png" == LoadImageFromFile()(image_sample(None))["filename"]


def test_floats_have_the_same_values() -> None:
    img = LoadImageFromFile(to_float32=True)(image_sample(img_bytes=PNG))["img"]

    assert np.float32 == img.dtype
    np.testing.assert_array_equal(img, PIXELS)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [({"color_type": "grayscale"}, (5, 6)), ({"channel_order": "rgb", "imdecode_backend": "pillow"}, (5, 6, 3))],
)
def test_how_to_decode_can_be_said(arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert shape == LoadImageFromFile(**arguments)(image_sample(img_bytes=PNG))["img_shape"]


def test_a_missing_file_is_an_object_that_was_not_found(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"a\.png") as caught:
        LoadImageFromFile()(image_sample(tmp_path))

    assert str(tmp_path / "a.png") == caught.value.key


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=f"^{tmp_path}/a.png: cannot decode: not an image"):
        LoadImageFromFile()(image_sample(tmp_path, img_bytes=b"?"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"color_type": "colour"}, "color_type must be"),
        ({"imdecode_backend": "turbojpeg"}, "imdecode_backend must be"),
        ({"file_client_args": "disk"}, "file_client_args must be a dict, not 'disk'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoadImageFromFile(**arguments)


@pytest.mark.parametrize("kind", [LoadImageFromFile, LoadAnnotations])
def test_the_file_client_of_the_tutorial_is_accepted_and_not_made(kind: Any) -> None:
    arguments = {"backend": "aws", "path_mapping": {"data/coco/": "s3://yourbucket/demo/data/coco/"}}
    transform = pickle.loads(pickle.dumps(kind(file_client_args=arguments)))

    assert arguments == transform.file_client_args


def test_the_repr_shows_the_arguments() -> None:
    assert repr(LoadImageFromFile(to_float32=True)).startswith("LoadImageFromFile(to_float32=True, color_type='color'")


class Client:
    """A `FileClient` that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get(self, filepath: str) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "No such file"), ObjectNotFound),
        (PermissionError(13, "Permission denied"), AccessDenied),
        (ObjectNotFound("s3://b/k: 404", key="s3://b/k"), ObjectNotFound),
    ],
)
def test_what_a_client_raises_becomes_ours(error: Exception, kind: type[Exception]) -> None:
    reader = FileReader(None)
    reader._client = Client(error)
    with pytest.raises(kind, match="s3://b/k"):
        reader.read("s3://b/k")


def test_boxes_and_labels_are_copies() -> None:
    results = annotated()
    LoadAnnotations()(results)["gt_bboxes"][:] = -1

    assert [[0.5, 0, 1, 1]] == results["ann_info"]["bboxes"].tolist()
    assert [2] == results["gt_labels"].tolist()
    assert (0, 4) == results["gt_bboxes_ignore"].shape
    assert ["gt_bboxes_ignore", "gt_bboxes"] == results["bbox_fields"]


def test_annotations_of_a_user_may_lack_ignored_boxes() -> None:
    results = annotated()
    del results["ann_info"]["bboxes_ignore"]

    assert ["gt_bboxes"] == LoadAnnotations()(results)["bbox_fields"]


def test_fractions_become_pixels() -> None:
    assert [[3, 0, 6, 5]] == LoadAnnotations(denorm_bbox=True)(annotated())["gt_bboxes"].tolist()


@pytest.mark.parametrize(("poly2mask", "kind"), [(True, BitmapMasks), (False, PolygonMasks)])
def test_masks_are_bitmaps_or_polygons(poly2mask: bool, kind: type) -> None:
    results = LoadAnnotations(with_mask=True, poly2mask=poly2mask)(annotated())

    assert isinstance(results["gt_masks"], kind)
    assert [6] == results["gt_masks"].areas.tolist()
    assert ["gt_masks"] == results["mask_fields"]


def test_the_semantic_map_is_read_from_its_own_file(tmp_path: Path) -> None:
    semantic = np.arange(30, dtype=np.uint8).reshape(5, 6)
    (tmp_path / "a_seg.png").write_bytes(cv2.imencode(".png", semantic)[1].tobytes())
    results = LoadAnnotations(with_seg=True)(annotated(seg_prefix=str(tmp_path) + os.sep))

    np.testing.assert_array_equal(results["gt_semantic_seg"], semantic)
    assert ["gt_semantic_seg"] == results["seg_fields"]


def test_an_image_of_3x_has_its_size_without_channels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    path = str(tmp_path / "a.png")
    results = LoadImageFromFile(backend_args={"backend": "local"})({"img_path": path})

    np.testing.assert_array_equal(results["img"], PIXELS)
    assert {"img_path", "img", "img_shape", "ori_shape"} == set(results)
    assert (5, 6) == results["img_shape"] == results["ori_shape"]


def test_an_image_of_3x_is_decoded_from_the_bytes_that_came_with_it() -> None:
    results = LoadImageFromFile(to_float32=True)({"img_path": "s3://bucket/a.png", "img_bytes": PNG})

    np.testing.assert_array_equal(results["img"], PIXELS.astype(np.float32))
    assert "img_bytes" not in results


@pytest.mark.parametrize("entries", [{"img_path": "no/such.png"}, {"img_path": "a.png", "img_bytes": b"no image"}])
def test_an_image_that_cannot_be_had_is_given_up_if_told_so(entries: dict[str, Any]) -> None:
    assert LoadImageFromFile(ignore_empty=True)(dict(entries)) is None
    with pytest.raises((ObjectNotFound, DecodeError)):
        LoadImageFromFile()(dict(entries))
