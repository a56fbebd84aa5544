from __future__ import annotations

from typing import Any

import pytest

from asyncio_loader.coco.annotations import (
    MissingFieldError,
    read_annotations,
    read_categories,
    read_document,
    read_images,
    read_section,
)
from asyncio_loader.errors import ConfigError

IMAGE = {"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}
BOX = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12}


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in entry.items() if k != key}


def annotate(*annotations: dict[str, Any], with_masks: bool = True) -> Any:
    return read_annotations(list(annotations), {7: 0}, {3: 0}, "a.json", with_masks=with_masks)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a.json: the annotation file is empty"),
        (b" \n", "a.json: the annotation file is empty"),
        (b"{", "a.json: not JSON: .*line 1 column 2"),
        (b"<Error>NoSuchKey</Error>", "a.json: not JSON: .*line 1 column 1"),
        (b'{"a": "\xff"}', "a.json: not JSON: byte 7 is not utf-8"),
        (b"[]", "a.json: a COCO annotation file is a JSON object, not a list"),
    ],
)
def test_what_is_no_annotation_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_document(data, "a.json")


def test_a_missing_section_names_those_that_are_there() -> None:
    with pytest.raises(MissingFieldError, match=r"a\.json: no 'images' at the top level, only 'info', 'licenses'"):
        read_section({"info": {}, "licenses": []}, "images", "a.json")


@pytest.mark.parametrize(
    ("section", "message"),
    [({}, "'images' must be a list, not a dict"), ([IMAGE, 5], r"images\[1\] must be an object, not 5")],
)
def test_a_section_is_a_list_of_objects(section: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_section({"images": section}, "images", "a.json")


@pytest.mark.parametrize("key", ["id", "file_name", "width", "height"])
def test_an_image_without_a_field_names_it(key: str) -> None:
    with pytest.raises(MissingFieldError, match=rf"a.json: images\[1\] \(id .*\) has no '{key}'"):
        read_images([{**IMAGE, "id": 1}, without(IMAGE, key)], "a.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [("file_name", ""), ("file_name", 5), ("width", 0), ("height", "48"), ("width", True), ("id", None), ("id", [1])],
)
def test_an_image_with_a_wrong_value_names_it(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"images\[0\] \(id .*\): '{key}' must be"):
        read_images([{**IMAGE, key: value}], "a.json")


def test_image_ids_are_unique() -> None:
    with pytest.raises(ConfigError, match=r"images\[1\] \(id 7\): the id stands at images\[0\] already"):
        read_images([IMAGE, IMAGE], "a.json")


def test_sizes_are_width_and_height() -> None:
    assert [[64, 48]] == read_images([IMAGE], "a.json").tolist()


def test_categories_keep_the_order_of_the_file() -> None:
    names = read_categories([{"id": 9, "name": "b"}, {"id": 2, "name": "a"}], "a.json")

    assert [(9, "b"), (2, "a")] == list(names.items())


def test_category_ids_are_unique() -> None:
    with pytest.raises(ConfigError, match=r"categories\[1\] \(id 9\): the id is that of 'b' already"):
        read_categories([{"id": 9, "name": "b"}, {"id": 9, "name": "a"}], "a.json")


@pytest.mark.parametrize("key", ["id", "image_id", "category_id", "bbox", "area"])
def test_an_annotation_without_a_field_names_it(key: str) -> None:
    with pytest.raises(MissingFieldError, match=rf"a.json: annotations\[1\] \(id .*\) has no '{key}'") as caught:
        annotate(BOX, without({**BOX, "id": 2}, key))
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("bbox", [1, 2, 3], "a list of 4 numbers"),
        ("bbox", [1, 2, 3, None], "a list of 4 numbers"),
        ("bbox", [1, 2, 3, "4"], "a list of 4 numbers"),
        ("bbox", [1, 2, 3, float("nan")], "a list of 4 numbers"),
        ("bbox", None, "a list of 4 numbers"),
        ("area", None, "a number"),
        ("area", "12", "a number"),
    ],
)
def test_an_annotation_with_a_wrong_value_names_it(key: str, value: object, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"annotations\[1\] \(id 2\): '{key}' must be {rule}, not "):
        annotate(BOX, {**BOX, "id": 2, key: value})


def test_ids_that_are_no_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be numbers or strings"):
        annotate({**BOX, "image_id": [7]})


def test_annotation_ids_are_unique() -> None:
    with pytest.raises(ConfigError, match=r"annotations\[1\] \(id 1\): the id stands there twice"):
        annotate(BOX, BOX)


def test_annotations_of_images_that_are_not_listed_are_passed_over() -> None:
    columns, _ = annotate({**BOX, "image_id": 8}, BOX)

    assert 1 == len(columns.image)


def test_an_ignored_annotation_yields_no_box_but_counts_for_its_image() -> None:
    columns, is_wanted = annotate({**without(BOX, "bbox"), "ignore": 1})

    assert (0, [True]) == (len(columns.image), is_wanted.tolist())


def test_an_unwanted_category_does_not_count_for_its_image() -> None:
    columns, is_wanted = annotate({**BOX, "category_id": 4})

    assert (0, [False]) == (len(columns.image), is_wanted.tolist())


def test_segmentations_are_kept_only_if_asked_for() -> None:
    polygon = [[1, 2, 3, 4, 5, 6]]

    assert [polygon] == annotate({**BOX, "segmentation": polygon})[0].segmentation
    assert [] == annotate({**BOX, "segmentation": polygon}, with_masks=False)[0].segmentation


def test_a_message_is_readable_and_not_the_repr_of_a_key() -> None:
    assert "a.json: no 'x'" == str(MissingFieldError("a.json: no 'x'"))
