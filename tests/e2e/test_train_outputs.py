"""What training leaves in a bucket: checkpoints, the best one, logs; and going on from there. On two real servers."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from mmengine.hooks import Hook

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError, LoaderError, ObjectNotFound
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.fileio.journal import Upload
from asyncio_loader.testing.servers import MotoServer, RcloneServer
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.runner import TrainingReport, train
from asyncio_loader.training.weights import read_checkpoint
from tests.e2e.test_train import BASE, SMALL, one_torch_thread

__all__ = ["one_torch_thread"]

BUCKET = "s3://train-outputs"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass
class Place:
    """A server, and a directory of its own in a bucket of it for each test."""

    server: MotoServer | RcloneServer
    root: str

    @property
    def s3(self) -> Any:
        """boto3's client."""
        keys = {"aws_access_key_id": self.server.key_id, "aws_secret_access_key": self.server.secret_key}
        return boto3.client("s3", endpoint_url=self.server.endpoint_url, region_name="us-east-1", **keys)

    def make_bucket(self, name: str) -> None:
        if name not in [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]:
            self.s3.create_bucket(Bucket=name)

    def names(self, directory: str) -> list[str]:
        """Keys under a directory of this test, relative to it."""
        client = FileClient.infer_client(uri=self.root)
        return sorted(client.list_dir_or_file(f"{self.root}/{directory}", list_dir=False, recursive=True))

    def text(self, name: str) -> str:
        return FileClient.infer_client(uri=self.root).get_text(f"{self.root}/{name}")

    def log(self, work_dir: str) -> str:
        return "".join(self.text(f"logs/{work_dir}/{n}") for n in self.names(f"logs/{work_dir}") if n.endswith(".log"))


