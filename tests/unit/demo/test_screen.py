from __future__ import annotations

import pytest

from asyncio_loader.demo.screen import Screen
from tests.unit.progress.terminal import Pty


def test_without_a_terminal_a_bar_is_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().progress("train", 40) as advance:
        for step in range(1, 41):
            advance(step, f"loss {step}")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert (lines[0], lines[-1]) == ("train 4/40  loss 4", "train 40/40  loss 40")


@pytest.mark.parametrize("columns", [80, 40])
def test_on_a_terminal_it_is_a_line_that_moves(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "CI", "ASYNCIO_LOADER_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Pty(columns) as pty:
        monkeypatch.setattr("sys.stdout", pty.stream)
        with Screen().progress("train", 40) as advance:
            advance(10, "loss 1.2")
            while "25%" not in pty.text:
                pty.read(1)
        pty.read(10)

    assert pty.screen.lines[0].startswith("train  10/40 in 0:0")
    assert max(map(len, pty.screen.lines)) < columns


def test_few_steps_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().progress("train", 3) as advance:
        for step in range(1, 4):
            advance(step, "")

    assert capsys.readouterr().out.splitlines() == ["train 1/3", "train 2/3", "train 3/3"]


def test_brackets_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("[bold]x[/bold]")

    assert capsys.readouterr().out == "[bold]x[/bold]\n"


def test_a_long_line_stays_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("word " * 100 + "end")

    assert capsys.readouterr().out.count("\n") == 1


def test_a_table_has_all_names_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().table("results", {"AP50": "0.871", "GETs": "320"})

    out = capsys.readouterr().out
    assert all(text in out for text in ("results", "AP50", "0.871", "GETs", "320"))
