from __future__ import annotations

import io

import pytest

from asyncio_loader.progress.terminals import is_terminal, width_of
from tests.unit.progress.terminal import Pty


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.mark.parametrize(("term", "moves"), [("xterm", True), ("DUMB", False), ("unknown", False), ("", False)])
def test_the_name_of_a_terminal_says_whether_its_cursor_moves(term: str, moves: bool) -> None:
    with Pty(80) as pty:
        assert is_terminal(pty.stream, {"TERM": term}) is moves
        assert not is_terminal(io.StringIO(), {"TERM": term})


@pytest.mark.parametrize(("columns", "seen"), [(80, 80), (40, 40), (1, 1), (0, 80)])
def test_the_width_is_the_terminals(columns: int, seen: int) -> None:
    with Pty(columns) as pty:
        assert width_of(pty.stream) == seen


@pytest.mark.parametrize(("variable", "seen"), [("33", 33), ("0", 50), ("wide", 50), ("", 50)])
def test_columns_in_the_environment_count_first(variable: str, seen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", variable)
    with Pty(50) as pty:
        assert width_of(pty.stream) == seen


def test_a_stream_that_is_none_is_80_columns_wide() -> None:
    assert width_of(io.StringIO()) == 80
