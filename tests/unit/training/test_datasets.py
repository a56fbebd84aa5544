from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.datasets.failures import FailureRules
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.datasets import (
    annotation_reader,
    build_dataset,
    build_loader,
    check_classes,
    keep_quarantine,
)

PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "DefaultFormatBundle"},
    {
        "type": "Collect",
        "keys": ["img", "gt_bboxes", "gt_labels"],
        "meta_keys": ["filename", "ori_shape", "img_shape", "pad_shape"],
    },
]

PIPELINE_3X = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PackDetInputs"},
]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_coco(tmp_path_factory.mktemp("coco"), images=6, val_images=3, size=64)


def config(data_root: Path, **changes: Any) -> dict[str, Any]:
    split = {
        "type": "CocoDataset",
        "data_root": str(data_root),
        "ann_file": "annotations/instances_train2017.json",
        "img_prefix": "train2017/",
        "classes": ("circle", "square", "triangle"),
        "pipeline": PIPELINE,
        **changes,
    }
    return {"data": {"train": split, "val": {**split, "ann_file": "annotations/instances_val2017.json"}}}


def config_3x(data_root: Path, **changes: Any) -> dict[str, Any]:
    """The same data as `config` in the dialect of mmdet 3."""
    data_set = {
        "type": "CocoDataset",
        "data_root": str(data_root),
        "ann_file": "annotations/instances_train2017.json",
        "data_prefix": {"img": "train2017/"},
        "metainfo": {"classes": ("circle", "square", "triangle")},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": PIPELINE_3X,
        **changes,
    }
    of_val = {"ann_file": "annotations/instances_val2017.json", "data_prefix": {"img": "val2017/"}}
    return {
        "train_dataloader": {
            "batch_size": 2,
            "sampler": {"type": "DefaultSampler"},
            "batch_sampler": {"type": "AspectRatioBatchSampler"},
            "dataset": data_set,
        },
        "val_dataloader": {"batch_size": 2, "dataset": {**data_set, **of_val, "test_mode": True}},
    }


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        build_dataset(values, "train", seed=0, batch_size=2)
    return str(caught.value)


def test_training_shuffles_and_validation_does_not(data_root: Path) -> None:
    train = build_dataset(config(data_root), "train", seed=3, batch_size=2)
    val = build_dataset(config(data_root), "val", seed=3, batch_size=2)

    assert (train.shuffle, train.seed, train.test_mode, len(train)) == (True, 3, False, 6)
    assert (val.shuffle, val.test_mode, len(val)) == (False, True, 3)


def test_a_loader_gives_images_and_targets(data_root: Path) -> None:
    dataset = build_dataset(config(data_root), "train", seed=0, batch_size=2)

    with build_loader(dataset, 2, 1) as loader:
        images, targets = next(iter(loader))

    assert [image.shape[0] for image in images] == [3, 3]
    assert all(target["labels"].min() >= 1 for target in targets)


def test_metainfo_names_the_classes_in_the_order_of_the_labels(data_root: Path) -> None:
    dataset = build_dataset(config(data_root), "train", seed=0, batch_size=2)

    assert dataset.metainfo == {"classes": ("circle", "square", "triangle")}


def test_the_annotation_file_can_be_read_again(data_root: Path) -> None:
    values = config(data_root)
    dataset = build_dataset(values, "val", seed=0, batch_size=2)

    expected = (data_root / "annotations" / "instances_val2017.json").read_bytes()
    assert annotation_reader(values, dataset, "val")() == expected


def test_what_the_config_says_of_failures_reaches_the_dataset(data_root: Path) -> None:
    said = {"on_error": "skip", "max_failures": 0.2, "quarantine": "q.jsonl"}
    dataset = build_dataset(config(data_root, **said), "train", seed=0, batch_size=2)

    assert dataset.on_error == "skip"
    assert dataset.failure_rules == FailureRules(0.2, "q.jsonl")


def test_a_file_for_failures_that_the_config_names_stays(data_root: Path) -> None:
    unnamed = build_dataset(config(data_root, max_failures=3), "train", seed=0, batch_size=2)
    keep_quarantine(unnamed, Path("run/q"))
    named = build_dataset(config(data_root, quarantine="mine"), "train", seed=0, batch_size=2)
    keep_quarantine(named, Path("run/q"))

    assert unnamed.failure_rules == FailureRules(3, "run/q")
    assert named.failure_rules.quarantine == "mine"


def test_a_wrong_budget_is_named_with_its_place(data_root: Path) -> None:
    assert refusal(config(data_root, max_failures=2.5)).startswith(
        "data.train: max_failures must be a number of samples"
    )


def test_classes_of_model_and_data_must_be_as_many(data_root: Path) -> None:
    dataset = build_dataset(config(data_root), "train", seed=0, batch_size=2)

    check_classes(dataset, 3)
    with pytest.raises(ConfigError, match=r"num_classes=80, but data\.train has 3 classes: circle, square, triangle$"):
        check_classes(dataset, 80)


def test_an_unknown_transform_is_named_with_its_place(data_root: Path) -> None:
    message = refusal(config(data_root, pipeline=[{"type": "LoadImageFromFil"}]))

    assert message.startswith("data.train: pipeline[0]")
    assert "LoadImageFromFile" in message


