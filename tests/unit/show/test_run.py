from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from asyncio_loader import cli
from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.show import run
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.datasets import build_dataset

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "pipelines/demo/faster_rcnn_r18_fpn_synthetic_s3.py"
DISK = {f"data.{split}.file_client_args": {"_delete_": True, "backend": "disk"} for split in ("train", "val")}

Options = dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_coco(
        tmp_path_factory.mktemp("show"), images=7, val_images=3, size=(64, 48), mixed_sizes=True
    )


@pytest.fixture
def options(data: Path) -> Options:
    """That make the demo's config read from the disk."""
    return {**DISK, "data.train.data_root": str(data), "data.val.data_root": str(data)}


@pytest.fixture
def samples(options: Options) -> Callable[..., tuple[list[run.ShownSample], int]]:
    def read(split: str, count: int, **more: Any) -> tuple[list[run.ShownSample], int]:
        return run._first_samples(load_config(CONFIG, {**options, **more}).to_dict(), split, count)

    return read


def test_a_sheet_is_written_and_told_of(options: Options, tmp_path: Path) -> None:
    out = tmp_path / "new" / "sheet.png"

    said = run.show(load_config(CONFIG, options), split="train", count=5, out=out)

    assert said == f"{out}: data.train, the first 5 samples of 7 in the order of epoch 0"
    with Image.open(out) as image:
        assert image.width == 4 * 412 + 12


