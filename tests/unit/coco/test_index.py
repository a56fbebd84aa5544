from __future__ import annotations

import json
import logging
import pickle
from typing import Any

import pytest

from asyncio_loader.coco import CocoIndex
from asyncio_loader.coco.annotations import MissingFieldError
from asyncio_loader.coco.rules import COCO_CLASSES
from asyncio_loader.errors import ConfigError

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 30, "file_name": "wide.jpg", "width": 64, "height": 48, "license": 2},
        {"id": 10, "file_name": "sub/tall.v2.png", "width": 48, "height": 64},
        {"id": 20, "file_name": "empty.jpg", "width": 50, "height": 50},
        {"id": 40, "file_name": "small.jpg", "width": 31, "height": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 5, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 30, "category_id": 9, "bbox": [3, 4, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 3, "image_id": 30, "category_id": 5, "bbox": [5, 6, 10, 10], "area": 100, "iscrowd": 1},
        {"id": 4, "image_id": 40, "category_id": 5, "bbox": [5, 6, 10, 10], "area": 100},
    ],
    "categories": [{"id": 9, "name": "cat"}, {"id": 5, "name": "dog"}, {"id": 1, "name": "eel"}],
}


def parse(document: dict[str, Any] = DOCUMENT, **options: Any) -> CocoIndex:
    return CocoIndex.parse(json.dumps(document).encode(), source="a.json", **{"classes": ("dog", "cat"), **options})


def test_images_stay_in_the_order_of_the_file() -> None:
    index = parse()

    assert ["wide.jpg", "sub/tall.v2.png"] == list(index.file_names)
    assert [30, 10] == list(index.image_ids)
    assert 2 == len(index)


def test_a_label_is_a_position_among_the_categories_of_the_file() -> None:
    index = parse(classes=("dog", "cat"))

    assert ([9, 5], {9: 0, 5: 1}, ["cat", "dog"]) == (index.cat_ids, index.cat2label, index.cat_names)
    assert ("dog", "cat") == index.classes
    assert 5 == index.category_id(1)


def test_test_mode_keeps_every_image() -> None:
    assert [30, 10, 20, 40] == list(parse(test_mode=True).image_ids)


@pytest.mark.parametrize(("test_mode", "kept"), [(False, [10]), (True, [10, 20, 40])])
def test_what_is_unwanted_is_dropped_in_any_mode(test_mode: bool, kept: list[int]) -> None:
    index = parse(test_mode=test_mode, leave_out=lambda name: name == "wide.jpg")

    assert index.image_ids == kept
    assert index.img_info(0)["id"] == 10


def test_test_mode_does_without_annotations() -> None:
    index = parse({k: v for k, v in DOCUMENT.items() if k != "annotations"}, test_mode=True)

    assert (0, 4) == index.ann_info(0)["bboxes"].shape


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
def test_a_missing_section_is_refused_when_training(section: str) -> None:
    with pytest.raises(MissingFieldError, match=f"a.json: no '{section}'"):
        parse({k: v for k, v in DOCUMENT.items() if k != section})


def test_small_images_are_dropped_even_if_empty_ones_are_kept() -> None:
    assert [30, 10, 20] == list(parse(filter_empty_gt=False).image_ids)


def test_without_classes_those_of_coco_apply() -> None:
    index = parse(classes=None)

    assert COCO_CLASSES == index.classes
    assert ["cat", "dog"] == index.cat_names


def test_no_classes_at_all_mean_all_of_the_file() -> None:
    assert ["cat", "dog", "eel"] == parse(classes=()).cat_names


def test_one_class_may_be_a_plain_string() -> None:
    assert ["dog"] == parse(classes="dog").cat_names


def test_a_class_that_the_file_does_not_know_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        index = parse(classes=("dog", "catt"))

    assert ["dog"] == index.cat_names
    assert ["a.json: 1 of 2 classes are not in the file, 'catt' first; did you mean 'cat'?"] == caplog.messages


def test_a_class_is_a_name() -> None:
    with pytest.raises(ConfigError, match="'classes' must be names of categories, not 5"):
        parse(classes=[5])


