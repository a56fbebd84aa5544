from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from asyncio_loader.datasets.coco import CocoDataset
from asyncio_loader.datasets.loader import Loader
from asyncio_loader.datasets.quarantine import Quarantined, append_quarantined
from asyncio_loader.errors import ConfigError, ObjectNotFound, StateMismatch, TransformError
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
    with pytest.raises(TransformError, match="the transform returned None in place of a sample"):
        list(make(root, [{"type": "LoadImageFromFile"}, lambda results: None], test_mode=True))


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_in_test_mode_what_stands_in_for_an_image_is_marked(root: Path, policy: Any) -> None:
    (root / "train" / "1.png").unlink()
    collect = [{"type": "LoadImageFromFile"}, {"type": "Collect", "keys": ["img"], "meta_keys": ["ori_filename"]}]
    samples = list(make(root, collect, test_mode=True, on_error=policy))

    assert [sample["img_metas"].data.get("is_padding", False) for sample in samples] == [False, True, False]
    assert samples[1]["img_metas"].data["ori_filename"] != "1.png"


def test_on_one_rank_a_training_image_that_is_skipped_is_missing_and_one_that_is_replaced_is_not(root: Path) -> None:
    (root / "train" / "1.png").unlink()

    assert [sample["ori_filename"] for sample in make(root, on_error="skip")] == ["0.png"]
    replaced = list(make(root, on_error="replace"))
    assert [sample["ori_filename"] for sample in replaced] == ["0.png", "0.png"]
    assert not [sample for sample in replaced if "is_padding" in sample]


@pytest.mark.parametrize("test_mode", [False, True])
def test_the_next_run_may_leave_out_what_was_broken(root: Path, test_mode: bool) -> None:
    (root / "train" / "1.png").write_bytes(b"no image")
    written, kept = root / "q.jsonl", root / "q1.jsonl"
    pipeline = [{"type": "LoadImageFromFile"}]
    first = make(root, pipeline, test_mode=test_mode, on_error="replace", quarantine=written)
    whole = len(list(first))
    written.rename(kept)

    second = make(root, pipeline, test_mode=test_mode, quarantine=written, leave_out=str(kept))
    assert "1.png" not in {sample["ori_filename"] for sample in second}
    assert len(second) == whole - 1
    assert not written.exists()
    with pytest.raises(StateMismatch, match="left_out is 'none' in the state"):
        second.load_state_dict(first.state_dict())


def test_what_only_failed_to_come_is_not_left_out(root: Path) -> None:
    entry = Quarantined(
        key=str(root / "train" / "1.png"),
        index=1,
        epoch=0,
        position=0,
        error="Throttled",
        message="",
        attempts=9,
        time="",
    )
    append_quarantined(str(root / "q"), entry)

    assert len(make(root, leave_out=str(root / "q"))) == 2


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


def test_where_all_images_are_too_small_that_is_said(root: Path) -> None:
    path = root / "train.json"
    document = json.loads(path.read_text())
    for image in document["images"]:
        image["width"] = 31
    path.write_text(json.dumps(document))

    with pytest.raises(ConfigError, match=r"no image is left.*3 have a side below 32 pixels, and are left out"):
        make(root)


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
        ({"leave_out": "none.jsonl"}, "leave_out='none.jsonl': there is no such file"),
        ({"leave_out": "q", "quarantine": Path("q")}, "leave_out='q' is the file that quarantine= writes to"),
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
    with pytest.raises(ObjectNotFound, match=r"^ann_file='other\.json': .*other\.json"):
        make(root, ann_file="other.json")


def test_images_that_are_not_there_are_named_with_the_argument_that_says_where(root: Path) -> None:
    with pytest.raises(ObjectNotFound, match=r"/elsewhere/\S+\.png: .* \(img_prefix='elsewhere/'\)$") as caught:
        list(make(root, img_prefix="elsewhere/"))

    assert caught.value.key
    assert caught.value.key.endswith(".png")


def test_classes_in_another_order_than_the_labels_are_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = json.loads((root / "train.json").read_text())
    document["categories"] += [{"id": 3, "name": "dish"}, {"id": 9, "name": "cup"}]
    (root / "train.json").write_text(json.dumps(document))
    for as_in_file in (("cell", "dish", "cup"), ("cell", "cup"), ("cell",)):
        make(root, classes=as_in_file)
    assert not caplog.records

    make(root, classes=("cup", "cell"))

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith(
        "labels are in the order of the file's categories, not in that of classes=: 0 cell, 1 cup"
    )


