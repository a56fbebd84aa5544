from __future__ import annotations

import io

import pytest

from asyncio_loader.tuning.screen import LiveLine
from tests.unit.progress.terminal import Pty


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "9")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    line = LiveLine(stream)
    line.show("first line")
    line.show("second")
    line.keep("stays")
    line.clear()

    assert stream.getvalue() == "\rfirst li\x1b[K\rsecond\x1b[K\r\x1b[Kstays\n"


def test_elsewhere_it_is_a_line_now_and_then() -> None:
    now_s = 0.0
    stream = io.StringIO()
    line = LiveLine(stream, clock=lambda: now_s)
    for now_s in (1.0, 4.0, 6.0, 7.0, 12.0):
        line.show(f"at {now_s:g}")
    line.keep("stays")
    line.clear()

    assert stream.getvalue() == "at 6\nat 12\nstays\n"


@pytest.mark.parametrize("columns", [0, 1, 40])
def test_no_line_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Pty(columns) as pty:
        LiveLine(pty.stream).show("x" * 200)
        pty.read(10)

    assert pty.screen.lines == ["x" * max(1, (columns or 80) - 1)]


def test_a_terminal_without_a_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    LiveLine(stream).show("moves")
    LiveLine(stream).keep("stays")

    assert stream.getvalue() == "stays\n"


def test_what_a_terminal_cannot_show_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    LiveLine(stream).keep("listing …")

    assert raw.getvalue() == b"listing ?\n"
