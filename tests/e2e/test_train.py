"""Training from a bucket, through the command line and through the library."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.cli import main
from asyncio_loader.config import load_config
from asyncio_loader.datasets.quarantine import read_quarantine
from asyncio_loader.errors import ObjectNotFound
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.runner import TrainingReport, train

BASE = Path(__file__).parents[2] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"
BUCKET = "s3://train-e2e"

# Everything small: it is the way from the bucket to the checkpoint that is tested, not what is learned on it.
SMALL = {
    "data.samples_per_gpu": 2,
    "data.workers_per_gpu": 1,
    "data.train.data_root": f"{BUCKET}/",
    "data.val.data_root": f"{BUCKET}/",
    "model.neck.out_channels": 16,
    "model.rpn_head.in_channels": 16,
    "model.rpn_head.feat_channels": 16,
    "model.roi_head.bbox_roi_extractor.out_channels": 16,
    "model.roi_head.bbox_head.in_channels": 16,
    "model.roi_head.bbox_head.fc_out_channels": 32,
    "data.train.pipeline.2.img_scale": (64, 64),
    "data.val.pipeline.1.img_scale": (64, 64),
    "log_config.interval": 1,
    "log_config.hooks.0.out_dir": None,
    "checkpoint_config.interval": 1,
    "checkpoint_config.max_keep_ckpts": 1,
    "checkpoint_config.save_optimizer": False,
    "checkpoint_config.out_dir": None,
    "evaluation.interval": 1,
    "evaluation.out_dir": None,
}
# Two epochs of two steps.
BY_EPOCH = {"runner": {"type": "EpochBasedRunner", "max_epochs": 2, "_delete_": True}}


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Two of them wait for each other wherever the cores are busy, and this much work is none."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def bucket(moto_server: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A bucket with four training and two validation images; and under ``holes/`` the same with one of each missing."""
    directory = write_synthetic_coco(tmp_path_factory.mktemp("coco"), images=4, val_images=2, size=64)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in moto_server.environ.items():
            environment.setenv(name, value)
        thread, store = LoopThread(), S3Store()
        files = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*.*")}
        missing = [max(key for key in files if key.startswith(split)) for split in ("train2017", "val2017")]
        files |= {f"holes/{key}": path for key, path in files.items() if key not in missing}
        try:
            thread.run(_upload(store, files))
        finally:
            thread.close(store.aclose)


async def _upload(store: S3Store, files: dict[str, Path]) -> None:
    await store.create_bucket(BUCKET)
    for key, path in files.items():
        await store.put(f"{BUCKET}/{key}", path.read_bytes())


def run(work_dir: Path, *, resume: bool = False, **options: Any) -> TrainingReport:
    config = load_config(BASE, {**SMALL, **BY_EPOCH, **options})
    return train(config, work_dir=work_dir, resume=resume)


def loader_threads() -> list[str]:
    """Threads of loaders; those of the file clients are shared and stay."""
    return [t.name for t in threading.enumerate() if t.name.startswith("asyncio-loader") and "files" not in t.name]


def written_log(work_dir: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(work_dir.glob("*/*.log")))


def test_a_run_by_epochs(moto_environ: MotoServer, tmp_path: Path) -> None:
    report = run(tmp_path / "run")

    assert len(report.losses) == 4
    assert report.stats.samples == 8
    assert report.stats.failed == 0
    assert 0.0 <= report.metrics["bbox_mAP_50"] <= 1.0
    assert len(report.detections) == 2
    assert (tmp_path / "run" / "epoch_2.pth").is_file()
    # `max_keep_ckpts=1`
    assert not (tmp_path / "run" / "epoch_1.pth").exists()
    assert list((tmp_path / "run").glob("best_bbox_mAP_50_epoch_*.pth"))
    assert loader_threads() == []


