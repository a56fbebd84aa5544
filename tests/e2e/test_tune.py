"""``bench/throughput.py``, which is ``asyncio-loader tune``, on the simulator: that it runs and what it leaves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The script, from somewhere else than the checkout."""
    command = [sys.executable, str(ROOT / "bench" / "throughput.py"), *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("how", [["--threads", "1"], ["--workers", "1"]])
def test_the_tool_measures_the_simulator(tmp_path: Path, how: list[str]) -> None:
    done = run(
        tmp_path, "--concurrency", "2,8", "--seconds", "0.2", "--latency-median", "1", "--decode", *how, "--out", "out"
    )

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r" +\d+  ", line)]
    assert [row[0] for row in rows] == ["2", "8"]
    assert re.search(r"^    FetchOptions\(max_in_flight=[28]\)$", done.stdout, re.MULTILINE)
    (document,) = (tmp_path / "out").glob("*.json")
    measured = json.loads(document.read_text())["measurements"]
    for each in measured:
        assert each["samples"] > 0
        assert each["cpu_us_per_get"] > 0
        # Nobody is answered before the simulator's clock says so; all percentiles are of the same GETs.
        assert 0 < each["latency_p50_s"] <= each["latency_p95_s"] <= each["latency_p99_s"]
        assert 0 <= each["wait_share"] <= 1
        assert each["peak_rss_bytes"] > each["base_rss_bytes"] / 2 > 0
    with Image.open(document.with_suffix(".png")) as picture:
        assert picture.size == (900, 660)
    assert "[2/2] 8 in flight: " in done.stderr


def test_bad_numbers_are_bad_usage(tmp_path: Path) -> None:
    done = run(tmp_path, "--concurrency", "16,many")

    assert (done.returncode, done.stdout) == (2, "")
    assert "'many' is not a whole number of at least 1" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_its_help_names_the_script(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")

    assert done.stdout.startswith("usage: python bench/throughput.py [URI] [options]")
    assert "\n  python bench/throughput.py s3://bucket/coco/train2017/ --decode" in done.stdout
    assert "asyncio-loader" not in done.stdout
