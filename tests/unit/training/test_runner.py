from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.runner import TrainingReport, train

BASE = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_coco(tmp_path_factory.mktemp("coco"), images=2, val_images=1, size=64)


@pytest.fixture
def options(data_root: Path, small_model: dict[str, Any]) -> dict[str, Any]:
    """One step of one image from disk, and nothing else."""
    return {
        "data.samples_per_gpu": 1,
        "data.train.data_root": str(data_root),
        "data.train.file_client_args": {"_delete_": True, "backend": "disk"},
        "data.train.pipeline.2.img_scale": (64, 64),
        "model": {**small_model, "_delete_": True},
        "runner.max_iters": 1,
        "evaluation": None,
        "checkpoint_config": None,
        "log_config.interval": 1,
        "log_config.hooks.0.out_dir": None,
    }


def run(options: dict[str, Any], work_dir: Path | None, **arguments: Any) -> TrainingReport:
    return train(load_config(BASE, options), work_dir=work_dir, console=io.StringIO(), **arguments)


def test_from_disk_without_evaluation_or_checkpoints(options: dict[str, Any], tmp_path: Path) -> None:
    report = run(options, tmp_path)

    assert (len(report.losses), report.metrics, report.detections) == (1, {}, [])
    assert report.stats.samples == 1
    assert list(tmp_path.glob("*.pth")) == []


def test_the_log_goes_to_the_console_that_is_given(options: dict[str, Any], tmp_path: Path) -> None:
    console = io.StringIO()

    train(load_config(BASE, options), work_dir=tmp_path, console=console)

    assert "Iter(train) [1/1]" in console.getvalue()
    assert "Iter(train) [1/1]" in "".join(path.read_text() for path in tmp_path.glob("*/*.log"))


def test_the_work_directory_of_the_config_is_used(options: dict[str, Any], tmp_path: Path) -> None:
    report = run({**options, "work_dir": str(tmp_path / "there")}, None)

    assert report.work_dir == tmp_path / "there"
    assert (tmp_path / "there" / BASE.name).is_file()


def test_two_runs_in_one_process_have_a_log_each(options: dict[str, Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(options, tmp_path / name)

    for name in ("one", "two"):
        log = "".join(path.read_text() for path in (tmp_path / name).glob("*/*.log"))
        assert log.count("Iter(train) [1/1]") == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "model=None must be a dict"),
        ({"model.roi_head.bbox_head.num_classes": 80}, "num_classes=80, but data.train has 3 classes"),
        ({"data.train.pipeline.0.type": "LoadImage"}, "data.train: pipeline[0]"),
        ({"checkpoint_config": {"out_dir": "s3://"}}, "checkpoint_config.out_dir: 's3://'"),
        ({"evaluation": {"interval": 1}, "data.val": None}, "data.val=None must be a dict"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_before_anything_is_written(
    options: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run({**options, **changes}, tmp_path / "run")

    assert str(caught.value).startswith(f"{BASE}: ")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_work_dir_that_cannot_be_one_is_said_before_anything_is_read(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ConfigError, match=r"work_dir .*file.* is not a directory"):
        run({}, tmp_path / "file" / below)
