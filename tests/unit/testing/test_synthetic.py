from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.synthetic import synthetic_jpegs, write_synthetic_coco


def read_annotations(root: Path, split: str = "train") -> dict[str, Any]:
    return json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())


def test_the_layout_is_that_of_coco(tmp_path: Path) -> None:
    root = write_synthetic_coco(tmp_path / "coco", images=3, val_images=2)

    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*")) == [
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
        "train2017/000000000001.jpg",
        "train2017/000000000002.jpg",
        "train2017/000000000003.jpg",
        "val2017/000000000001.jpg",
        "val2017/000000000002.jpg",
    ]


# pycocotools itself is not up to numpy 2's `__array__(copy=)`.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_it(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(
        str(write_synthetic_coco(tmp_path, images=3, val_images=0) / "annotations" / "instances_train2017.json")
    )
    annotation = coco.loadAnns(coco.getAnnIds())[0]

    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["circle", "square", "triangle"]
    assert coco.annToMask(annotation).sum() == pytest.approx(annotation["area"], rel=0.05)


def test_every_listed_image_has_the_announced_size(tmp_path: Path) -> None:
    root = write_synthetic_coco(tmp_path, images=4, val_images=0, size=(120, 80), mixed_sizes=True)
    images = read_annotations(root)["images"]

    for image in images:
        picture = cv2.imread(str(root / "train2017" / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3)
    assert {image["width"] > image["height"] for image in images} == {True, False}


def test_boxes_are_tight_around_the_polygons_and_inside_the_image(tmp_path: Path) -> None:
    root = write_synthetic_coco(tmp_path, images=20, val_images=0, size=100, objects_per_image=(1, 6))

    for annotation in read_annotations(root)["annotations"]:
        points = np.reshape(annotation["segmentation"][0], (-1, 2))
        x, y, width, height = annotation["bbox"]
        np.testing.assert_allclose(points.min(axis=0), [x, y], atol=0.02)
        np.testing.assert_allclose(points.max(axis=0), [x + width, y + height], atol=0.02)
        assert points.min() >= 0
        assert points.max() <= 100


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    first = write_synthetic_coco(tmp_path / "a", images=3, val_images=1, seed=5)
    second = write_synthetic_coco(tmp_path / "b", images=3, val_images=1, seed=5)
    other = write_synthetic_coco(tmp_path / "c", images=3, val_images=1, seed=6)

    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
        assert path.read_bytes() != (other / path.relative_to(first)).read_bytes()


def test_the_splits_differ(tmp_path: Path) -> None:
    root = write_synthetic_coco(tmp_path, images=1, val_images=1)
    name = "000000000001.jpg"

    assert (root / "train2017" / name).read_bytes() != (root / "val2017" / name).read_bytes()


def test_fewer_classes_are_the_first_ones(tmp_path: Path) -> None:
    document = read_annotations(write_synthetic_coco(tmp_path, images=10, val_images=0, classes=2))

    assert [category["name"] for category in document["categories"]] == ["circle", "square"]
    assert {annotation["category_id"] for annotation in document["annotations"]} == {1, 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": 4}, "classes must lie in 1 to 3, not 4"),
        ({"size": 10}, "at least 32"),
        ({"objects_per_image": (3, 2)}, "objects_per_image"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_synthetic_coco(tmp_path, images=1, val_images=1, **wrong)


def test_jpegs_average_the_wanted_size() -> None:
    sizes = [len(jpeg) for jpeg in synthetic_jpegs(20, mean_bytes=30_000, size=(320, 240), distinct=10)]

    assert np.mean(sizes) == pytest.approx(30_000, rel=0.02)
    assert min(sizes) > 0.65 * 30_000
    assert max(sizes) < 1.35 * 30_000


def test_jpegs_decode_to_the_wanted_shape() -> None:
    (jpeg,) = synthetic_jpegs(1, mean_bytes=8_000, size=(160, 120))

    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)


def test_jpegs_come_again_as_the_same_objects() -> None:
    jpegs = list(synthetic_jpegs(6, mean_bytes=8_000, size=(160, 120), distinct=2))

    assert jpegs[0] is jpegs[2] is jpegs[4]
    assert jpegs[0] != jpegs[1]


def test_a_size_that_the_picture_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot make a JPEG of 900000 bytes: 160 × 120 pixels at quality=90 take"):
        next(synthetic_jpegs(1, mean_bytes=900_000, size=(160, 120)))
