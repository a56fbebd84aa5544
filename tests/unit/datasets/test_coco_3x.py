"""`CocoDataset` from the keys of mmdet 3.x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from asyncio_loader.config import load_config
from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.errors import ConfigError

PIPELINE: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile", "backend_args": None},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "Resize", "scale": (100, 80), "keep_ratio": True},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PackDetInputs"},
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images: a box and a crowd, a box, none, a small square."""
    (tmp_path / "train").mkdir()
    sizes = [(50, 40), (40, 50), (50, 40), (20, 20)]
    for n, (width, height) in enumerate(sizes):
        cv2.imwrite(str(tmp_path / "train" / f"{n}.png"), np.full((height, width, 3), n, dtype=np.uint8))
    images = [{"id": 10 + n, "file_name": f"{n}.png", "width": w, "height": h} for n, (w, h) in enumerate(sizes)]
    boxes = [
        {"id": n, "image_id": 10 + at, "category_id": 7, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": n == 3}
        for n, at in enumerate((0, 1, 3, 0))
    ]
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "cell"}]}
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    return tmp_path


def make(root: Path, pipeline: Any = PIPELINE, **options: Any) -> CocoDataset:
    arguments: dict[str, Any] = {
        "ann_file": "train.json",
        "data_root": str(root),
        "data_prefix": {"img": "train/"},
        "metainfo": {"classes": ("cell",), "palette": [(1, 2, 3)]},
        "pipeline": pipeline,
    }
    return CocoDataset(**{**arguments, **options})


def test_a_sample_is_what_the_pipeline_packs(root: Path) -> None:
    first = next(iter(make(root, shuffle=False)))

    assert ["inputs", "data_samples"] == list(first)
    assert (torch.uint8, (3, 80, 100)) == (first["inputs"].dtype, tuple(first["inputs"].shape))
    sample = first["data_samples"]
    assert (10, str(root / "train" / "0.png"), (40, 50), (2, 2)) == tuple(
        sample.metainfo[key] for key in ("img_id", "img_path", "ori_shape", "scale_factor")
    )
    assert (1, 1) == (len(sample.gt_instances.bboxes), len(sample.ignored_instances.bboxes))


@pytest.mark.parametrize(
    ("filter_cfg", "ids"),
    [
        (None, [10, 11, 12, 13]),
        ({"filter_empty_gt": True}, [10, 11, 13]),
        ({"min_size": 32}, [10, 11, 12]),
        ({"filter_empty_gt": True, "min_size": 32}, [10, 11]),
    ],
)
def test_nothing_is_filtered_that_the_config_does_not_name(
    root: Path, filter_cfg: dict[str, Any] | None, ids: list[int]
) -> None:
    assert ids == make(root, filter_cfg=filter_cfg).index.image_ids


def test_a_test_set_has_its_annotations(root: Path) -> None:
    samples = list(make(root, test_mode=True, filter_cfg={"filter_empty_gt": True}))

    assert [1, 1, 0, 1] == [len(sample["data_samples"].gt_instances.bboxes) for sample in samples]


def test_a_batch_is_a_dict_of_lists(root: Path) -> None:
    with Loader(make(root, shuffle=False), batch_size=3) as loader:
        batches = list(loader)

    assert [3, 1] == [len(batch["inputs"]) for batch in batches]
    assert [(3, 80, 100), (3, 100, 80), (3, 80, 100)] == [tuple(image.shape) for image in batches[0]["inputs"]]
    assert [10, 11, 12] == [sample.img_id for sample in batches[0]["data_samples"]]


def test_a_batch_crosses_from_a_worker(root: Path) -> None:
    dataset = make(root, shuffle=False, batch_size=2)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=dataset.collate)
    ids = [sample.img_id for batch in loader for sample in batch["data_samples"]]

    assert [10, 11, 12, 13] == ids


def test_squares_go_with_the_wide_ones(root: Path) -> None:
    assert [1, 0, 1, 1] == make(root).flag.tolist()


