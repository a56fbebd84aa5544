from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import asyncio_loader
from asyncio_loader.cli import main
from asyncio_loader.errors import ConfigError


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["train", "--list"],
        *([command, "--help"] for command in ("demo", "train", "tune", "convert", "doctor", "show", "report")),
    ],
)
def test_help_imports_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from asyncio_loader.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n"
        "    assert not {'torch', 'mmengine', 'numpy', 'cv2', 'PIL', 'botocore', 'aiohttp'} & sys.modules.keys()\n"
    )

    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(("asyncio-loader", "usage: asyncio-loader", "Ready configs, "))


def test_the_package_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "asyncio_loader", "--version"], capture_output=True, text=True, check=False
    )

    assert run.stdout == f"asyncio-loader {asyncio_loader.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tain"],
        ["train"],
        ["demo", "--steps", "0"],
        ["train", "c.py", "--x"],
        ["train", "c.py", "--metrics-port", "65536"],
    ],
)
def test_bad_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: asyncio-loader" in capsys.readouterr().err


def test_debug_shows_where_an_expected_error_came_from(train_with: Callable[..., int]) -> None:
    with pytest.raises(ConfigError):
        train_with(ConfigError("wrong"), "--debug")


def test_an_unexpected_error_keeps_its_traceback(train_with: Callable[..., int]) -> None:
    with pytest.raises(ZeroDivisionError):
        train_with(ZeroDivisionError("a bug"))


def test_a_missing_module_of_ours_is_a_bug(train_with: Callable[..., int]) -> None:
    with pytest.raises(ModuleNotFoundError):
        train_with(ModuleNotFoundError("asyncio_loader.x", name="asyncio_loader.x"))


def test_an_interrupt_is_one_line_and_130(train_with: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert train_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "asyncio-loader: interrupted\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("asyncio-loader tr", {"train "}),
        ("asyncio-loader train --res", {"--resume "}),
        ("asyncio-loader train ", {"mine.py", "faster_rcnn_r50_fpn_1x_coco_s3"}),
        ("asyncio-loader show faster_rcnn_r50", {"faster_rcnn_r50_fpn_1x_coco_s3 "}),
    ],
)
def test_a_shell_completes_commands_options_and_configs(line: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("seed = 1\n", encoding="utf-8")
    (tmp_path / "other.txt").write_text("", encoding="utf-8")
    said = tmp_path / "said"
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE": "1"}
    asked |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(said)}

    run = subprocess.run(
        [sys.executable, "-m", "asyncio_loader"],
        cwd=tmp_path,
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )

    answers = set(said.read_text(encoding="utf-8").split("\n"))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert offered <= answers
    assert "other.txt" not in answers
