"""``asyncio-loader show``, as its user calls it: real images in a bucket, one command, a picture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from asyncio_loader.pictures.marks import color_of
from asyncio_loader.testing.servers import RcloneServer

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "pipelines/faster_rcnn/faster_rcnn_r18_fpn_bccd_s3.py"


def test_a_sheet_of_what_lies_in_a_bucket(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests/data/bccd", tmp_path / "buckets" / "cells" / "bccd")
    out = tmp_path / "sheet.png"
    with RcloneServer(tmp_path / "buckets") as server:
        environ = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        options = ["--cfg-options", "data.train.data_root=s3://cells/bccd/", "data.val.data_root=s3://cells/bccd/"]
        done = subprocess.run(
            [sys.executable, "-m", "asyncio_loader", "show", str(CONFIG), "-n", "4", "--out", str(out), *options],
            env={**environ, **server.environ},
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: data.train, the first 4 samples of ")
    with Image.open(out) as image:
        pixels = np.asarray(image)
    # Four of 320x256, padding included, each as wide as a cell, with boxes of red cells, which are in all of them.
    assert pixels.shape[1] == 4 * 412 + 12
    is_box = (pixels == color_of(0)).all(axis=2)
    for column in range(4):
        assert is_box[:, 12 + 412 * column : 412 * (column + 1)].sum() > 500
