from __future__ import annotations

import io
import sys

import pytest

from asyncio_loader.errors import ConfigError
from asyncio_loader.progress import modes
from asyncio_loader.progress.modes import Mode, can_be_live, choose_mode


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "mode"),
    [
        (Terminal(), {"TERM": "xterm"}, Mode.LIVE),
        (Terminal(), {"TERM": "xterm", "CI": "false"}, Mode.LIVE),
        (Terminal(), {"TERM": "dumb"}, Mode.PLAIN),
        (Terminal(), {}, Mode.PLAIN),
        (io.StringIO(), {"TERM": "xterm"}, Mode.PLAIN),
        (io.StringIO(), {"CI": "true"}, Mode.OFF),
        (Terminal(), {"TERM": "xterm", "CI": "1"}, Mode.OFF),
        (io.StringIO(), {"CI": "true", "ASYNCIO_LOADER_PROGRESS": "plain"}, Mode.PLAIN),
        (Terminal(), {"TERM": "xterm", "ASYNCIO_LOADER_PROGRESS": "off"}, Mode.OFF),
        (io.StringIO(), {"ASYNCIO_LOADER_PROGRESS": "Live "}, Mode.LIVE),
    ],
)
def test_stream_and_environment_say_the_mode(stream: io.StringIO, environ: dict[str, str], mode: Mode) -> None:
    assert choose_mode(stream, environ) is mode


def test_a_stream_that_is_closed_is_no_terminal() -> None:
    stream = Terminal()
    stream.isatty = io.StringIO.isatty.__get__(stream)  # type: ignore[method-assign]
    stream.close()

    assert choose_mode(stream, {"TERM": "xterm"}) is Mode.PLAIN


def test_another_word_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"ASYNCIO_LOADER_PROGRESS='loud' .* must be one of live, plain, off"):
        choose_mode(io.StringIO(), {"ASYNCIO_LOADER_PROGRESS": "loud"})


def test_without_rich_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "_has_rich", lambda: False)

    assert choose_mode(Terminal(), {"TERM": "xterm"}) is Mode.PLAIN
    with pytest.raises(ConfigError, match=r"needs rich: pip install 'asyncio-loader\[train\]'"):
        choose_mode(Terminal(), {"ASYNCIO_LOADER_PROGRESS": "live"})


def test_standard_error_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "ASYNCIO_LOADER_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert can_be_live()

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not can_be_live()
