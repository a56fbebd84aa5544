from __future__ import annotations

import io
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.record import read_record
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training import runner
from asyncio_loader.training.datasets import build_loader
from asyncio_loader.training.distributed import Ranks, teller_of
from asyncio_loader.training.runner import TrainingReport, train
from tests.unit.training.crew import Crew

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


@pytest.mark.parametrize(("model_is_on", "asked"), [("cuda", "cuda"), ("mps", None)])
def test_batches_go_to_the_gpu_of_the_model(
    model_is_on: str, asked: str | None, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none: what the loader is asked for is noted, and it is given the host, which takes the same way."""
    devices: list[str | None] = []

    def build(*arguments: Any, device: str | None, **others: Any) -> Any:
        devices.append(device)
        return build_loader(*arguments, device=device and "cpu", **others)

    plain = run({**options, "runner.max_iters": 3}, tmp_path / "plain")
    monkeypatch.setattr(runner, "get_device", lambda: model_is_on)
    monkeypatch.setattr(runner, "build_loader", build)
    report = run({**options, "runner.max_iters": 3}, tmp_path / "other")

    assert devices == [asked]
    assert report.losses == plain.losses


class Scrape(Hook):  # type: ignore[misc]
    """Reads the metrics as Prometheus does, after the last step."""

    def after_train(self, runner: Any) -> None:
        (url,) = re.findall(
            r"metrics: (http://\S+)", "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))
        )
        with urllib.request.urlopen(url, timeout=10) as answer:
            self.lines = answer.read().decode().splitlines()


def test_metrics_are_shown_while_it_runs(options: dict[str, Any], tmp_path: Path) -> None:
    scrape = Scrape()

    run(options, tmp_path, hooks=[scrape], metrics_port=0)

    assert 'asyncio_loader_samples_total{loader="train",rank="0",worker="main"} 1.0' in scrape.lines


def test_the_scalars_of_mmengine_have_the_loaders_figures(options: dict[str, Any], tmp_path: Path) -> None:
    """What its visualizer backends get, TensorBoard and WandB as well as this file; and the log line."""
    run({**options, "runner.max_iters": 3}, tmp_path)

    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    names = [
        "loader/samples_per_s",
        "loader/mb_per_s",
        "loader/wait_share",
        "loader/in_flight",
        "loader/level",
        "loader/buffer_mb",
    ]
    assert len(lines) == 3
    assert all(name in line for line in lines for name in names)
    assert lines[-1]["loader/samples_per_s"] > 0
    assert 0 <= lines[-1]["loader/wait_share"] <= 1
    (log,) = tmp_path.glob("*/*.log")
    assert "loader/wait_share: 0." in log.read_text()


def test_progress_is_shown_on_request(
    options: dict[str, Any],
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")
    options |= {
        "runner.max_iters": 2,
        "evaluation": {"_delete_": True, "interval": 2, "metric": "bbox"},
        "data.val.data_root": str(data_root),
        "data.val.file_client_args": {"_delete_": True, "backend": "disk"},
    }
    run(options, tmp_path, progress=True)

    said = capsys.readouterr().err.splitlines()
    # A run by iterations validates within an iteration of its data.
    assert [line.partition(" in ")[0] for line in said] == ["val, epoch 0: 1/1", "train, epoch 0: 2/2"]


def test_without_a_terminal_it_is_quiet_by_itself(
    options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("ASYNCIO_LOADER_PROGRESS", raising=False)
    run(options, tmp_path, progress=None)

    assert capsys.readouterr().err == ""


def test_the_log_goes_to_the_console_that_is_given(options: dict[str, Any], tmp_path: Path) -> None:
    console = io.StringIO()

    train(load_config(BASE, options), work_dir=tmp_path, console=console)

    assert "Iter(train) [1/1]" in console.getvalue()
    assert "Iter(train) [1/1]" in "".join(path.read_text() for path in tmp_path.glob("*/*.log"))


def test_a_work_directory_that_is_a_uri_is_one_line(options: dict[str, Any]) -> None:
    uri = "s3://bucket/runs"

    with pytest.raises(ConfigError, match=rf"{BASE.name}: work_dir='{uri}' is a URI, and must be a path"):
        run({**options, "work_dir": uri}, None)


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
        ({"model": None}, "model is missing: a run takes model, data, optimizer, runner"),
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


class Rates(Hook):  # type: ignore[misc]
    """Learning rate of each step."""

    # Before the schedulers.
    priority = "NORMAL"

    def __init__(self) -> None:
        self.values: list[float] = []

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.values.append(runner.optim_wrapper.get_lr()["lr"][0])


@pytest.fixture
def epochs(options: dict[str, Any]) -> dict[str, Any]:
    """Five epochs of two steps: a warm-up by iterations over steps by epochs, checkpoints without the optimizer."""
    values = {
        **options,
        "runner": {"type": "EpochBasedRunner", "max_epochs": 5, "_delete_": True},
        "optimizer": {"type": "SGD", "lr": 0.001, "momentum": 0.9, "_delete_": True},
        "lr_config": {"policy": "step", "step": [2, 4], "warmup": "linear", "warmup_iters": 3, "_delete_": True},
    }
    values |= {"checkpoint_config": {"interval": 1, "save_optimizer": False, "out_dir": None, "max_keep_ckpts": -1}}
    return values


def rates(options: dict[str, Any], work_dir: Path) -> list[float]:
    hook = Rates()
    run(options, work_dir, hooks=[hook])
    return hook.values


@pytest.mark.parametrize("has_optimizer", [False, True])
def test_a_resume_has_the_learning_rates_of_a_run_in_one_go(
    epochs: dict[str, Any], tmp_path: Path, has_optimizer: bool
) -> None:
    epochs["checkpoint_config.save_optimizer"] = has_optimizer
    whole = rates(epochs, tmp_path / "whole")

    for epoch in (1, 3):
        start = str(tmp_path / "whole" / f"epoch_{epoch}.pth")
        resumed = rates({**epochs, "resume_from": start}, tmp_path / f"from_{epoch}")

        assert resumed == pytest.approx(whole[2 * epoch :])
        (log,) = (tmp_path / f"from_{epoch}").glob("*/*.log")
        warnings = [line for line in log.read_text().splitlines() if "has no optimizer" in line]
        assert len(warnings) == (not has_optimizer)


def test_a_resume_by_iterations_has_them_too(epochs: dict[str, Any], tmp_path: Path) -> None:
    epochs["runner"] = {"type": "IterBasedRunner", "max_iters": 8, "_delete_": True}
    epochs["lr_config"] |= {"by_epoch": False, "step": [4, 6]}
    whole = rates(epochs, tmp_path / "whole")

    resumed = rates({**epochs, "resume_from": str(tmp_path / "whole" / "iter_5.pth")}, tmp_path / "resumed")

    assert resumed == pytest.approx(whole[5:])


@pytest.mark.parametrize("damage", ["best", "page", "none"])
def test_what_cannot_be_resumed_is_one_line_with_config_and_key(
    epochs: dict[str, Any], tmp_path: Path, damage: str
) -> None:
    start = tmp_path / "start.pth"
    if damage == "best":
        run({**epochs, "runner.max_epochs": 1}, tmp_path / "first")
        values = torch.load(tmp_path / "first" / "epoch_1.pth", weights_only=False)
        del values["param_schedulers"]
        torch.save(values, start)
    elif damage == "page":
        start.write_text("<html>")

    with pytest.raises(ConfigError) as caught:
        run({**epochs, "resume_from": str(start)}, tmp_path / "run")

    assert str(caught.value).startswith(f"{BASE}: resume_from='{start}'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("resume", [False, True])
def test_a_new_run_over_an_old_one_is_warned(epochs: dict[str, Any], tmp_path: Path, resume: bool) -> None:
    run({**epochs, "runner.max_epochs": 1}, tmp_path)

    console = io.StringIO()
    train(load_config(BASE, epochs), work_dir=tmp_path, console=console, resume=resume)

    assert ("1 checkpoints of an earlier run (epoch_1.pth)" in console.getvalue()) is (not resume)


def test_places_may_be_trusted_by_argument(options: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.zeros(1)}, "where": tmp_path}, tmp_path / "theirs.pth")
    options["load_from"] = str(tmp_path / "theirs.pth")

    with pytest.raises(ConfigError, match=r"say so with --trust"):
        run(options, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"none of its 1 tensors fits"):
        run(options, tmp_path / "run", trusted=[str(tmp_path)])


def test_what_mmengine_writes_twice_is_shipped_once(options: dict[str, Any], tmp_path: Path) -> None:
    run({**options, "log_config.hooks.0.out_dir": str(tmp_path / "logs")}, tmp_path / "run")

    names = sorted(path.name for path in (tmp_path / "logs").rglob("*.*"))
    (log,) = (tmp_path / "run").glob("*/*.log")
    assert names == [f"{log.stem}.json", log.name, BASE.name, "record.jsonl"]


def test_the_record_of_a_run_is_complete_when_it_is_shipped(options: dict[str, Any], tmp_path: Path) -> None:
    report = run({**options, "log_config.hooks.0.out_dir": str(tmp_path / "logs")}, tmp_path / "run")

    (path,) = (tmp_path / "logs").rglob("record.jsonl")
    record = read_record(path)
    assert record.total("train").samples == report.stats.samples > 0
    assert record.total("train").fetch.count == report.stats.fetch.count
    assert record.segments[0].options["train"]["batch_size"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # What all ranks see, what rank 0 alone looks at, and what goes wrong on the way.
        ({"data.samples_per_gpu": 0}, "data.samples_per_gpu=0 must be"),
        ({"auto_scale_lr": {"enable": True, "base_batch_size": 16}}, "auto_scale_lr.enable=True: on 2 ranks"),
        ({"checkpoint_config": {"interval": 1, "out_dir": str(Path(__file__))}}, "test_runner.py is not a directory"),
        ({"resume_from": "none.pth"}, "resume_from='none.pth': no such file"),
        ({"data.train.ann_file": "none.json"}, "none.json"),
    ],
)
def test_what_is_wrong_before_the_first_step_is_raised_on_all_ranks(
    crew: Crew, options: dict[str, Any], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (first, first_teller), (second, second_teller) = crew.run(_refused, {**options, **changes}, tmp_path / "run")

    assert first == second
    assert first.startswith(f"{BASE}: ")
    assert said in first
    assert first_teller == second_teller == 0


def _refused(ranks: Ranks, options: dict[str, Any], work_dir: Path) -> tuple[str, int | None]:
    with pytest.raises(LoaderError) as caught:
        run(options, work_dir)
    return str(caught.value), teller_of(caught.value)