WIDE = [1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1]
"""Which of thirteen images are wider than high: the fourth of those that are not is square."""


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Thirteen images of both orientations, all with a box."""
    (tmp_path / "train").mkdir()
    images, boxes = [], []
    for n, wide in enumerate(WIDE):
        height, width = (40, 50) if wide else (40, 40) if n == 8 else (50, 40)
        cv2.imwrite(str(tmp_path / "train" / f"{n}.png"), np.zeros((height, width, 3), np.uint8))
        images.append({"id": n, "file_name": f"{n}.png", "width": width, "height": height})
        box = {"id": n, "image_id": n, "category_id": 7, "bbox": [1, 2, 30, 30], "area": 900, "iscrowd": 0}
        boxes.append(box)
    annotations = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "cell"}]}
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    return tmp_path


def numbers(dataset: CocoDataset, batch_size: int) -> list[list[int]]:
    """The batches of an epoch, by number of the image."""
    with Loader(dataset, batch_size, threads=1) as loader:
        return [[int(target["ori_filename"].removesuffix(".png")) for target in targets] for _, targets in loader]


FORMAT = [*COLLECT, {"type": "DefaultFormatBundle"}, {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_labels"]}]


def test_grouped_by_aspect_a_batch_stands_where_its_last_sample_completes_it(mixed: Path) -> None:
    grouped = make(mixed, FORMAT, shuffle=False, group_by_aspect=True, batch_size=3)

    # Wide: 0 3 4, 6 7 10, and 12 is left. The others: 1 2 5, 8 9 11.
    assert numbers(grouped, 3) == [[0, 3, 4], [1, 2, 5], [6, 7, 10], [8, 9, 11], [12]]


def test_what_is_left_of_the_groups_comes_last_and_may_be_mixed(mixed: Path) -> None:
    grouped = make(mixed, FORMAT, shuffle=False, group_by_aspect=True, batch_size=4)

    # Of each group one batch; then what is left of the others, and of the wide ones.
    assert numbers(grouped, 4) == [[0, 3, 4, 6], [1, 2, 5, 8], [9, 11, 7, 10], [12]]


def test_shuffled_every_batch_but_the_last_is_of_one_orientation_and_every_image_is_there(mixed: Path) -> None:
    grouped = make(mixed, FORMAT, group_by_aspect=True, batch_size=3)
    epochs = []
    for epoch in range(4):
        grouped.set_epoch(epoch)
        epochs.append(numbers(grouped, 3))

    assert len({str(batches) for batches in epochs}) == 4
    for batches in epochs:
        assert sorted(n for batch in batches for n in batch) == list(range(13))
        assert [len({WIDE[n] for n in batch}) for batch in batches] == [1] * 5


def test_without_groups_orientations_are_mixed(mixed: Path) -> None:
    batches = numbers(make(mixed, FORMAT, batch_size=3), 3)

    assert any(len({WIDE[n] for n in batch}) == 2 for batch in batches)


def test_groups_are_cut_for_the_batch_size_of_the_loader(mixed: Path) -> None:
    grouped = make(mixed, FORMAT, shuffle=False, group_by_aspect=True, batch_size=3)

    assert numbers(grouped, 2) == [[1, 2], [0, 3], [4, 6], [5, 8], [7, 10], [9, 11], [12]]
    assert [sample["img_metas"].data["ori_filename"] for sample in grouped][:4] == ["0.png", "3.png", "4.png", "1.png"]


def test_groups_go_on_with_the_same_batch_size_and_refuse_another(mixed: Path) -> None:
    grouped = make(mixed, FORMAT, group_by_aspect=True)
    whole = numbers(grouped, 3)
    with Loader(grouped, 3) as loader:
        batches = iter(loader)
        next(batches)
        next(batches)
        state = loader.state_dict()

    resumed = make(mixed, FORMAT, group_by_aspect=True)
    with Loader(resumed, 2) as loader, pytest.raises(StateMismatch, match="batch_size is 3 in the state and 2 here"):
        loader.load_state_dict(state)
    with Loader(resumed, 3) as loader:
        loader.load_state_dict(state)
    assert numbers(resumed, 3) == whole[2:]


def test_groups_and_another_order_exclude_each_other(mixed: Path) -> None:
    with pytest.raises(ConfigError, match="group_by_aspect=True and order= both say what the order is"):
        make(mixed, FORMAT, group_by_aspect=True, order=list(range(13)))


def evaluate(root: Path, rank: int, pipeline: Any = COLLECT, **options: Any) -> list[dict[str, Any]]:
    """What one of two ranks gets of the thirteen images."""
    dataset = make(root, pipeline, test_mode=True, batch_size=4, **options)
    dataset.set_rank(rank, 2)
    return list(dataset)


TEST = [
    {"type": "LoadImageFromFile"},
    {
        "type": "MultiScaleFlipAug",
        "img_scale": (50, 40),
        "flip": False,
        "transforms": [
            {"type": "Resize", "keep_ratio": True},
            {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1]},
            {"type": "ImageToTensor", "keys": ["img"]},
            {"type": "Collect", "keys": ["img"]},
        ],
    },
]


@pytest.mark.parametrize("pipeline", [FORMAT, TEST], ids=["train", "test"])
def test_padding_is_marked_where_a_metric_looks_and_every_other_sample_is_there_once(
    mixed: Path, pipeline: Any
) -> None:
    options = {"shuffle": False} if pipeline is FORMAT else {"test_mode": True}
    seen, padding = [], []
    for rank in range(2):
        dataset = make(mixed, pipeline, batch_size=4, **options)
        dataset.set_rank(rank, 2)
        with Loader(dataset, 4) as loader:
            targets = [target for _, batch in loader for target in batch]
        seen += [target["ori_filename"] for target in targets if not target["is_padding"]]
        padding += [(rank, target["ori_filename"]) for target in targets if target["is_padding"]]
        assert len(targets) == 7

    assert sorted(seen) == sorted(f"{n}.png" for n in range(13))
    # It stands for the first sample of the epoch, on the rank that would have one less.
    assert padding == [(1, "0.png")]


def test_a_sample_without_meta_data_says_itself_that_it_is_padding(mixed: Path) -> None:
    plain = [{"type": "LoadImageFromFile"}]
    samples = [sample for rank in range(2) for sample in evaluate(mixed, rank, plain)]

    assert [sample["ori_filename"] for sample in samples if sample.get("is_padding")] == ["0.png"]
    assert sum("is_padding" in sample for sample in samples) == 1


def test_samples_that_are_no_padding_stay_as_mmdet_makes_them(mixed: Path) -> None:
    samples = evaluate(mixed, 1, FORMAT[:1] + FORMAT[2:-1] + [{"type": "Collect", "keys": ["img"]}])

    marks = [sample["img_metas"].data.get("is_padding") for sample in samples]
    assert marks == [None] * 6 + [True]
