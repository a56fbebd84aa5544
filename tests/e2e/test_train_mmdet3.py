"""The same run in the dialects of mmdet 2.x and 3.x: from one bucket, to the same losses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.cli import main
from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.simulator import S3Simulator
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training.runner import TrainingReport, train
from tests.e2e.steps_log import Step, read_steps, train_logged
from tests.e2e.test_train import one_torch_thread

__all__ = ["one_torch_thread"]

ROOT = Path(__file__).parents[2]
OLD = ROOT / "pipelines/faster_rcnn/faster_rcnn_r18_fpn_bccd_s3.py"
NEW = ROOT / "pipelines/faster_rcnn/faster-rcnn_r18_fpn_bccd_s3.py"
CLASSES = ("circle", "square", "triangle")
# Two epochs of three steps, saved in the middle of the second one.
STEPS = 6

# Everything small: it is what the two have in common that is tested, not what is learned.
MODEL = {
    "model.neck.out_channels": 16,
    "model.rpn_head.in_channels": 16,
    "model.rpn_head.feat_channels": 16,
    "model.roi_head.bbox_roi_extractor.out_channels": 16,
    "model.roi_head.bbox_head.in_channels": 16,
    "model.roi_head.bbox_head.fc_out_channels": 32,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Simulator]:
    directory = write_synthetic_coco(
        tmp_path_factory.mktemp("coco"), images=6, val_images=3, size=(64, 48), mixed_sizes=True
    )
    with S3Simulator(directory) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def environ(data: S3Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in data.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", data.endpoint_url)


@pytest.fixture
def old(data: S3Simulator) -> dict[str, Any]:
    """What makes a small run of the ready config of 2.x."""
    options: dict[str, Any] = {**MODEL, "data.samples_per_gpu": 2, "data.workers_per_gpu": 1}
    for split in ("train", "val"):
        options |= {f"data.{split}.data_root": data.uri(""), f"data.{split}.classes": CLASSES}
    options |= {"data.train.pipeline.2.img_scale": (64, 64), "data.val.pipeline.1.img_scale": (64, 64)}
    options |= {"runner": {"type": "EpochBasedRunner", "max_epochs": 2, "_delete_": True}}
    options |= {"lr_config": {"policy": "step", "step": [1], "warmup": "linear", "warmup_iters": 2, "_delete_": True}}
    options |= {"checkpoint_config.interval": 2, "checkpoint_config.by_epoch": False, "evaluation.interval": 2}
    return options | {"checkpoint_config.max_keep_ckpts": -1, "log_config.interval": 1}


@pytest.fixture
def new(data: S3Simulator) -> dict[str, Any]:
    """The same for that of 3.x."""
    options: dict[str, Any] = dict(MODEL)
    for split, place in (("train", 2), ("val", 1)):
        loader = f"{split}_dataloader"
        options |= {f"{loader}.batch_size": 2, f"{loader}.num_workers": 1}
        options |= {f"{loader}.dataset.data_root": data.uri(""), f"{loader}.dataset.metainfo.classes": CLASSES}
        options |= {f"{loader}.dataset.pipeline.{place}.scale": (64, 64)}
    loop = {"type": "EpochBasedTrainLoop", "max_epochs": 2, "val_interval": 2}
    warmup = {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3}
    options |= {"train_cfg": {**loop, "_delete_": True}}
    options |= {"param_scheduler": [warmup, {"type": "MultiStepLR", "milestones": [1], "gamma": 0.1}]}
    options |= {"default_hooks.checkpoint.interval": 2, "default_hooks.checkpoint.max_keep_ckpts": -1}
    return options | {"default_hooks.logger.interval": 1, "log_processor": None}


def run(config: Path, work_dir: Path, options: dict[str, Any]) -> tuple[TrainingReport, list[Step]]:
    report = train_logged(config, work_dir, options)
    return report, read_steps(work_dir.with_name(f"{work_dir.name}.steps"))


def names_of(steps: list[Step]) -> list[list[str]]:
    """Without the directory, which only 3.x has in the names."""
    return [[name.rpartition("/")[2] for name in step.names] for step in steps]


def test_both_dialects_train_equally_and_a_run_of_3x_goes_on_where_it_was(
    old: dict[str, Any], new: dict[str, Any], tmp_path: Path
) -> None:
    of_old, old_steps = run(OLD, tmp_path / "old", old)
    of_new, new_steps = run(NEW, tmp_path / "new", new)

    assert len(of_old.losses) == STEPS
    # To the last bit, though one normalizes and pads in the pipeline and the other on the device.
    assert of_new.losses == of_old.losses
    assert of_new.metrics == of_old.metrics
    assert names_of(new_steps) == names_of(old_steps)
    assert [step.rate for step in new_steps] == [step.rate for step in old_steps]
    assert {path.name for path in (tmp_path / "new").glob("*.pth")} == {
        path.name for path in (tmp_path / "old").glob("*.pth")
    }

    old_end, _ = run(OLD, tmp_path / "old_end", {**old, "resume_from": str(tmp_path / "old" / "iter_4.pth")})
    resume = {"load_from": str(tmp_path / "new" / "iter_4.pth"), "resume": True}
    new_end, steps = run(NEW, tmp_path / "new_end", {**new, **resume})

    assert steps == new_steps[4:]
    # The regions to learn from are drawn anew.
    assert new_end.losses[:4] == of_new.losses[:4]
    assert new_end.losses == old_end.losses

    of_the_other = {"load_from": str(tmp_path / "old" / "iter_4.pth"), "resume": True}
    assert run(NEW, tmp_path / "other_end", {**new, **of_the_other})[0].losses == old_end.losses


def test_resume_without_load_from_goes_on_from_the_last_checkpoint(new: dict[str, Any], tmp_path: Path) -> None:
    options = {**new, "default_hooks.checkpoint.interval": 3}
    run(NEW, tmp_path / "run", {**options, "train_cfg": {**new["train_cfg"], "max_epochs": 1}})

    resumed, steps = run(NEW, tmp_path / "run", {**options, "resume": True})

    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert len(resumed.losses) == STEPS


def test_the_command_line_trains_a_config_of_3x(
    data: S3Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = "metainfo=dict(classes=('circle', 'square', 'triangle'))"
    (tmp_path / "mine.py").write_text(
        f"""_base_ = "faster-rcnn_r18_fpn_bccd_s3"
