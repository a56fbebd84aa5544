from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asyncio_loader.cli import main
from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.trace import read_trace
from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.runner import train
from asyncio_loader.training.tracing import open_trace
from tests.trace_format import check_events

CONFIG = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"


def test_both_loaders_of_a_run_write_to_its_file(tmp_path: Path, small_model: dict[str, Any]) -> None:
    disk = {"_delete_": True, "backend": "disk"}
    data_root = write_synthetic_coco(tmp_path / "coco", images=3, val_images=2, size=64)
    options: dict[str, Any] = {
        "data.samples_per_gpu": 1,
        "model": {**small_model, "_delete_": True},
        "runner.max_iters": 2,
        "evaluation.interval": 2,
        "evaluation.save_best": None,
        "evaluation.out_dir": None,
        "checkpoint_config": None,
        "log_config.hooks.0.out_dir": None,
    }
    for split in ("train", "val"):
        options |= {f"data.{split}.data_root": str(data_root), f"data.{split}.file_client_args": disk}

    train(load_config(CONFIG, options), work_dir=tmp_path / "work", trace=tmp_path / "trace.json")

    check_events(json.loads((tmp_path / "trace.json").read_bytes()))
    trace = read_trace(tmp_path / "trace.json")
    delivered = [span.args["uri"] for span in trace.spans("object") if "unfinished" not in span.args]
    assert sum("/train" in uri for uri in delivered) >= 2
    assert sum("/val" in uri for uri in delivered) == 2
    assert {"train: level", "val: level"} <= {event.name for event in trace.events if event.phase == "C"}


def test_each_of_several_ranks_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other.rank1.json").mkdir()

    traces = [open_trace(tmp_path / "trace.json", Ranks(rank, 2, rank)) for rank in range(2)]

    assert [trace and trace.path for trace in traces] == [str(tmp_path / f"trace.rank{rank}.json") for rank in range(2)]
    with pytest.raises(ConfigError, match=r"other.rank1.json' cannot be written: Is a directory"):
        open_trace(tmp_path / "other.json", Ranks(1, 2, 1))


def test_on_the_command_line_it_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", str(CONFIG), "--work-dir", str(tmp_path), "--trace", str(tmp_path / "no" / "t.json")])

    assert code == 2
    assert capsys.readouterr().err == (
        f"asyncio-loader: error: trace='{tmp_path}/no/t.json' cannot be written: No such file or directory\n"
    )


def test_nothing_is_opened_where_nothing_is_asked_for() -> None:
    assert open_trace(None, Ranks()) is None
