"""Training that goes on in the middle of an epoch, with what it had not seen yet, and fetches nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.servers import MotoServer
from asyncio_loader.testing.simulator import S3Simulator
from asyncio_loader.testing.synthetic import write_synthetic_coco
from tests.e2e.steps_log import Step, read_steps, train_logged
from tests.e2e.test_train import BASE, SMALL, one_torch_thread

__all__ = ["one_torch_thread"]

ROOT = Path(__file__).parents[2]
IMAGES = 12
EPOCHS = 3
# Six steps per epoch.
STEPS = EPOCHS * IMAGES // 2
BUCKET = "train-resume"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Simulator]:
    """Twelve training images in a bucket that remembers who asked for what."""
    directory = write_synthetic_coco(tmp_path_factory.mktemp("coco"), images=IMAGES, val_images=1, size=64)
    with S3Simulator(directory) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def options(data: S3Simulator) -> dict[str, Any]:
    """A run by epochs that saves every other step; its learning rate changes with steps and with epochs.

    Batches are of any images: those of one orientation are cut for one size.
    """
    values: dict[str, Any] = {**SMALL, "runner": {"type": "EpochBasedRunner", "max_epochs": EPOCHS, "_delete_": True}}
    values |= {"data.train.data_root": data.uri(""), "data.train.file_client_args.endpoint_url": data.endpoint_url}
    values |= {"evaluation": None, "checkpoint_config.save_optimizer": True, "checkpoint_config.max_keep_ckpts": -1}
    values |= {"checkpoint_config.by_epoch": False, "checkpoint_config.interval": 2, "data.group_by_aspect": False}
    values["optimizer"] = {"type": "SGD", "lr": 0.001, "momentum": 0.9, "_delete_": True}
    values["lr_config"] = {"policy": "step", "step": [1, 2], "warmup": "linear", "warmup_iters": 10, "_delete_": True}
    return values


@pytest.fixture(scope="module")
def whole(
    data: S3Simulator, options: dict[str, Any], one_torch_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Work directory of the run that nothing interrupts."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in data.environ.items():
            environment.setenv(name, value)
        train_logged(BASE, directory, options)
    return directory


@pytest.fixture(autouse=True)
def environ(data: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in data.environ.items():
        monkeypatch.setenv(name, value)


def steps_of(directory: Path) -> list[Step]:
    return read_steps(directory.with_name(f"{directory.name}.steps"))


def names_of(steps: Sequence[Step]) -> list[str]:
    return [name for step in steps for name in step.names]


def fetched(data: S3Simulator) -> list[str]:
    """Names of the images that were asked for since the last call."""
    return [row.key.rpartition("/")[2] for row in data.requests(clear=True) if row.key.endswith(".jpg")]


def go_on(whole: Path, work_dir: Path, step: int, options: dict[str, Any], **changes: Any) -> list[Step]:
    """The steps of a run that goes on from a checkpoint of the whole one."""
    name = f"epoch_{step}.pth" if changes.get("checkpoint_config.by_epoch") else f"iter_{step}.pth"
    train_logged(BASE, work_dir, {**options, **changes, "resume_from": str(whole / name)})
    return steps_of(work_dir)


def test_the_whole_run_sees_each_image_once_per_epoch(whole: Path) -> None:
    steps = steps_of(whole)

    assert [(s.number, s.epoch, s.place) for s in steps] == [(n + 1, n // 6, n % 6) for n in range(STEPS)]
    for epoch in range(EPOCHS):
        assert len({*names_of(steps[6 * epoch : 6 * epoch + 6])}) == IMAGES


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    data: S3Simulator, moto_environ: MotoServer, options: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    keys = {"aws_access_key_id": moto_environ.key_id, "aws_secret_access_key": moto_environ.secret_key}
    s3 = boto3.client("s3", endpoint_url=moto_environ.endpoint_url, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=BUCKET)
    config, work_dir = tmp_path / "mine.py", tmp_path / "run"
    changes = {"checkpoint_config.out_dir": f"s3://{BUCKET}/ckpt/", "checkpoint_config.max_keep_ckpts": 1}
    load_config(BASE, {**options, **changes, "checkpoint_config.interval": 4}).dump(config)

    command = [sys.executable, "-m", "tests.e2e.steps_log", str(config), str(work_dir), "--kill-at", "11"]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=120)
    lost = steps_of(work_dir)
    fetched(data)
    report = train_logged(config, work_dir, resume=True)

    assert killed.returncode == -signal.SIGKILL
    resumed = steps_of(work_dir)[len(lost) :]
    # What was trained behind the checkpoint of step 8 was lost with the process.
    assert [*map(astuple, lost[:8]), *map(astuple, resumed)] == [*map(astuple, steps_of(whole))]
    assert sorted(fetched(data)) == sorted(names_of(resumed))
    assert len(report.losses) == STEPS
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [f"ckpt/run/iter_{STEPS}.pth"]


def test_behind_the_last_step_of_an_epoch_it_goes_on_with_the_next_one(
    data: S3Simulator, options: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    fetched(data)

    resumed = go_on(whole, tmp_path / "run", 6, options)

    assert resumed == steps_of(whole)[6:]
    assert len(fetched(data)) == len(names_of(resumed)) == (EPOCHS - 1) * IMAGES


def test_batches_may_have_another_size(data: S3Simulator, options: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    fetched(data)

    resumed = go_on(whole, tmp_path / "run", 8, options, **{"data.samples_per_gpu": 3, "log_config.interval": 1})

    assert names_of(resumed) == names_of(steps_of(whole)[8:])
    # Three steps are left of the second epoch, the last one of two images, and four are the third.
    assert [(s.number, s.epoch, s.place) for s in resumed[:4]] == [(9, 1, 1), (10, 1, 2), (11, 1, 3), (12, 2, 0)]
    assert len(fetched(data)) == len(names_of(resumed))
    # The last step is known as such.
    assert (tmp_path / "run" / "iter_15.pth").is_file()
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert "an epoch has 4 steps now, and had 6" in log.read_text()
    assert "Epoch(train) [2][2/4]" in log.read_text()


def test_a_run_by_iterations_goes_on_inside_an_epoch(
    data: S3Simulator, options: dict[str, Any], tmp_path: Path
) -> None:
    options = {**options, "runner": {"type": "IterBasedRunner", "max_iters": 12, "_delete_": True}}
    options["lr_config"] = {**options["lr_config"], "by_epoch": False, "step": [5, 9]}
    train_logged(BASE, tmp_path / "whole", options)
    fetched(data)

    resumed = go_on(tmp_path / "whole", tmp_path / "run", 4, options)

    assert resumed == steps_of(tmp_path / "whole")[4:]
    assert sorted(fetched(data)) == sorted(names_of(resumed))


def test_a_run_by_iterations_may_have_batches_of_another_size(
    data: S3Simulator, options: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    runner = {"type": "IterBasedRunner", "max_iters": 11, "_delete_": True}

    resumed = go_on(whole, tmp_path / "run", 8, options, runner=runner, **{"data.samples_per_gpu": 4})

    # Two steps are left of the second epoch, and one of the third comes.
    assert names_of(resumed) == names_of(steps_of(whole)[8:14])


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed is 0 in the state and 1 here"),
        ({"data.train.ann_file": "annotations/instances_val2017.json"}, "samples is 12 in the state and 1 here"),
        ({"data.group_by_aspect": True}, "order is 'shuffled' in the state and 'grouped' here"),
    ],
)
def test_in_the_middle_of_an_epoch_other_data_are_refused_in_one_line(
    options: dict[str, Any], whole: Path, tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        go_on(whole, tmp_path / "run", 8, options, **changes)

    start = f"{BASE}: resume_from='{whole / 'iter_8.pth'}': the config's data cannot go on in the middle of its epoch: "
    assert str(caught.value).startswith(start)
    assert difference in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_position_begins_its_epoch_anew(
    options: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    checkpoint = torch.load(whole / "iter_8.pth", weights_only=False)
    del checkpoint["data"]
    torch.save(checkpoint, tmp_path / "iter_8.pth")

    resumed = go_on(tmp_path, tmp_path / "run", 8, options)

    assert names_of(resumed) == names_of(steps_of(whole)[6:])
    assert resumed[-1].number == 20
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert "the checkpoint does not say what of epoch 2 was trained when it was saved" in log.read_text()
