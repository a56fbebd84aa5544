"""mmcv 1.x with its hooks on S3, where mmcv 1.7.2 is installed beside the environment: see OTHER."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.openmmlab.checkpoint import load_from_s3
from asyncio_loader.stores.s3.store import S3Store

ROOT = Path(__file__).parents[2]

OTHER = Path(os.environ.get("ASYNCIO_LOADER_OTHER", ROOT / ".venv" / "other")) / "mmcv-1.7.2"
# Its setup.py imports pkg_resources, which setuptools 82 no longer has; no operators are compiled.
RECIPE = (
    "echo 'setuptools<81' > constraints.txt && MMCV_WITH_OPS=0 PIP_CONSTRAINT=constraints.txt "
    f"pip install --no-deps --target {OTHER} mmcv==1.7.2"
)

CONFIG = """
custom_imports = dict(imports=["asyncio_loader.openmmlab"])
work_dir = "{work_dir}"
bucket = "{bucket}"
file_client_args = dict(backend="aws", path_mapping={{"data/": bucket + "/toy/"}})
init_cfg = dict(type="Pretrained", checkpoint=bucket + "/weights/pretrained.pth")
load_from = bucket + "/weights/detector.pth"
checkpoint_config = dict(interval=1, max_keep_ckpts=2, out_dir=bucket + "/runs")
evaluation = dict(interval=1, save_best="acc", out_dir=bucket + "/runs")
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook", out_dir=bucket + "/runs", keep_local=False)])
"""

# A project of somebody who never heard of this one.
TRAIN = """
import sys

import torch
from mmcv import Config, FileClient
from mmcv.runner import BaseModule, EpochBasedRunner, EvalHook
from mmcv.utils import get_logger

config, resume_from = Config.fromfile(sys.argv[1]), sys.argv[2]

class Toy(torch.utils.data.Dataset):
    scores = [0.25, 0.75, 0.5, 0.5]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor([float(bytes(FileClient(**config.file_client_args).get(f"data/{index}")))])

    def evaluate(self, results, logger=None):
        return dict(acc=self.scores.pop(0))

class Net(BaseModule):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.layer = torch.nn.Linear(1, 1)
        self.register_buffer("pretrained", torch.zeros(1))
        self.register_buffer("loaded", torch.zeros(1))

    def train_step(self, data, optimizer):
        loss = self.layer(data).pow(2).mean()
        return dict(loss=loss, log_vars=dict(loss=loss.item()), num_samples=len(data))

model = Net(config.init_cfg)
model.init_weights()
loader = torch.utils.data.DataLoader(Toy(), batch_size=2, num_workers=2)
runner = EpochBasedRunner(
    model, optimizer=torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), work_dir=config.work_dir, meta={},
    logger=get_logger("toy", log_file=config.work_dir + "/toy.log"), max_epochs=4 if resume_from else 3)
runner.timestamp = "resumed" if resume_from else "started"
runner.register_training_hooks(
    dict(policy="fixed"), dict(), checkpoint_config=config.checkpoint_config, log_config=config.log_config)
runner.register_hook(EvalHook(loader, test_fn=lambda model, loader: [], **config.evaluation))
if resume_from:
    runner.resume(resume_from)
else:
    runner.load_checkpoint(config.load_from)
runner.run([loader], [("train", 1)])
"""


class Project:
    """The toy project on a server; `run` trains it in a process of its own."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.runs = f"{bucket}/runs/work"
        self.work_dir = folder / "work"
        self.work_dir.mkdir()
        self._config = folder / "config.py"
        self._config.write_text(CONFIG.format(work_dir=self.work_dir, bucket=bucket))

    def run(self, resume_from: str = "") -> None:
        command = [sys.executable, "-W", "ignore", "-c", TRAIN, str(self._config), resume_from]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(OTHER), str(ROOT)])}
        done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    def names(self) -> set[str]:
        return set(FileClient(prefix="s3").list_dir_or_file(self.runs))


@pytest.fixture(params=["moto", "rclone"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    if not OTHER.is_dir():
        pytest.skip(RECIPE)
    request.getfixturevalue(f"{request.param}_environ")
    bucket = f"s3://mmcv1-{request.param}"
    asyncio.run(_make_bucket(bucket))
    client = FileClient(prefix="s3")
    for number in range(4):
        client.put(str(number).encode(), f"{bucket}/toy/{number}")
    for name, key, value in (("pretrained", "pretrained", 5.0), ("detector", "loaded", 7.0)):
        client.put(_pickled({"state_dict": {key: torch.tensor([value])}}), f"{bucket}/weights/{name}.pth")
    return Project(tmp_path, bucket)


def test_train_and_resume(project: Project) -> None:
    project.run()

    logs = {"toy.log", "started.log.json"}
    assert project.names() == {"epoch_2.pth", "epoch_3.pth", "best_acc_epoch_2.pth", *logs}
    assert list(project.work_dir.iterdir()) == []
    third = load_from_s3(f"{project.runs}/epoch_3.pth")
    assert (third["state_dict"]["pretrained"].item(), third["state_dict"]["loaded"].item()) == (5, 7)

    project.run(resume_from=f"{project.runs}/epoch_3.pth")

    logs |= {"resumed.log.json"}
    assert project.names() == {"epoch_3.pth", "epoch_4.pth", "best_acc_epoch_2.pth", *logs}
    fourth = load_from_s3(f"{project.runs}/epoch_4.pth")
    assert (fourth["meta"]["epoch"], fourth["meta"]["iter"]) == (4, 8)


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


async def _make_bucket(bucket: str) -> None:
    store = S3Store()
    await store.create_bucket(bucket)
    await store.aclose()
