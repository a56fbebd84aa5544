from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.errors import ConfigError, ObjectNotFound, TransformError
from asyncio_loader.options import S3Options

COLLECT = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "RandomFlip", "flip_ratio": 0.5},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images; the last one without annotations."""
    (tmp_path / "train").mkdir()
    for n in range(3):
        cv2.imwrite(str(tmp_path / "train" / f"{n}.png"), np.full((40, 50, 3), n, dtype=np.uint8))
    images = [{"id": 10 + n, "file_name": f"{n}.png", "width": 50, "height": 40} for n in range(3)]
    boxes = [
        {"id": n, "image_id": 10 + n, "category_id": 7, "bbox": [1, 2, 30, 30], "area": 900, "iscrowd": 0}
        for n in range(2)
    ]
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "cell"}]}
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    return tmp_path


def make(root: Path, pipeline: Any = COLLECT, **options: Any) -> CocoDataset:
    arguments = {"ann_file": "train.json", "img_prefix": "train/", "data_root": str(root), "classes": ("cell",)}
    return CocoDataset(**{**arguments, "pipeline": pipeline, **options})


def test_samples_are_what_the_pipeline_makes(root: Path) -> None:
    samples = {sample["ori_filename"]: sample for sample in make(root)}

    assert sorted(samples) == ["0.png", "1.png"]
    one = samples["1.png"]
    assert one["filename"] == str(root / "train" / "1.png")
    assert (one["img"] == 1).all()
    assert one["gt_bboxes"].shape == (1, 4)
    assert "img_bytes" not in one
    assert "rng" not in one


def test_training_shuffles_and_filters_and_testing_does_neither(root: Path) -> None:
    assert make(root).shuffle
    assert not make(root, test_mode=True).shuffle
    assert len(make(root)) == 2
    test_pipeline = [{"type": "LoadImageFromFile"}]
    names = [s["ori_filename"] for s in make(root, test_pipeline, test_mode=True)]
    assert names == ["0.png", "1.png", "2.png"]


def test_augmentation_depends_on_seed_epoch_and_position_alone(root: Path) -> None:
    def flips(dataset: CocoDataset) -> list[bool]:
        return [sample["flip"] for epoch in range(8) for sample in epoch_of(dataset, epoch)]

    assert flips(make(root)) == flips(make(root))
    assert len(set(flips(make(root)))) == 2
    assert flips(make(root, seed=1)) != flips(make(root))


def epoch_of(dataset: CocoDataset, epoch: int) -> CocoDataset:
    dataset.set_epoch(epoch)
    return dataset


def test_the_dialects_attributes_are_there(root: Path) -> None:
    dataset = make(root)

    assert dataset.CLASSES == ("cell",)
    assert dataset.cat_ids == [7]
    assert dataset.flag.tolist() == [1, 1]


def test_images_are_where_the_pipelines_client_says(root: Path) -> None:
    mapping = {str(root / "train"): "s3://bucket/coco/train"}
    on_s3 = {"backend": "aws", "path_mapping": mapping, "endpoint_url": "http://127.0.0.1:9"}
    dataset = make(root, [{"type": "LoadImageFromFile", "file_client_args": on_s3}])

    assert dataset.refs[0].uri == "s3://bucket/coco/train/0.png"
    assert dataset.storage == S3Options(endpoint_url="http://127.0.0.1:9")


def test_images_are_where_the_datasets_client_says_if_the_pipeline_names_none(root: Path) -> None:
    client = {"backend": "aws", "path_mapping": {str(root / "train"): "s3://bucket/train"}}

    assert make(root).refs[0].uri == str(root / "train" / "0.png")
    # The annotation file is not mapped, so it stays on disk.
    assert make(root, file_client_args=client).refs[0].uri == "s3://bucket/train/0.png"


def test_reading_the_annotations_leaves_no_thread(root: Path) -> None:
    before = threading.active_count()
    make(root)

    assert threading.active_count() == before


def test_none_from_a_pipeline_gets_another_sample(root: Path) -> None:
    def only_first(results: dict[str, Any]) -> dict[str, Any] | None:
        return results if results["ori_filename"] == "0.png" else None

    names = [sample["ori_filename"] for sample in make(root, [*COLLECT, only_first])]

    assert names == ["0.png", "0.png"]


def test_in_test_mode_none_is_an_error(root: Path) -> None:
    with pytest.raises(TransformError, match="the pipeline returned None"):
        list(make(root, [{"type": "LoadImageFromFile"}, lambda results: None], test_mode=True))


def test_masks_are_kept_only_for_who_may_want_them(root: Path) -> None:
    content = json.loads((root / "train.json").read_text())
    for annotation in content["annotations"]:
        annotation["segmentation"] = [[1.0, 2.0, 20.0, 2.0, 20.0, 20.0]]
    (root / "train.json").write_text(json.dumps(content))

    def masks(pipeline: Any) -> Any:
        return make(root, pipeline).index.ann_info(0).get("masks")

    assert not masks(COLLECT) or masks(COLLECT) == [None]
    assert masks([*COLLECT, lambda results: results]) == [[[1.0, 2.0, 20.0, 2.0, 20.0, 20.0]]]
    with_masks = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_mask": True}]
    assert masks(with_masks) == [[[1.0, 2.0, 20.0, 2.0, 20.0, 20.0]]]


def test_classes_may_lie_in_a_file(root: Path) -> None:
    (root / "names.txt").write_text("cell\n\n dog \n")

    assert make(root, classes=str(root / "names.txt")).CLASSES == ("cell", "dog")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("dog",)}, r"train\.json: no image is left.*\(dog\) the file has none|no image is left"),
        ({"classes": "cell"}, r"classes='cell' is not a text file with one name per line; .* classes=\('cell',\)"),
        ({"ann_file": None}, "ann_file must be a path or URI, not None"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"pipeline": [{"type": "LoadImageFromFil"}]}, "did you mean 'LoadImageFromFile'"),
        ({"pipeline": [{"type": "RandomFlip", "flip_ration": 1}]}, "flip_ratio"),
    ],
)
def test_a_wrong_argument_is_one_line(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(root, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"images": []}', "null"])
def test_a_broken_annotation_file_is_one_line_that_names_it(root: Path, content: str) -> None:
    (root / "train.json").write_text(content)

    with pytest.raises(ConfigError, match=r"train\.json") as caught:
        make(root)
    assert "\n" not in str(caught.value)


def test_a_missing_annotation_file_is_named(root: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"other\.json"):
        make(root, ann_file="other.json")
