"""mmengine's own Runner with everything on S3, for one line of config.

On moto and on rclone with onedl-mmengine, which is what is installed, and with the original where there is one: OTHER.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from asyncio_loader.openmmlab.checkpoint import load_from_s3
from asyncio_loader.stores.s3.store import S3Store

ROOT = Path(__file__).parents[2]

OTHER = Path(os.environ.get("ASYNCIO_LOADER_OTHER", ROOT / ".venv" / "other")) / "mmengine-0.10.7"
RECIPE = f"pip install --no-deps --target {OTHER} mmengine==0.10.7"

# A project of somebody who never heard of this one. Its data come from S3, in forked workers.
TOY = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get, load
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS

@DATASETS.register_module()
class Toy(torch.utils.data.Dataset):
    metainfo = dict(classes=("toy",))

    def __init__(self, ann_file, backend_args=None):
        self.names, self.backend_args = load(ann_file), backend_args

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(get(self.names[index], backend_args=self.backend_args))]))

@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.layer = torch.nn.Linear(1, 1)
        self.register_buffer("pretrained", torch.zeros(1))
        self.register_buffer("loaded", torch.zeros(1))

    def forward(self, inputs, mode="tensor"):
        out = self.layer(torch.stack(inputs))
        return dict(loss=out.pow(2).mean()) if mode == "loss" else [out]

@METRICS.register_module()
class ToyScore(BaseMetric):
    scores = [0.25, 0.75, 0.5, 0.5]

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(score=self.scores.pop(0))
"""

CONFIG = """
custom_imports = dict(imports=["asyncio_loader.openmmlab", "toy"])
work_dir = "{work_dir}"
bucket = "{bucket}"
model = dict(type="ToyModel", init_cfg=dict(type="Pretrained", checkpoint=bucket + "/weights/pretrained.pth"))
load_from = bucket + "/weights/detector.pth"
mapped = dict(backend="aws", path_mapping=dict({{"data/": bucket + "/toy/"}}))
train_dataloader = dict(
    batch_size=2, num_workers=2, sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="Toy", ann_file=bucket + "/toy/names.json", backend_args=mapped))
val_dataloader = dict(
    batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="Toy", ann_file=bucket + "/toy/names.json", backend_args=mapped))
val_evaluator = dict(type="ToyScore", prefix="toy")
train_cfg = dict(by_epoch=True, max_epochs=3)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="toy/score", rule="greater",
                    out_dir=bucket + "/runs"),
    logger=dict(type="LoggerHook", interval=1, out_dir=bucket + "/runs", keep_local=False))
"""

START = """
import sys
from mmengine.config import Config
from mmengine.runner import Runner
config = Config.fromfile(sys.argv[1])
Runner.from_cfg(config).train()
"""
CHANGES = "config.resume, config.load_from, config.train_cfg.max_epochs = True, None, 4"
RESUME = START.replace("Runner.", f"{CHANGES}\nRunner.", 1)


class Project:
    """The toy project on a server; `run` trains it in a process of its own."""

    def __init__(self, folder: Path, bucket: str, environ: Mapping[str, str], first_on_path: Path | None) -> None:
        self.bucket = bucket
        self.work_dir = folder / "work"
        self._config = folder / "config.py"
        self._config.write_text(CONFIG.format(work_dir=self.work_dir, bucket=bucket))
        (folder / "toy.py").write_text(TOY)
        path = [str(place) for place in (first_on_path, folder, ROOT) if place]
        self._environ = {**os.environ, **environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}

    def run(self, program: str) -> None:
        command = [sys.executable, "-W", "ignore", "-c", program, str(self._config)]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environ, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    def checkpoints(self) -> set[str]:
        """Names of the checkpoints on S3."""
        return {name for name in self._names() if name.endswith(".pth")}

    def logs(self) -> list[str]:
        """Names of the logs on S3, without what is below the directory of the run."""
        return [name for name in self._names() if name.endswith(".log")]

    def _names(self) -> list[str]:
        return asyncio.run(_list(f"{self.bucket}/runs/work/"))


@pytest.fixture(params=["moto", "rclone", "rclone-mmengine-0.10.7"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    kind, _, other = request.param.partition("-")
    if other and not OTHER.is_dir():
        pytest.skip(RECIPE)
    server = request.getfixturevalue(f"{kind}_environ")
    bucket = f"s3://mmengine-{kind}-{len(other)}"
    objects = {
        "toy/names.json": b'["data/0", "data/1", "data/2", "data/3"]',
        **{f"toy/{number}": str(number).encode() for number in range(4)},
        "weights/pretrained.pth": _pickled({"state_dict": {"pretrained": torch.tensor([5.0])}}),
        "weights/detector.pth": _pickled({"state_dict": {"loaded": torch.tensor([7.0])}}),
    }
    asyncio.run(_fill(bucket, objects))
    return Project(tmp_path, bucket, server.environ, OTHER if other else None)


def test_train_and_resume(project: Project) -> None:
    project.run(START)

    runs = f"{project.bucket}/runs/work"
    assert project.checkpoints() == {"epoch_2.pth", "epoch_3.pth", "best_toy_score_epoch_2.pth"}
    assert (project.work_dir / "last_checkpoint").read_text() == f"{runs}/epoch_3.pth"
    assert len(project.logs()) == 1
    assert [path for path in project.work_dir.rglob("*") if path.suffix in (".log", ".json", ".pth")] == []
    third = load_from_s3(f"{runs}/epoch_3.pth")["state_dict"]
    assert (third["pretrained"].item(), third["loaded"].item()) == (5, 7)

    project.run(RESUME)

    assert project.checkpoints() == {"epoch_3.pth", "epoch_4.pth", "best_toy_score_epoch_2.pth"}
    assert len(project.logs()) == 2
    fourth = load_from_s3(f"{runs}/epoch_4.pth")
    assert (fourth["meta"]["epoch"], fourth["meta"]["iter"]) == (4, 8)
    assert fourth["state_dict"]["loaded"].item() == 7


def _pickled(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


async def _fill(bucket: str, objects: Mapping[str, bytes]) -> None:
    store = S3Store()
    await store.create_bucket(bucket)
    for name, data in objects.items():
        await store.put(f"{bucket}/{name}", data)
    await store.aclose()


async def _list(root: str) -> list[str]:
    store = S3Store()
    names = [entry.uri.removeprefix(root) async for entry in store.list(root)]
    await store.aclose()
    return names
