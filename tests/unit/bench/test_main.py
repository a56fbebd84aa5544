from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import __main__ as bench_main
from bench.cases import CASES, Settings, load_case
from bench.report import Report


def run_nothing(settings: Settings) -> Report:
    return Report(
        case="epoch", title=f"{settings.repeats} times", columns=("a", "b"), rows=[("x", str(settings.scale))]
    )


def test_list_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.main(["--list"]) == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CASES)


def test_a_case_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[str] = []

    def load(name: str) -> Callable[[Settings], Report]:
        loaded.append(name)
        return run_nothing

    monkeypatch.setattr(bench_main, "load_case", load)
    bench_main.main(["epoch", "--repeats", "2", "--scale", "0.5", "--results", str(tmp_path)])
    (path,) = tmp_path.iterdir()

    assert loaded == ["epoch"]
    assert "epoch: 2 times" in capsys.readouterr().out
    assert json.loads(path.read_text())["rows"] == [["x", "0.5"]]


@pytest.mark.parametrize("arguments", [["nothing"], ["--repeats", "0"], ["--scale", "0"]])
def test_bad_usage_is_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench_main.main(arguments)

    assert stop.value.code == 2
    assert "python -m bench: error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", CASES)
def test_every_case_can_be_loaded(name: str) -> None:
    assert callable(load_case(name))


def test_scale_shrinks_and_leaves_something() -> None:
    assert Settings(scale=0.5).count(1000) == 500
    assert Settings(scale=0.001).count(1000) == 64


def test_what_must_not_be_ends_with_status_1_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Settings) -> Report:
        return Report(case="soak", title="t", columns=("a",), rows=[("x",)], faults=["2 samples were lost"])

    monkeypatch.setattr(bench_main, "load_case", lambda _: run)

    assert bench_main.main(["soak", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "soak: 2 samples were lost\n"


def test_what_takes_too_long_is_run_only_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str) -> Callable[[Settings], Report]:
        loaded.append(name)
        return run_nothing

    monkeypatch.setattr(bench_main, "load_case", load)
    bench_main.main(["--results", str(tmp_path)])

    assert loaded == [name for name in CASES if name != "soak"]
