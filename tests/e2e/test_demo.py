"""The demo, with too few steps to learn anything: that it runs, says so, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from asyncio_loader.cli import main
from asyncio_loader.demo import run
from asyncio_loader.pictures.sheet import CELL_PX


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_IMAGES", 16)
    monkeypatch.setattr(run, "_VAL_IMAGES", 8)


def test_the_demo_without_learning(
    few_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        code = main(["demo", "--steps", "2", "--keep", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    finally:
        torch.set_num_threads(before)

    out = capsys.readouterr().out
    assert code == 1
    assert "it did not learn: AP50 is 0.0" in out
    for name in ("images per second", "time waiting for data", "GETs", "peak buffer", "loss, first to last", "AP50"):
        assert name in out
    assert "train 2/2  loss " in out
    assert (tmp_path / "data" / "annotations" / "instances_train2017.json").is_file()
    assert "resume from s3://demo-bucket/runs/out/iter_1.pth" in out
    for name in ("out/iter_1.pth", "out/iter_2.pth", "out/best_bbox_mAP_50_iter_", "files of logs and configs"):
        assert name in out
    assert (tmp_path / "out" / "iter_2.pth").is_file()
    with Image.open(tmp_path / "out" / "predictions.png") as sheet:
        # Four side by side.
        assert sheet.width == 4 * (CELL_PX + 12) + 12
    # The bucket was this process's S3 for the length of the demo only.
    assert "AWS_ENDPOINT_URL_S3" not in os.environ


def test_an_interrupt_ends_the_demo_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import signal, sys, torch\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "torch.set_num_threads(1)\n"
        "from asyncio_loader.demo import run\n"
        "run._IMAGES = 16\n"
        "sys.argv = ['asyncio-loader', 'demo', '--steps', '500', '--out', sys.argv[1]]\n"
        "from asyncio_loader.cli import main\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-u", "-c", code, str(tmp_path / "out")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            # 16 training and 40 validation images, and two annotation files.
            if line.startswith("upload") and "58/58" in line:
                break
        start_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        took_s = time.monotonic() - start_s

    (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", said)
    assert (process.returncode, errors) == (130, "asyncio-loader: interrupted\n")
    # It promises 2; a busy machine may take longer to notice.
    assert took_s < 6
    assert not _listens(int(port))
    assert list(tmp_path.glob("asyncio-loader-*")) == []


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
