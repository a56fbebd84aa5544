from __future__ import annotations

from pathlib import Path

import pytest

from asyncio_loader.demo import run
from asyncio_loader.demo.bucket import DemoBucket
from asyncio_loader.demo.screen import Screen
from asyncio_loader.errors import ConfigError
from asyncio_loader.stats import LoaderStats
from asyncio_loader.training.runner import TrainingReport


def report(ap50: float) -> TrainingReport:
    return TrainingReport(
        work_dir=Path("out"),
        losses=[2.0] * 5 + [1.0] * 5,
        metrics={"bbox_mAP_50": ap50},
        detections=[],
        stats=LoaderStats(samples=80, gets=82, retries=2, elapsed_s=8.0, wait_s=0.4, peak_window_bytes=1234567),
        elapsed_s=8.0,
    )


def test_an_ap50_of_a_half_is_a_pass() -> None:
    assert run._passed(report(0.5), Screen())
    assert not run._passed(report(0.49), Screen())


def test_the_summary_tells_what_the_loader_did() -> None:
    files = ["out/iter_4.pth", "out/iter_5.pth", "out/20261123.log", "out/config.py"]
    rows = run._summary(report(0.8), 4, files, Path("sheet.png"))

    assert rows["images per second"] == "10.0"
    assert rows["time waiting for data"] == "5.0%"
    assert rows["GETs"] == "82 (2 retries)"
    assert rows["peak buffer"] == "1,234,567 bytes"
    assert rows["loss, first to last"] == "2.000 → 1.000 (means of 5 steps)"
    assert rows["resumed"] == "at step 4: loss 2.000 before, 1.200 after"
    assert rows["in s3://demo-bucket/runs/"].splitlines() == [*files[:2], "2 files of logs and configs"]


def test_the_number_of_steps_moves_everything_that_counts_them() -> None:
    config = run._load_config(DemoBucket("http://x"), 50)

    assert (config.runner.max_iters, config.evaluation.interval, config.checkpoint_config.interval) == (50, 50, 20)
    assert config.lr_config.step == [40]


def test_data_and_results_are_on_the_demos_server() -> None:
    config = run._load_config(DemoBucket("http://x"), None)

    log = config.log_config.hooks[0]
    for place in (config.data.train, config.data.val, config.checkpoint_config, config.evaluation, log):
        assert place.file_client_args.endpoint_url == "http://x"
    for place in (config.checkpoint_config, config.evaluation, log):
        assert place.out_dir == "s3://demo-bucket/runs/"
    assert config.data.train.data_root == config.data.val.data_root == "s3://demo-bucket/synthetic/"


def test_one_step_is_too_few_to_resume_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--steps must be at least 2, .* not 1"):
        run.run_demo(keep=None, steps=1, out=tmp_path / "out")

    assert not (tmp_path / "out").exists()