def test_the_log_has_losses_and_throughput(moto_environ: MotoServer, tmp_path: Path) -> None:
    run(tmp_path)

    (line, *_) = [line for line in written_log(tmp_path).splitlines() if "Epoch(train)" in line]
    for name in ("loss", "loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "time", "data_time"):
        assert f"{name}: " in line
    assert "images_per_s: " in line
    assert "wait_share: " in line


def test_a_run_by_iterations_crosses_epochs(moto_environ: MotoServer, tmp_path: Path) -> None:
    iterations = {"runner": {"type": "IterBasedRunner", "max_iters": 3, "_delete_": True}, "evaluation": None}

    report = run(tmp_path, **iterations, **{"checkpoint_config.interval": 3})

    assert len(report.losses) == 3
    assert report.metrics == {}
    assert (tmp_path / "iter_3.pth").is_file()


def test_equal_seeds_train_equally(moto_environ: MotoServer, tmp_path: Path) -> None:
    options = {"checkpoint_config": None, "evaluation": None}

    assert run(tmp_path / "a", **options).losses == run(tmp_path / "b", **options).losses


def test_a_run_is_resumed_where_it_ended(moto_environ: MotoServer, tmp_path: Path) -> None:
    options = {"evaluation": None, "optimizer_config": {}, "checkpoint_config.save_optimizer": True}
    whole = run(tmp_path / "whole", **options)
    run(tmp_path / "halves", **options, **{"runner.max_epochs": 1})

    resumed = run(tmp_path / "halves", resume=True, **options)

    # The losses of the first half come out of the checkpoint.
    assert len(resumed.losses) == 4
    assert resumed.losses[:2] == whole.losses[:2]
    assert resumed.stats.samples == 4
    assert "resumed epoch: 1, iter: 2" in written_log(tmp_path / "halves")


def test_weights_of_a_run_start_another(moto_environ: MotoServer, tmp_path: Path) -> None:
    run(tmp_path / "first", evaluation=None)

    run(tmp_path / "second", evaluation=None, load_from=str(tmp_path / "first" / "epoch_2.pth"))

    assert re.search(r"epoch_2\.pth: (\d+) of the model's \1 tensors loaded", written_log(tmp_path / "second"))


def test_a_missing_image_ends_the_run_and_is_named(moto_environ: MotoServer, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound, match=rf"{BUCKET}/elsewhere/\d+\.jpg"):
        run(tmp_path, **{"data.train.img_prefix": "elsewhere/"})

    assert loader_threads() == []


def test_missing_images_are_replaced_to_train_and_not_judged_and_written_down_beside_the_log(
    moto_environ: MotoServer, tmp_path: Path
) -> None:
    holes = {
        f"data.{split}.{name}": value
        for split in ("train", "val")
        for name, value in (("data_root", f"{BUCKET}/holes/"), ("on_error", "replace"))
    }
    report = run(tmp_path, **holes, **{"data.train.max_failures": 1})

    assert (report.stats.samples, report.stats.failed) == (8, 2)
    (path,) = tmp_path.glob("*/quarantine.jsonl")
    failed = [(entry.key.split("/")[4], entry.error, entry.epoch) for entry in read_quarantine(path)]
    assert sorted(failed) == [
        ("train2017", "ObjectNotFound", 0),
        ("train2017", "ObjectNotFound", 1),
        ("val2017", "ObjectNotFound", 0),
        ("val2017", "ObjectNotFound", 0),
    ]
    log = written_log(tmp_path)
    assert "epoch 1: 1 of 4 samples failed and were replaced by others: s3://train-e2e/holes/train2017/" in log
    assert "1 of 2 images could not be read and are not judged" in log


def test_the_command_line_trains_into_a_directory_named_after_the_config(
    moto_environ: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"_base_ = {str(BASE)!r}\n", encoding="utf-8")
    options = {**SMALL, "runner.max_iters": 1, "evaluation": None, "checkpoint_config.interval": 1}

    code = main(["train", "mine.py", "--cfg-options", *(f"{k}={v}" for k, v in options.items())])

    assert code == 0
    assert (tmp_path / "work_dirs" / "mine" / "iter_1.pth").is_file()
    assert "Iter(train) [1/1]" in capsys.readouterr().out


def test_the_command_line_says_in_one_line_which_file_is_not_there(
    moto_environ: MotoServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*(f"{k}={v}" for k, v in SMALL.items()), "data.train.ann_file=none.json"]

    code = main(["train", str(BASE), "--work-dir", str(tmp_path), "--cfg-options", *options])

    errors = capsys.readouterr().err
    assert code == 1
    assert errors.count("\n") == 1
    assert f"{BUCKET}/none.json" in errors
