from __future__ import annotations

import io

import pytest

from asyncio_loader.doctor.findings import Finding
from asyncio_loader.doctor.screen import Screen

LONG = Finding("warning", "clock", "this machine is 20 minutes behind the server " * 3, "set the clock (NTP)")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_finding_is_a_line() -> None:
    stream = io.StringIO()

    Screen(stream).tell(Finding("failed", "get", "access denied " * 30, "allow it"))

    (line,) = stream.getvalue().splitlines()
    assert line.startswith("failed   get: access denied")
    assert line.endswith(" → allow it")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_no_line_is_wider_than_that(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    screen = Screen(stream)

    screen.say("s3://bucket/" + "long/" * 50)
    screen.tell(LONG)
    screen.sum_up()

    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) < columns
    words = " ".join(stream.getvalue().split())
    assert f"warning clock: {' '.join(LONG.text.split())} → set the clock (NTP) 1 warning" in words


def test_a_terminal_shows_levels_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()

    Screen(stream).tell(Finding("ok", "region", "us-east-1"))

    assert stream.getvalue() == "\x1b[32mok\x1b[0m       region: us-east-1\n"


@pytest.mark.parametrize(
    ("levels", "said", "has_failed"),
    [
        ("ok", "all is well", False),
        ("ok warning", "1 warning", False),
        ("warning warning failed", "1 failed, 2 warnings", True),
    ],
)
def test_the_last_line_counts(levels: str, said: str, has_failed: bool) -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    for level in levels.split():
        screen.tell(Finding(level, "x", "y"))  # type: ignore[arg-type]

    screen.sum_up()

    assert stream.getvalue().splitlines()[-1] == said
    assert screen.has_failed == has_failed