def test_the_meta_data_has_what_was_given_and_the_classes(root: Path) -> None:
    assert {"classes": ("cell",), "palette": [(1, 2, 3)]} == make(root).metainfo


def test_padding_is_marked_in_the_meta_data(root: Path) -> None:
    pipeline = [*PIPELINE[:1], fail_for_the_second, *PIPELINE[1:]]
    samples = list(make(root, pipeline, shuffle=False, on_error="replace", max_failures=9, test_mode=True))

    marks = [sample["data_samples"].metainfo.get("is_padding", False) for sample in samples]
    assert [False, True, False, False] == marks


def fail_for_the_second(results: dict[str, Any]) -> dict[str, Any]:
    if results["img_id"] == 11:
        raise ValueError("no such luck")
    return results


def test_files_are_where_backend_args_say(root: Path) -> None:
    mapping = {str(root / "train"): "s3://bucket/train"}
    dataset = make(root, backend_args={"backend": "s3", "path_mapping": mapping})

    assert "s3://bucket/train/0.png" == dataset.refs[0].uri
    assert str(root / "train" / "0.png") == make(root, backend_args={"backend": "local"}).refs[0].uri


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_prefix": "train/"}, r"^img_prefix of mmdet 2\.x and data_prefix, metainfo of 3\.x: write the dataset"),
        ({"filter_empty_gt": False}, r"^filter_empty_gt of mmdet 2\.x and data_prefix, metainfo of 3\.x"),
        ({"data_prefix": {"image": "a"}}, r"^data_prefix: unknown key 'image'; it takes img, seg$"),
        ({"data_prefix": "train/"}, r"^data_prefix must be a dict, not 'train/'$"),
        ({"filter_cfg": {"min_size": -1}}, r"^filter_cfg: min_size must be a whole number of at least 0, not -1$"),
        ({"filter_cfg": {"filter_empty_gt": 1}}, r"^filter_cfg: filter_empty_gt must be True or False, not 1$"),
        ({"backend_args": ["s3"]}, r"^backend_args must be a dict"),
        ({"pipeline": None}, r"^pipeline is missing"),
    ],
)
def test_a_mix_and_wrong_values_are_refused_by_name(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make(root, **options)

    assert "\n" not in str(caught.value)


CONFIG = """
dataset_type = "CocoDataset"
data_root = {root!r}
backend_args = None
metainfo = dict(classes=("cell",))
train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomChoiceResize", scales=[(100, 80), (50, 40)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="Resize", scale=(100, 80), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="train.json",
        data_prefix=dict(img="train/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
        backend_args=backend_args,
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="train.json",
        data_prefix=dict(img="train/"),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args,
    ),
)
"""
"""The datasets of mmdet 3.x's `configs/_base_/datasets/coco_detection.py`, with this module's files."""


@pytest.mark.parametrize(("split", "count"), [("train", 2), ("val", 4)])
def test_the_datasets_of_a_config_are_built_as_they_are(root: Path, split: str, count: int) -> None:
    (root / "config.py").write_text(CONFIG.format(root=f"{root}/"))
    section = dict(load_config(root / "config.py")[f"{split}_dataloader"]["dataset"])
    assert "CocoDataset" == section.pop("type")
    with Loader(CocoDataset(**section), batch_size=2) as loader:
        batches = list(loader)

    samples = [sample for batch in batches for sample in batch["data_samples"]]
    assert count == len(samples)
    for image, sample in zip([i for batch in batches for i in batch["inputs"]], samples, strict=True):
        assert tuple(image.shape[1:]) == sample.img_shape
        # Boxes of a test pipeline that resizes before it loads them are those of the original image, as in mmdet.
        scale = sample.scale_factor * 2 if split == "train" else (1, 1, 1, 1)
        for box in sample.gt_instances.bboxes.tolist():
            unflipped = [image.shape[2] - box[2], box[1], image.shape[2] - box[0], box[3]]
            wanted = [corner * ratio for corner, ratio in zip((1, 2, 11, 12), scale, strict=True)]
            assert wanted in (pytest.approx(box), pytest.approx(unflipped if sample.get("flip") else box))
