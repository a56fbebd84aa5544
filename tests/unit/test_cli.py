from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import asyncio_loader
from asyncio_loader import cli
from asyncio_loader.errors import ConfigError, ObjectNotFound


def train_with(monkeypatch: pytest.MonkeyPatch, command: Callable[[argparse.Namespace], int], *arguments: str) -> int:
    """Run ``train CONFIG`` with another body."""
    monkeypatch.setattr(cli, "_train", command)
    return cli.main(["train", "config.py", *arguments])


def raiser(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def command(arguments: argparse.Namespace) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["train", "--list"],
        *([command, "--help"] for command in ("demo", "train", "tune", "convert", "doctor", "show")),
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
    assert run.stdout.startswith(("asyncio-loader", "usage: asyncio-loader", "Ready configs:"))


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
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: asyncio-loader" in capsys.readouterr().err


def test_what_the_arguments_say_reaches_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def command(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 0

    options = "--work-dir w --cfg-options a=1 b.c=2 --resume --trust d --metrics-port 9400"
    assert train_with(monkeypatch, command, *options.split()) == 0
    (arguments,) = seen
    assert (arguments.config, arguments.work_dir) == (Path("config.py"), Path("w"))
    assert (arguments.cfg_options, arguments.resume, arguments.trust) == (["a=1", "b.c=2"], True, ["d"])
    assert (arguments.metrics_port, arguments.metrics_addr) == (9400, "127.0.0.1")


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("a.b=0\n  is wrong"), 2), (ObjectNotFound("s3://b/k: no such key"), 1)]
)
def test_an_expected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    assert train_with(monkeypatch, raiser(error)) == code
    assert capsys.readouterr().err == f"asyncio-loader: error: {' '.join(str(error).split())}\n"


def test_debug_shows_where_an_expected_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError):
        train_with(monkeypatch, raiser(ConfigError("wrong")), "--debug")


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        train_with(monkeypatch, raiser(ZeroDivisionError("a bug")))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    assert train_with(monkeypatch, raiser(error)) == 2
    assert "pip install 'asyncio-loader[train]'" in capsys.readouterr().err


def test_a_missing_module_of_ours_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError):
        train_with(monkeypatch, raiser(ModuleNotFoundError("asyncio_loader.x", name="asyncio_loader.x")))


def test_an_interrupt_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_with(monkeypatch, raiser(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "asyncio-loader: interrupted\n"


def test_sigterm_unwinds_and_is_one_line_and_143(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unwound: list[str] = []

    def command(arguments: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            # What it interrupts is unwound in peace.
            signal.raise_signal(signal.SIGTERM)
            unwound.append("whole")
        return 0

    assert train_with(monkeypatch, command) == 143
    assert capsys.readouterr().err == "asyncio-loader: terminated\n"
    assert unwound == ["whole"]


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda number, frame: None])
def test_the_handler_of_sigterm_is_put_back(monkeypatch: pytest.MonkeyPatch, handler: Any) -> None:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert train_with(monkeypatch, lambda arguments: 0) == 0
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_ignores_sigterm_goes_on_doing_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def command(arguments: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    try:
        assert train_with(monkeypatch, command) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_signals_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(train_with(monkeypatch, lambda arguments: 0)))

    thread.start()
    thread.join()

    assert codes == [0]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_even_a_native_call_that_takes_no_notice(number: signal.Signals, code: int, said: str) -> None:
    program = (
        "import hashlib, signal, sys\n"
        "from asyncio_loader import cli\n"
        "def stuck(arguments):\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        # Else one that comes before the call would be taken notice of.
        "        signal.signal(number, lambda number, frame: None)\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "cli._train = stuck\n"
        "sys.exit(cli.main(['train', 'c.py']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        start_s = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (code, f"asyncio-loader: {said}\n".encode())
    # It promises 2; a busy machine may take longer to notice.
    assert time.monotonic() - start_s < 6


@pytest.mark.parametrize(
    ("act", "said"),
    [
        ("print('acted', flush=True)", ""),
        ("raise LoaderError('s3://b/x.log: the upload\\nfailed')", " (s3://b/x.log: the upload failed)"),
        ("threading.Event().wait()", " (there was no time to copy the log: it stays where it is)"),
    ],
)
def test_before_a_stuck_process_is_ended_the_log_is_copied(act: str, said: str) -> None:
    code = (
        "import hashlib, signal, sys, threading\n"
        "from asyncio_loader import cli\n"
        "from asyncio_loader.errors import LoaderError\n"
        "def act():\n"
        f"    {act}\n"
        "def stuck(arguments):\n"
        "    arguments.before_kill(act)\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        # Else one that comes before the call would be taken notice of.
        "        signal.signal(number, lambda number, frame: None)\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "cli._train, cli._LAST_ACTS_S = stuck, 0.2\n"
        "sys.exit(cli.main(['train', 'c.py']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)

    assert process.returncode == 130
    assert errors.decode() == f"asyncio-loader: interrupted{said}\n"
    assert output == (b"acted\n" if "acted" in act else b"")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.py"], "config none.py: no such file"),
        (["config.py", "--cfg-options", "nonsense"], "--cfg-options 'nonsense' is not of the form key=value"),
        (["config.py", "--cfg-options", "modle.type=x"], "there is no key 'modle'; did you mean 'model'?"),
        (["config.py", "--cfg-options", "data.samples_per_gpu=0"], "config.py: data.samples_per_gpu=0 must be"),
        (["config.py", "--cfg-options", "model.depht=3"], "config.py: model.depht=3: there is no such key"),
    ],
)
def test_what_is_wrong_with_a_config_is_one_line_that_says_where(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    base = Path(__file__).parents[2] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"
    (tmp_path / "config.py").write_text(f"_base_ = {str(base)!r}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    code = cli.main(["train", *arguments])

    errors = capsys.readouterr().err
    assert code == 2
    assert errors.startswith("asyncio-loader: error: ")
    assert errors.count("\n") == 1
    assert said in errors


def test_convert_writes_the_weights_as_mmdet_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "ours.pth", tmp_path / "theirs.pth"
    torch.save({"rpn.head.conv.0.0.weight": torch.ones(1)}, source)

    code = cli.main(["convert", str(source), str(target), "--to", "mmdet"])

    assert (code, capsys.readouterr().out) == (0, f"{target}: 1 tensors\n")
    assert torch.load(target)["state_dict"].keys() == {"rpn_head.rpn_conv.weight"}


def test_convert_says_in_one_line_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "page.pth"
    source.write_text("<html>")

    assert cli.main(["convert", str(source), str(tmp_path / "x.pth"), "--to", "mmdet"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"asyncio-loader: error: source='{source}' is not a checkpoint")
    assert errors.count("\n") == 1


def test_what_the_file_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_with(monkeypatch, raiser(NotADirectoryError(20, "Not a directory", "out/x"))) == 1
    assert capsys.readouterr().err == "asyncio-loader: error: out/x: Not a directory\n"


@pytest.mark.parametrize("command", ["train", "show"])
def test_list_names_the_ready_configs_and_the_parts_of_others(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--list"])

    configs, parts = capsys.readouterr().out.split("Parts for the _base_ of a config:\n")
    assert ended.value.code == 0
    assert "  faster_rcnn_r50_fpn_1x_coco_s3\n" in configs
    assert "  schedule_1x\n" in parts
    assert "schedule_1x" not in configs


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