def test_an_image_wider_than_high_is_in_group_one() -> None:
    assert [1, 0, 0] == parse(filter_empty_gt=False).flags.tolist()


def test_image_info_has_all_fields_and_the_filename() -> None:
    expected = {**DOCUMENT["images"][0], "filename": "wide.jpg"}

    assert expected == parse().img_info(0)


def test_annotation_info_holds_boxes_crowds_and_the_name_of_the_semantic_map() -> None:
    info = parse().ann_info(0)

    assert ["bboxes", "labels", "bboxes_ignore", "masks", "seg_map"] == list(info)
    assert [[3, 4, 13, 14]] == info["bboxes"].tolist()
    assert [[5, 6, 15, 16]] == info["bboxes_ignore"].tolist()
    assert [0] == info["labels"].tolist()
    assert "wide.png" == info["seg_map"]


def test_the_semantic_map_loses_the_last_suffix_only() -> None:
    assert "sub/tall.v2_seg.tif" == parse().ann_info(1, seg_suffix="_seg.tif")["seg_map"]


def test_a_sample_starts_with_the_keys_of_the_dialect_in_its_order() -> None:
    results = parse().results(0, img_prefix="train/")

    expected = "img_info ann_info img_prefix seg_prefix proposal_file bbox_fields mask_fields seg_fields"
    assert expected.split() == list(results)
    assert "train/" == results["img_prefix"]


def test_a_test_sample_has_no_annotations() -> None:
    assert "ann_info" not in parse(test_mode=True).results(0, img_prefix="")
    assert "ann_info" in parse(test_mode=True).results(0, img_prefix="", test_mode=False)


def test_a_sample_of_3x_starts_with_its_keys_in_its_order_in_test_mode_too() -> None:
    results = parse(test_mode=True).results_3x(0, img_prefix="s3://b/train/", seg_prefix="s3://b/seg")

    assert {
        "img_path": "s3://b/train/wide.jpg",
        "img_id": 30,
        "seg_map_path": "s3://b/seg/wide.png",
        "height": 48,
        "width": 64,
        "instances": [
            {"ignore_flag": 0, "bbox": [3, 4, 13, 14], "bbox_label": 0},
            {"ignore_flag": 1, "bbox": [5, 6, 15, 16], "bbox_label": 1},
        ],
        "sample_idx": 0,
    } == results
    assert ["img_path", "img_id", "seg_map_path", "height", "width", "instances", "sample_idx"] == list(results)


def test_a_sample_of_3x_without_prefixes_has_bare_names_and_no_map() -> None:
    results = parse().results_3x(1, img_prefix=None)

    assert ("sub/tall.v2.png", None) == (results["img_path"], results["seg_map_path"])


def test_squares_are_high_or_wide_as_the_dialect_has_it() -> None:
    options: dict[str, Any] = {"test_mode": True}

    assert [1, 0, 0, 0] == parse(**options).flags.tolist()
    assert [1, 0, 1, 0] == parse(is_square_wide=True, **options).flags.tolist()


def test_samples_share_nothing() -> None:
    index = parse()
    index.results(0, img_prefix="")["bbox_fields"].append("gt_bboxes")

    assert [] == index.results(0, img_prefix="")["bbox_fields"]


def test_it_pickles_whole() -> None:
    index = pickle.loads(pickle.dumps(parse()))

    assert [[3, 4, 13, 14]] == index.ann_info(0)["bboxes"].tolist()
    assert "CocoIndex('a.json': 2 images, 2 categories)" == repr(index)


def test_an_empty_training_set_is_no_error() -> None:
    assert 0 == len(parse(classes=("eel",)))


def test_images_that_are_too_small_are_counted_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "asyncio_loader.coco")
    count = len(DOCUMENT["images"])

    assert parse(min_size=10_000, classes=("cat", "dog")).small == count
    assert parse(min_size=0, classes=("cat", "dog")).small == 0
    assert parse(min_size=10_000, classes=("cat", "dog"), test_mode=True).small == 0
    assert caplog.messages == [f"a.json: {count} images with a side below 10000 pixels are left out"]


def test_classes_that_are_none_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"a\.json: 'classes' must be names of categories, not 3"):
        parse(classes=3)