train_dataloader = dict(batch_size=1, dataset=dict(data_root={data.uri("")!r}, {classes}))
val_dataloader = val_cfg = val_evaluator = None
train_cfg = dict(max_iters=1)
default_hooks = dict(checkpoint=dict(save_best=None))
param_scheduler = None
""",
        encoding="utf-8",
    )

    code = main(["train", "mine.py", "--cfg-options", "default_hooks.logger.interval=1", "randomness.seed=4"])

    assert code == 0
    assert "Iter(train) [1/1]" in capsys.readouterr().out
    assert (tmp_path / "work_dirs" / "mine" / "iter_1.pth").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": {"type": "SGD"}}, "optimizer of mmdet 2.x and train_dataloader, "),
        ({"train_dataloader.dataset.data_prefix": {"imgs": "x"}}, "train_dataloader.dataset: data_prefix: unknown key"),
        ({"train_dataloader.num_worker": 2}, "train_dataloader.num_worker=2: there is no such key; did you mean"),
        ({"train_dataloader.dataset.metainfo.classes": ["a"]}, "train_dataloader.dataset: "),
        ({"model.roi_head.bbox_head.num_classes": 4}, "model.roi_head.bbox_head.num_classes=4, but train_dataloader."),
        (
            {"val_evaluator.ann_file": "x.json"},
            "val_evaluator.ann_file='x.json' must be that of val_dataloader.dataset",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_and_key(
    new: dict[str, Any], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        train(load_config(NEW, {**new, **options}), work_dir=tmp_path)

    assert str(caught.value).startswith(f"{NEW}: {said}")
    assert "\n" not in str(caught.value)
