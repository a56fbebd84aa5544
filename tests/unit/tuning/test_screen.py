from __future__ import annotations

import io

import pytest

from asyncio_loader.tuning.screen import LiveLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "9")
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