@pytest.fixture(params=["moto", "rclone"])
def s3(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    server = request.getfixturevalue(f"{request.param}_environ")
    place = Place(server, f"{BUCKET}/{tmp_path.name}")
    place.make_bucket("train-outputs")
    return place


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training images and one for validation, on disk: it is the way back to the bucket that is tested here."""
    return write_synthetic_coco(tmp_path_factory.mktemp("coco"), images=2, val_images=1, size=64)


@pytest.fixture
def options(s3: Place, data_root: Path) -> dict[str, Any]:
    """Epochs of one step, everything to the bucket."""
    values: dict[str, Any] = {**SMALL, "runner": {"type": "EpochBasedRunner", "max_epochs": 3, "_delete_": True}}
    # Its state would be twice the model; one test below has another.
    values["optimizer"] = {"type": "SGD", "lr": 0.001, "_delete_": True}
    for split in ("train", "val"):
        values[f"data.{split}.data_root"] = str(data_root)
        values[f"data.{split}.file_client_args"] = {"_delete_": True, "backend": "disk"}
    values |= {"checkpoint_config.out_dir": f"{s3.root}/ckpt/", "checkpoint_config.max_keep_ckpts": 2}
    values |= {"checkpoint_config.save_optimizer": True, "evaluation.save_best": "bbox"}
    values |= {"evaluation.out_dir": f"{s3.root}/ckpt/", "log_config.hooks.0.out_dir": f"{s3.root}/logs/"}
    return values


def run(options: dict[str, Any], work_dir: Path, **arguments: Any) -> TrainingReport:
    return train(load_config(BASE, options), work_dir=work_dir, console=io.StringIO(), **arguments)


class At(Hook):  # type: ignore[misc]
    """Does something after a step, counted from 1."""

    def __init__(self, step: int, act: Any) -> None:
        self._step = step
        self._act = act

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        if runner.iter + 1 == self._step:
            self._act()


def test_what_a_run_leaves_in_the_bucket_and_on_disk(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    run({**options, "log_config.hooks.0.keep_local": False}, tmp_path / "run")

    checkpoints = s3.names("ckpt/run")
    # Nothing was learned in three steps: the first score, 0.0, stays the best.
    assert checkpoints == ["best_bbox_mAP_epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    best = read_checkpoint(f"{s3.root}/ckpt/run/best_bbox_mAP_epoch_1.pth")
    assert best.keys() == {"meta", "state_dict", "message_hub"}
    assert {Path(name).suffix for name in s3.names("logs/run")} == {".log", ".json", ".py", ".jsonl"}
    assert BASE.name in s3.names("logs/run")
    assert "Epoch(train) [3][1/1]" in s3.log("run")
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert left == {"last_checkpoint", "uploads.jsonl"}
    assert (tmp_path / "run" / "last_checkpoint").read_text() == f"{s3.root}/ckpt/run/epoch_3.pth"


def test_a_run_goes_on_from_the_bucket_on_another_machine(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    options["optimizer.momentum"] = 0.9
    first = run({**options, "runner.max_epochs": 2}, tmp_path / "first" / "run")

    resumed = run(options, tmp_path / "second" / "run", resume=True)

    assert resumed.stats.samples == 2
    assert (len(resumed.losses), resumed.losses[:2]) == (3, first.losses)
    assert s3.names("ckpt/run") == ["best_bbox_mAP_epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]


def test_resume_from_leaves_the_other_run_its_files(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    run({**options, "runner.max_epochs": 2}, tmp_path / "one")
    before = s3.names("ckpt/one")
    start = f"{s3.root}/ckpt/one/epoch_2.pth"

    resumed = run({**options, "runner.max_epochs": 4, "resume_from": start}, tmp_path / "two")

    assert len(resumed.losses) == 4
    assert s3.names("ckpt/one") == before
    assert s3.names("ckpt/two") == ["epoch_3.pth", "epoch_4.pth"]
    assert f"resumed from {start}" in s3.log("two")


def test_an_interrupted_run_leaves_its_log(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(options, tmp_path / "run", hooks=[At(2, interrupt)])

    assert "training ended: KeyboardInterrupt" in s3.log("run")


def test_a_run_that_fails_leaves_its_log(s3: Place, options: dict[str, Any], tmp_path: Path, data_root: Path) -> None:
    shutil.copytree(data_root, tmp_path / "coco")
    (image, *_) = (tmp_path / "coco" / "train2017").iterdir()
    image.unlink()

    with pytest.raises(ObjectNotFound):
        run({**options, "data.train.data_root": str(tmp_path / "coco")}, tmp_path / "run")

    assert f"training ended: ObjectNotFound: {image}" in s3.log("run")


def test_a_checkpoint_whose_upload_failed_is_kept_and_named(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    s3.make_bucket("vanishes")
    options |= {"checkpoint_config.out_dir": "s3://vanishes", "evaluation": None}

    with pytest.raises(LoaderError) as caught:
        run(options, tmp_path / "run", hooks=[At(1, lambda: s3.s3.delete_bucket(Bucket="vanishes"))])

    kept = tmp_path / "run" / "epoch_1.pth"
    assert str(caught.value).startswith("s3://vanishes/run/epoch_1.pth: the upload failed; the checkpoint is saved as ")
    assert str(kept) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert read_checkpoint(str(kept))["meta"]["epoch"] == 1
    assert "the upload failed" in s3.log("run")

    s3.make_bucket("vanishes")
    assert len(run(options, tmp_path / "run", resume=True).losses) == 3


def test_buckets_that_are_not_there_are_said_before_anything_is_trained(
    s3: Place, options: dict[str, Any], tmp_path: Path
) -> None:
    options |= {"checkpoint_config.out_dir": "s3://no-such/a", "log_config.hooks.0.out_dir": "s3://nor-this/"}

    with pytest.raises(ConfigError) as caught:
        run(options, tmp_path / "run")

    for said in ("checkpoint_config.out_dir='s3://no-such/a': there is no bucket", "log_config.hooks[0].out_dir"):
        assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_upload_that_a_killed_run_left_is_aborted(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    key = {"Bucket": "train-outputs", "Key": "left-over.pth"}
    ours, theirs = (s3.s3.create_multipart_upload(**key)["UploadId"] for _ in range(2))
    (tmp_path / "run").mkdir()
    line = json.dumps({"begun": asdict(Upload("s3://train-outputs/left-over.pth", ours))})
    (tmp_path / "run" / "uploads.jsonl").write_text(f"{line}\n")

    run({**options, "runner.max_epochs": 1, "evaluation": None}, tmp_path / "run")

    left = [upload["UploadId"] for upload in s3.s3.list_multipart_uploads(Bucket="train-outputs").get("Uploads", [])]
    assert left == [theirs]
    s3.s3.abort_multipart_upload(**key, UploadId=theirs)
    assert "aborted an upload to s3://train-outputs/left-over.pth" in s3.log("run")


def test_an_endpoint_of_the_section_is_used(
    s3: Place, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    arguments = {"backend": "aws", "endpoint_url": s3.server.endpoint_url}
    for section in ("checkpoint_config", "evaluation", "log_config.hooks.0"):
        options[f"{section}.file_client_args"] = arguments

    run({**options, "runner.max_epochs": 1}, tmp_path / "run")

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.server.endpoint_url)
    assert s3.names("ckpt/run") == ["best_bbox_mAP_epoch_1.pth", "epoch_1.pth"]
    assert s3.log("run")


def test_weights_are_read_where_the_config_has_its_data(
    s3: Place, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options |= {"evaluation": None, "log_config.hooks.0.out_dir": None, "runner.max_epochs": 1}
    run(options, tmp_path / "first")
    start = f"{s3.root}/ckpt/first/epoch_1.pth"
    # Nobody is there.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    options |= {"file_client_args.endpoint_url": s3.server.endpoint_url, "checkpoint_config.out_dir": None}

    run({**options, "load_from": start}, tmp_path / "loaded")
    resumed = run({**options, "resume_from": start, "runner.max_epochs": 2}, tmp_path / "resumed")
    backbone = {"type": "Pretrained", "checkpoint": start, "_delete_": True}
    run({**options, "model.backbone.init_cfg": backbone}, tmp_path / "backbone")

    assert len(resumed.losses) == 2


@pytest.mark.parametrize("key", ["load_from", "resume_from"])
def test_weights_that_are_not_there_are_said_with_config_and_key(
    s3: Place, options: dict[str, Any], tmp_path: Path, key: str
) -> None:
    uri = f"{s3.root}/none.pth"

    with pytest.raises(ObjectNotFound) as caught:
        run({**options, key: uri}, tmp_path / "run")

    assert str(caught.value).startswith(f"{BASE}: {key}='{uri}': ")
    assert caught.value.key == uri


@pytest.mark.parametrize(
    ("key", "length", "section"),
    [("checkpoint_config.out_dir", 1010, "checkpoint_config"), ("log_config.hooks.0.out_dir", 980, r"hooks\[0\]")],
)
def test_a_key_too_long_for_s3_is_said_before_anything_is_trained(
    s3: Place, options: dict[str, Any], tmp_path: Path, key: str, length: int, section: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.out_dir: s3://.* bytes"):
        run({**options, key: f"s3://train-outputs/{'k' * length}"}, tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_sigterm_leaves_the_log(s3: Place, options: dict[str, Any], tmp_path: Path) -> None:
    options |= {"runner.max_epochs": 1000, "checkpoint_config.interval": 1000, "evaluation": None}
    load_config(BASE, options).dump(tmp_path / "mine.py")
    command = [sys.executable, "-m", "asyncio_loader", "train", str(tmp_path / "mine.py"), "--work-dir"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    with subprocess.Popen([*command, str(tmp_path / "run")], env={**os.environ, **ONE_THREAD}, **pipes) as process:
        assert process.stdout is not None
        # With the second line on the console, the first one is in the file.
        assert any(re.search(r"Epoch\(train\) +\[ *2\]", line) for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 143
    assert errors.splitlines()[-1] == "asyncio-loader: terminated"
    assert "Epoch(train)" in s3.log("run")
    assert "training ended: Terminated" in s3.log("run")
