from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mmengine.hooks import Hook

from asyncio_loader.config import load_config
from asyncio_loader.errors import ConfigError
from asyncio_loader.progress import process_board, transferring
from asyncio_loader.testing.synthetic import write_synthetic_coco
from asyncio_loader.training import watching
from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.runner import train
from asyncio_loader.training.watching import open_watch
from tests.unit.progress.terminal import Pty

CONFIG = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"


def shows_transfers() -> bool:
    file = io.BytesIO()
    with transferring("upload", "a.pth") as counted:
        return counted(file) is not file


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "plain")


def test_it_is_asked_for() -> None:
    with contextlib.ExitStack() as stack:
        watch = open_watch(True, Ranks(), stack)
        assert watch.line_of("val") == "val"
        assert shows_transfers()

    assert not shows_transfers()


@pytest.mark.parametrize(("is_live", "line"), [(True, "train"), (False, False)])
def test_by_itself_it_is_for_terminals(is_live: bool, line: str | bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "can_be_live", lambda: is_live)
    with contextlib.ExitStack() as stack:
        assert open_watch(None, Ranks(), stack).line_of("train") == line
        assert shows_transfers() is is_live


def test_an_environment_that_is_wrong_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCIO_LOADER_PROGRESS", "loud")
    with contextlib.ExitStack() as stack, pytest.raises(ConfigError, match="ASYNCIO_LOADER_PROGRESS='loud'"):
        open_watch(None, Ranks(), stack)


@pytest.mark.parametrize(("is_on", "where"), [(True, "later"), (False, "first")])
def test_log_lines_go_where_the_stream_is_at_the_time(is_on: bool, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {"first": io.StringIO(), "later": io.StringIO()}
    monkeypatch.setattr(sys, "stdout", streams["first"])
    logger = logging.Logger("run")
    logger.addHandler(logging.StreamHandler(sys.stdout))
    with contextlib.ExitStack() as stack:
        open_watch(is_on, Ranks(), stack).keep_whole(logger.handlers, stack)
        monkeypatch.setattr(sys, "stdout", streams["later"])
        logger.warning("a line")

    assert [name for name, stream in streams.items() if stream.getvalue() == "a line\n"] == [where]


def test_the_lines_of_mmengines_log_stand_whole_above_the_line(
    small_model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on a terminal, standard output and error; wide, lest it break the lines of the log."""
    data_root = write_synthetic_coco(tmp_path / "coco", images=4, val_images=1, size=64)
    options = {
        "data.samples_per_gpu": 1,
        "data.train.data_root": str(data_root),
        "data.train.file_client_args": {"_delete_": True, "backend": "disk"},
        "data.train.pipeline.2.img_scale": (64, 64),
        "model": {**small_model, "_delete_": True},
        "runner.max_iters": 3,
        "evaluation": None,
        "checkpoint_config": None,
        "log_config.interval": 1,
        "log_config.hooks.0.out_dir": None,
    }
    for name in ("COLUMNS", "CI", "ASYNCIO_LOADER_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Pty(500) as pty, pty.being_read():
        monkeypatch.setattr(sys, "stdout", pty.stream)
        monkeypatch.setattr(sys, "stderr", pty.stream)
        train(load_config(CONFIG, options), work_dir=tmp_path / "run", hooks=[Refresh()], progress=None)

    lines = [line for line in pty.screen.lines if line]
    logged = [line for line in lines if "Iter(train)" in line]
    assert [re.search(r"\[\d/3\]", line)[0] for line in logged] == ["[1/3]", "[2/3]", "[3/3]"]  # type: ignore[index]
    assert all(re.match(r"\d\d/\d\d [\d:]+ - mmengine - INFO - Iter", line) for line in logged)
    assert lines[-1].startswith("train, epoch 0  3/4 in 0:")
    assert "buffer" in pty.text
    assert not any("buffer " in line for line in lines)


class Refresh(Hook):  # type: ignore[misc]
    """The ticker may not come to it in three steps."""

    priority = "LOWEST"

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        process_board().refresh()