def test_without_out_it_goes_to_the_work_directory(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    run.show(load_config(CONFIG, options), split="train", count=1, out=None)
    run.show(load_config(CONFIG, {**options, "work_dir": "mine"}), split="val", count=1, out=None)

    assert (tmp_path / "work_dirs" / CONFIG.stem / "show_train.png").is_file()
    assert (tmp_path / "mine" / "show_val.png").is_file()


def test_the_samples_are_the_first_ones_of_the_epoch(
    samples: Callable[..., tuple[list[run.ShownSample], int]], options: Options
) -> None:
    shown, total = samples("train", 6)

    config = load_config(CONFIG, options).to_dict()
    dataset = build_dataset(config, "train", seed=0, batch_size=config["data"]["samples_per_gpu"])
    expected = [sample["img_metas"].data["ori_filename"] for sample in dataset]
    assert [sample.key for sample in shown] == expected[:6]
    assert total == len(expected) == 7


def test_what_is_shown_is_what_lies_in_the_file(
    samples: Callable[..., tuple[list[run.ShownSample], int]], data: Path
) -> None:
    pipeline = load_config(CONFIG).to_dict()["data"]["train"]["pipeline"]
    # Neither resized nor flipped: only normalized, padded and formatted.
    kept = [entry for entry in pipeline if entry["type"] not in ("Resize", "RandomFlip")]
    collect = {**kept[-1], "meta_keys": ["ori_filename", "img_shape", "img_norm_cfg"]}

    (sample, *_), _ = samples("train", 1, **{"data.train.pipeline": [*kept[:-1], collect]})

    with Image.open(data / "train2017" / sample.key) as file:
        truth = np.asarray(file.convert("RGB")).astype(int)
    height, width = sample.content
    assert truth.shape == (height, width, 3)
    # Pillow's decoder and ours may differ by a little.
    assert np.abs(truth - sample.pixels[:height, :width]).max() <= 2
    assert sample.pixels.shape[0] % 32 == sample.pixels.shape[1] % 32 == 0


def test_boxes_are_those_of_the_annotations(
    samples: Callable[..., tuple[list[run.ShownSample], int]], data: Path
) -> None:
    document = json.loads((data / "annotations/instances_train2017.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    ids = {image["file_name"]: image["id"] for image in document["images"]}

    shown, _ = samples("train", 7)

    for sample in shown:
        own = [each for each in document["annotations"] if each["image_id"] == ids[sample.key]]
        assert sample.boxes is not None
        assert len(sample.boxes) == len(own)
        assert list(sample.names) == [names[each["category_id"]] for each in own]


def test_a_test_pipeline_is_shown_without_boxes(options: Options, tmp_path: Path) -> None:
    said = run.show(load_config(CONFIG, options), split="val", count=2, out=tmp_path / "val.png")

    assert said.endswith(
        "data.val, the first 2 samples of 3 in the order of epoch 0; this pipeline gives the model no boxes"
    )


def test_more_than_there_are_are_all(samples: Callable[..., tuple[list[run.ShownSample], int]]) -> None:
    shown, total = samples("val", 100)

    assert (len(shown), total) == (3, 3)


def test_no_more_than_a_batch_beyond_them_is_fetched(
    options: Options, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    from asyncio_loader.stores import local

    read = local.read_file
    monkeypatch.setattr(local, "read_file", lambda uri: (opened.append(uri), read(uri))[1])

    run.show(load_config(CONFIG, options), split="val", count=1, out=tmp_path / "s.png")

    images = [uri for uri in opened if uri.endswith(".jpg")]
    assert 1 <= len(images) <= 3
    assert len(set(images)) == len(images)


@pytest.mark.parametrize(
    ("more", "split", "error", "said"),
    [
        ({"data.train.ann_file": "no.json"}, "train", ObjectNotFound, r"data\.train: ann_file='no\.json': .*no\.json"),
        (
            {"data.train.img_prefix": "no/"},
            "train",
            ObjectNotFound,
            r"data\.train: .*/no/.*\.jpg.*\(img_prefix='no/'\)",
        ),
        ({"data.val.classes": "no.txt"}, "val", ConfigError, r"data\.val: classes='no\.txt' is not a text file"),
        ({}, "test", ConfigError, r"data\.test is missing"),
        ({"data.train.pipeline.2.img_scale": "big"}, "train", ConfigError, r"img_scale"),
        ({"data.samples_per_gpu": None}, "train", ConfigError, r"data\.samples_per_gpu=None must be a whole number"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    more: Options, split: str, error: type[LoaderError], said: str, options: Options, tmp_path: Path
) -> None:
    with pytest.raises(error, match=rf"faster_rcnn_r18_fpn_synthetic_s3\.py: .*{said}"):
        run.show(load_config(CONFIG, {**options, **more}), split=split, count=1, out=tmp_path / "new" / "s.png")

    assert list(tmp_path.iterdir()) == []


def test_the_data_are_enough(options: Options, tmp_path: Path) -> None:
    """A model, and how it is to be trained, need not be written yet."""
    whole = load_config(CONFIG, options).to_dict()
    alone = tmp_path / "alone.py"
    alone.write_text(f"data = {whole['data']!r}\n")

    run.show(load_config(CONFIG, options), split="train", count=4, out=tmp_path / "whole.png")
    run.show(load_config(alone), split="train", count=4, out=tmp_path / "alone.png")

    with Image.open(tmp_path / "whole.png") as expected, Image.open(tmp_path / "alone.png") as shown:
        # Below the title, which names the config.
        lower = (0, 40, *shown.size)
        assert np.array_equal(np.asarray(expected.crop(lower)), np.asarray(shown.crop(lower)))


def test_a_broken_image_is_named(options: Options, tmp_path: Path, data: Path) -> None:
    root = write_synthetic_coco(tmp_path / "data", images=1, val_images=1, size=64)
    (image,) = (root / "train2017").iterdir()
    image.write_bytes(b"no image")
    changed = {**options, "data.train.data_root": str(root)}

    with pytest.raises(LoaderError, match=rf"{image.name}: cannot decode: not an image"):
        run.show(load_config(CONFIG, changed), split="train", count=1, out=tmp_path / "s.png")


@pytest.fixture
def config_3x(data: Path, tmp_path: Path) -> Path:
    """A config in the dialect of mmdet 3, of the same data."""
    path = tmp_path / "three.py"
    lines = [
        "_base_ = 'faster-rcnn_r18_fpn_bccd_s3'",
        "keys = dict(",
        f"    data_root={str(data)!r},",
        "    backend_args=dict(_delete_=True, backend='local'),",
        "    metainfo=dict(classes=('circle', 'square', 'triangle')),",
        ")",
        "load = dict(type='LoadImageFromFile')",
        "boxes = dict(type='LoadAnnotations', with_bbox=True)",
        "pipeline = [load, boxes, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]",
        "train_dataloader = dict(dataset=dict(pipeline=pipeline, **keys))",
        "val_dataloader = dict(dataset=dict(pipeline=pipeline, **keys))",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_config_of_3x_is_shown_by_its_own_names(config_3x: Path, tmp_path: Path) -> None:
    config = load_config(config_3x)

    said = run.show(config, split="train", count=2, out=tmp_path / "s.png")
    (sample, *_), _ = run._first_samples(config.to_dict(), "val", 1)

    assert said.endswith("s.png: train_dataloader.dataset, the first 2 samples of 7 in the order of epoch 0")
    # In 3.x a test pipeline has boxes, too.
    assert sample.boxes is not None
    assert len(sample.boxes) == len(sample.names) > 0
    assert sample.key.endswith(".jpg")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"data_prefix.img": "no/"}, r"train_dataloader\.dataset: .*/no/.*\.jpg.*\(data_prefix=\{'img': 'no/'\}\)"),
        ({"ann_file": "no.json"}, r"train_dataloader\.dataset: ann_file='no\.json': .*no\.json"),
    ],
)
def test_what_is_not_there_is_named_by_the_keys_of_3x(
    more: Options, said: str, config_3x: Path, tmp_path: Path
) -> None:
    options = {f"train_dataloader.dataset.{key}": value for key, value in more.items()}

    with pytest.raises(ObjectNotFound, match=rf"three\.py: {said}"):
        run.show(load_config(config_3x, options), split="train", count=1, out=tmp_path / "s.png")


@pytest.mark.parametrize("name", ["s.jpg", "s"])
def test_only_a_png_is_written(name: str, options: Options, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out .* must be the name of a \.png"):
        run.show(load_config(CONFIG, options), split="train", count=1, out=tmp_path / name)


def test_a_picture_has_an_end(options: Options, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="-n 401 must be at most 400"):
        run.show(load_config(CONFIG, options), split="train", count=401, out=tmp_path / "s.png")


def test_where_nothing_can_be_written_nothing_is_read(options: Options, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"--out .*/file is not a directory"):
        run.show(
            load_config(CONFIG, {**options, "data.train.ann_file": "no"}),
            split="train",
            count=1,
            out=tmp_path / "file" / "s.png",
        )


def test_the_command_takes_a_config_and_options(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = [f"data.{split}.data_root={data}" for split in ("train", "val")]
    out = tmp_path / "s.png"

    code = cli.main(["show", str(CONFIG), "-n", "2", "--out", str(out), "--cfg-options", *roots])

    assert code == 0
    assert capsys.readouterr().out == f"{out}: data.train, the first 2 samples of 7 in the order of epoch 0\n"


@pytest.mark.parametrize("arguments", [[], ["c.py", "-n", "0"], ["c.py", "--split", "dev"]])
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["show", *arguments])

    assert ended.value.code == 2


def test_a_config_that_is_not_there_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "no.py"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == "asyncio-loader: error: config no.py: no such file"
