"""The tutorial "How to use S3" (tests/data/tutorial.md), executed on real servers with nothing changed but names."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from asyncio_loader.bridge.loop_thread import LoopThread
from asyncio_loader.config import load_config
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.stores.s3.store import S3Store
from asyncio_loader.training.model import build_model
from asyncio_loader.training.weights import to_mmdet

DATA = Path(__file__).parents[1] / "data"
PIPELINES = Path(__file__).parents[2] / "pipelines"
# The 80 classes of the config are those of COCO.
RENAMED = {"RBC": "person", "WBC": "dog", "Platelets": "car"}


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest) -> str:
    """A bucket, made anew, that takes the place of the tutorial's."""
    request.getfixturevalue(f"{request.param}_environ")
    uri = f"s3://tutorial-{request.node.originalname.rpartition('_')[2]}"
    thread, store = LoopThread(), S3Store()
    try:
        thread.run(store.create_bucket(uri))
    finally:
        thread.close(store.aclose)
    return uri


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DATA / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_first_block(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    image = DATA / "bccd" / "val2017" / "BloodImage_00132.jpg"
    code = python_blocks()[0]
    for name, mine in (("mmcv", "asyncio_loader"), ("s3://yourbucket", bucket), ("tests/data/color.jpg", str(image))):
        assert name in code
        code = code.replace(name, mine)
    FileClient.infer_client(uri=bucket).put(b"", f"{bucket}/demo/other.txt")

    exec(compile(code, "tutorial.md", "exec"), {})

    assert capsys.readouterr().out == "['demo/']\n"


def put_data(bucket: str) -> None:
    client = FileClient.infer_client(uri=bucket)
    for path in (DATA / "bccd").rglob("*.*"):
        content = path.read_bytes()
        if path.suffix == ".json":
            document = json.loads(content)
            for category in document["categories"]:
                category["name"] = RENAMED[category["name"]]
            content = json.dumps(document).encode()
        client.put(content, f"{bucket}/demo/data/coco/{path.relative_to(DATA / 'bccd').as_posix()}")


def put_weights(bucket: str) -> None:
    """What the tutorial downloads is made here: the same names and shapes, other numbers."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet50(zero_init_residual=True).state_dict()
    config = load_config(PIPELINES / "_base_/models/faster_rcnn_r50_fpn.py", {"model.backbone.init_cfg": None})
    detector = build_model(config.model.to_dict()).state_dict()
    files: dict[str, dict[str, Any]] = {
        "resnet50_batch256_imagenet_20200708-cfb998bf.pth": {
            f"backbone.{name}": value for name, value in resnet.items() if not name.startswith("fc.")
        },
        "faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth": to_mmdet(detector),
    }
    for name, state in files.items():
        with FileClient.infer_client(uri=bucket).open(f"{bucket}/demo/pretrained/{name}", "wb") as file:
            torch.save({"meta": {}, "state_dict": state}, file)


# 12 steps of a ResNet-50 on 1067 × 800 pixels: a minute on two idle cores, many on busy ones.
@pytest.mark.timeout(1200)
def test_the_last_block_trains(bucket: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.name and os.environ.get("ASYNCIO_LOADER_QUICK_TESTS"):
        pytest.skip("ASYNCIO_LOADER_QUICK_TESTS is set: rclone is enough")
    put_data(bucket)
    put_weights(bucket)
    shutil.copytree(PIPELINES / "_base_", tmp_path / "_base_")
    (tmp_path / "faster_rcnn").mkdir()
    config = tmp_path / "faster_rcnn" / "tutorial.py"
    config.write_text(python_blocks()[-1].replace("s3://yourbucket", bucket), encoding="utf-8")

    # The twelve epochs of the config are too long for a test; and what size the images have is nothing to a server.
    changes = ["runner.max_epochs=3"]
    if "moto" in request.node.name:
        changes += ["data.train.pipeline.2.img_scale=(333, 200)", "data.val.pipeline.1.img_scale=(333, 200)"]
    command = [sys.executable, "-m", "asyncio_loader", "train", str(config), "--cfg-options", *changes]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    client = FileClient.infer_client(uri=bucket)
    checkpoints = list(client.list_dir_or_file(f"{bucket}/demo/ckpt/tutorial", list_dir=False))
    assert sorted(re.sub(r"epoch_\d$", "epoch_N", Path(name).stem) for name in checkpoints) == [
        "best_bbox_mAP_epoch_N",
        "epoch_N",
        "epoch_N",
    ]
    assert {"epoch_2.pth", "epoch_3.pth"} <= set(checkpoints)
    logs = list(client.list_dir_or_file(f"{bucket}/demo/logs/tutorial", list_dir=False, recursive=True))
    assert {Path(name).suffix for name in logs} == {".log", ".json", ".jsonl", ".py"}
    (log,) = [client.get_text(f"{bucket}/demo/logs/tutorial/{name}") for name in logs if name.endswith(".log")]
    assert log.count("Epoch(train)") == 12
    assert log.count("bbox_mAP_50:") == 3
