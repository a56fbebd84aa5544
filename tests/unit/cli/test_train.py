from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncio_loader.cli import main
from asyncio_loader.cli.interrupts import InterruptDeadline
from asyncio_loader.progress import process_board


def test_what_the_arguments_say_reaches_the_command(train_with: Callable[..., int]) -> None:
    seen: list[argparse.Namespace] = []

    def command(arguments: argparse.Namespace) -> int:
        seen.append(arguments)
        return 0

    options = "--work-dir w --cfg-options a=1 b.c=2 --resume --trust d --metrics-port 9400"
    assert train_with(command, *options.split()) == 0
    (arguments,) = seen
    assert (arguments.config, arguments.work_dir) == (Path("config.py"), Path("w"))
    assert (arguments.cfg_options, arguments.resume, arguments.trust) == (["a=1", "b.c=2"], True, ["d"])
    assert (arguments.metrics_port, arguments.metrics_addr) == (9400, "127.0.0.1")


def test_a_run_that_is_not_unwound_leaves_a_clean_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"
    (tmp_path / "config.py").write_text(f"_base_ = {str(base)!r}\n", encoding="utf-8")
    acts: list[Callable[[], None]] = []
    seen: dict[str, object] = {}
    monkeypatch.setattr(InterruptDeadline, "before_end", lambda deadline, act: acts.append(act))
    monkeypatch.setattr("asyncio_loader.training.runner.train", lambda config, **options: seen.update(options))

    assert main(["train", str(tmp_path / "config.py"), "--progress"]) == 0
    assert acts == [process_board().close]
    assert seen["progress"] is True


@pytest.mark.parametrize(("option", "progress"), [((), None), (("--progress",), True), (("--no-progress",), False)])
def test_progress_is_asked_for_or_not_or_left_to_the_terminal(
    train_with: Callable[..., int], option: tuple[str, ...], progress: bool | None
) -> None:
    seen: list[argparse.Namespace] = []
    train_with(lambda arguments: len(seen.append(arguments) or ()), *option)

    assert seen[0].progress is progress


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
    base = Path(__file__).parents[3] / "pipelines" / "demo" / "faster_rcnn_r18_fpn_synthetic_s3.py"
    (tmp_path / "config.py").write_text(f"_base_ = {str(base)!r}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    code = main(["train", *arguments])

    errors = capsys.readouterr().err
    assert code == 2
    assert errors.startswith("asyncio-loader: error: ")
    assert errors.count("\n") == 1
    assert said in errors