def test_an_unknown_key_says_which_was_meant(data_root: Path) -> None:
    message = refusal(config(data_root, ann_fil="x"))

    assert message == "data.train.ann_fil='x': there is no such key; did you mean 'ann_file'?"


def test_another_kind_of_dataset_is_refused(data_root: Path) -> None:
    assert refusal(config(data_root, type="CocoDatset")).endswith("must be 'CocoDataset'; did you mean 'CocoDataset'?")


def test_a_missing_annotation_file_is_named(data_root: Path) -> None:
    values = config(data_root, ann_file="annotations/none.json")

    with pytest.raises((ConfigError, FileNotFoundError), match=r"none\.json"):
        build_dataset(values, "train", seed=0, batch_size=2)


def test_a_missing_section_is_named() -> None:
    assert refusal({"data": {}}) == "data.train is missing"


def test_a_dataloader_of_3x_says_the_order(data_root: Path) -> None:
    train = build_dataset(config_3x(data_root), "train", seed=3, batch_size=2)
    values = config_3x(data_root)
    values["train_dataloader"] |= {"sampler": {"type": "DefaultSampler", "shuffle": False}, "batch_sampler": None}
    plain = build_dataset(
        {**values, "train_dataloader": {**values["train_dataloader"], "drop_last": True}}, "train", seed=3, batch_size=4
    )
    val = build_dataset(config_3x(data_root), "val", seed=3, batch_size=2)

    assert (train.shuffle, train.group_by_aspect, train.drop_last, train.test_mode) == (True, True, False, False)
    assert (plain.shuffle, plain.group_by_aspect, len(plain)) == (False, False, 4)
    assert (val.shuffle, val.group_by_aspect, val.test_mode, len(val)) == (False, False, True, 3)


def test_both_dialects_give_the_same_batches(data_root: Path) -> None:
    flip = {"type": "RandomFlip", "flip_ratio": 0.5}
    collect = {"type": "Collect", "keys": ["img", "gt_bboxes", "gt_labels"]}
    old = config(
        data_root, pipeline=[*PIPELINE[:2], flip, {"type": "DefaultFormatBundle", "img_to_float": False}, collect]
    )
    batches = []
    for values in (old, config_3x(data_root)):
        dataset = build_dataset(values, "train", seed=1, batch_size=2)
        with build_loader(dataset, 2, 1, as_float=False) as loader:
            batches.append(list(loader))

    assert len(batches[0]) == len(batches[1]) == 3
    for (images, targets), (images_3x, targets_3x) in zip(*batches, strict=True):
        assert all(map(torch.equal, images, images_3x))
        assert [target["filename"] for target in targets] == [target["filename"] for target in targets_3x]
        for key in ("boxes", "labels"):
            assert all(torch.equal(a[key], b[key]) for a, b in zip(targets, targets_3x, strict=True))
        assert [bool(target["flip"]) for target in targets] == [target["flip"] for target in targets_3x]


def test_what_is_wrong_with_a_data_set_of_3x_is_named_by_its_place(data_root: Path) -> None:
    place = "train_dataloader.dataset"

    assert refusal(config_3x(data_root, pipeline=[{"type": "LoadImag"}])).startswith(f"{place}: pipeline[0]: unknown")
    assert refusal(config_3x(data_root, data_prefix={"image": "x"})).startswith(f"{place}: data_prefix: unknown key")
    assert refusal(config_3x(data_root, img_prefix="x/")).startswith(f"{place}.img_prefix='x/' is a key of mmdet 2.x")
    with pytest.raises(ConfigError, match=r"but train_dataloader\.dataset has 3 classes"):
        check_classes(build_dataset(config_3x(data_root), "train", seed=0, batch_size=2), 80, place)


def test_more_than_one_look_at_an_image_is_refused_before_the_first_step(data_root: Path) -> None:
    flips = [{"type": "RandomFlip", "prob": prob} for prob in (0.0, 1.0)]
    several = {"type": "TestTimeAug", "transforms": [flips, PIPELINE_3X[-1:]]}
    one = {"type": "TestTimeAug", "transforms": [flips[:1], PIPELINE_3X[-1:]]}

    said = refusal(config_3x(data_root, pipeline=[*PIPELINE_3X[:2], several]))
    assert said.startswith(
        "train_dataloader.dataset: pipeline: TestTimeAug takes 2 looks at each image, and this model"
    )
    dataset = build_dataset(config_3x(data_root, pipeline=[*PIPELINE_3X[:2], one]), "val", seed=0, batch_size=2)
    with build_loader(dataset, 2, 1) as loader:
        assert len(list(loader)) == 2


def test_the_annotation_file_is_read_again_with_backend_args(data_root: Path) -> None:
    backend_args = {"backend": "aws", "path_mapping": {"cells/": f"file://{data_root}/"}}
    values = config_3x(Path("cells"), backend_args=backend_args)
    dataset = build_dataset(values, "val", seed=0, batch_size=2)

    expected = (data_root / "annotations" / "instances_val2017.json").read_bytes()
    assert annotation_reader(values, dataset, "val")() == expected
